"""Sphinx settings: the pages of the repository as they are, and a reference from the docstrings.

The source folder is the root of the repository, so that links between README.md, docs/ and
benchmarks/ hold as they do on a code host; from there::

    python -m sphinx -q -W --keep-going -c docs . FOLDER

A reference without a target, a link to a file that is not there, and a docstring that is not valid
reStructuredText are errors.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from dnas import __version__ as release

__all__ = ["release"]

project = "dnas"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "benchmarks/*.md", "sample_extension/*.md"]
exclude_patterns = [".*", "runs", "data_cache", "build", "dist", "tests", "dnas", "supernets"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

nitpicky = True
suppress_warnings = ["ref.citation"]  # a source that only private modules cite
nitpick_ignore = [("py:class", "torch.optim.optimizer.Optimizer")]
suppress_warnings = ["ref.citation"]  # a source that only private modules cite
#: What other projects and type annotations name; only references into this library must exist.
nitpick_ignore_regex = []

html_show_copyright = False
html_show_sphinx = False
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "240px", "fixed_sidebar": True}
