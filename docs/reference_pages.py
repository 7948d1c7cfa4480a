"""Sphinx extension: the public names of a package on one page, and all sources on another.

``.. public-names:: dnas.costs`` lists the names of the package's ``__all__``, each with its first
line, and then documents them in full, module by module, under the module's own docstring (where
letters and units are explained). A name that another package re-exports is documented where it
lives, and the list leads there.

``.. sources::`` is the list of papers, collected from the module docstrings that cite them as
``.. [Key] ...``, so that ``[Key]_`` in any docstring leads there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
_DIRECTIVE = re.compile(r"^\.\. public-names:: (\S+)", re.MULTILINE)
#: The packages that have a page: their ``__all__`` is the public surface.
PACKAGES = tuple(
    package
    for page in sorted((ROOT / "docs" / "reference").glob("*.rst"))
    for package in _DIRECTIVE.findall(page.read_text(encoding="utf-8"))
)
_CITATION = re.compile(r"^\.\. \[(\w+)\] .*(?:\n[ \t]+\S.*)*\n?", re.MULTILINE)


def public_names(package: str) -> dict[str, Any]:
    """Name -> object of a package's ``__all__``, in alphabetical order."""
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in sorted(module.__all__, key=str.casefold)}


def documented_as(package: str, name: str, value: Any) -> str:
    """Full name under which a public object of ``package`` is documented.

    That is in the innermost public package around the module that defines it.
    """
    home = defining_module(package, value)
    inside = [p for p in PACKAGES if home.startswith(f"{p}.") and name in public_names(p)]
    return f"{max(inside, key=len, default=package)}.{name}"


def defining_module(package: str, value: Any) -> str:
    """The module that defines a class or function; ``package`` for other values."""
    return value.__module__ if _has_docstring(value) else package


def comment_of(package: str, name: str) -> list[str]:
    """The ``#:`` comment of a public value, wherever in ``package`` it is assigned."""
    value = public_names(package)[name]
    for module in _inside(package):
        if getattr(sys.modules[module], name, None) is not value:
            continue
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        if ("", name) in analyzer.attr_docs:
            return analyzer.attr_docs["", name]
    logger.warning("%s.%s has no comment #: where it is assigned", package, name)
    return []


def _has_docstring(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def citations(text: str) -> dict[str, str]:
    """Key -> reStructuredText of each source that a docstring cites."""
    return {found.group(1): found.group().rstrip() for found in _CITATION.finditer(text)}


class PublicNames(SphinxDirective):
    """``.. public-names:: PACKAGE``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = self.arguments[0]
        names = public_names(package)
        own: dict[str, list[str]] = {}
        lines = [f".. currentmodule:: {package}", "", f".. automodule:: {package}"]
        lines += ["   :no-members:", "", ".. list-table::", "   :widths: 25 75", ""]
        for name, value in names.items():
            full = documented_as(package, name, value)
            lines += [
                f"   * - :py:obj:`{name} <{full}>`",
                f"     - {_first_line(package, name, value)}",
            ]
            if full == f"{package}.{name}":
                own.setdefault(defining_module(package, value), []).append(name)
        for module in sorted(own):
            if module != package:
                lines += ["", module, "-" * len(module), ""]
                lines += [f".. automodule:: {module}", "   :no-members:", "   :no-index:"]
            for name in own[module]:
                lines += ["", *_documentation(package, name, names[name])]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _documentation(package: str, name: str, value: Any) -> list[str]:
    full = f"{package}.{name}"
    if inspect.isclass(value):
        return [
            f".. autoclass:: {full}",
            "   :members:",
            "   :special-members: __call__",
            "   :show-inheritance:",
        ]
    if inspect.isroutine(value):
        return [f".. autofunction:: {full}"]
    return [f".. py:data:: {full}", "", *(f"   {line}" for line in comment_of(package, name))]


def _first_line(package: str, name: str, value: Any) -> str:
    """First paragraph of the documentation."""
    text = inspect.getdoc(value) if _has_docstring(value) else "\n".join(comment_of(package, name))
    return (text or "").split("\n\n")[0].replace("\n", " ").strip().removesuffix("::")


class Sources(SphinxDirective):
    """``.. sources::``."""

    def run(self) -> list[nodes.Node]:
        found: dict[str, str] = {}
        for folder in ("dnas", "supernets"):
            for path in sorted((ROOT / folder).rglob("*.py")):
                text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
                for key, citation in citations(text).items():
                    found[key] = max(found.get(key, ""), citation, key=len)
        return self.parse_text_to_nodes(_escaped("\n\n".join(found[key] for key in sorted(found))))


def _escaped(text: str) -> str:
    """``text`` in which ``dim: D.`` and ``[Key] M. Author`` begin no numbered list."""
    return re.sub(r"^(\s*\w+: |\.\. \[\w+\] )([A-Za-z])\.", r"\1\2\\.", text, flags=re.MULTILINE)


def _before_napoleon(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Sources stand on their own page, once."""
    text = "\n".join(lines)
    lines[:] = _escaped(_CITATION.sub("", text) if what == "module" else text).split("\n")


def _after_napoleon(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Joins what napoleon took for ``type: description`` in the text about an attribute."""
    for number, line in enumerate(lines):
        if what in ("attribute", "property") and line.startswith(":type: "):
            del lines[number]
            lines[0] = f"{line.removeprefix(':type: ')}: {lines[0]}"
            return


def _readable_defaults(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, result: Any
) -> tuple[str | None, Any]:
    """Defaults that have no Python spelling, ``<factory>`` or ``<class ...>``, become ``...``."""
    return signature and re.sub(r"<(?:[^<>]|<[^<>]*>)*>", "...", signature), result


def _plain_if_private(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.TextElement | None:
    """Modules and classes without a page are named without a link, if they exist."""
    found = node.get("refdomain") == "py" and (
        pydoc.locate(node["reftarget"]) is not None
        or any(_has(sys.modules[m], node["reftarget"]) for m in _inside(node.get("py:module")))
    )
    return content if found else None


def _inside(package: str | None) -> list[str]:
    """Names of the loaded modules of a package, itself included."""
    return sorted(m for m in sys.modules if f"{m}.".startswith(f"{package}."))


def _has(module: ModuleType, name: str) -> bool:
    """Whether ``module.name`` exists; attributes of instances may be annotations only."""
    value: Any = module
    for part in name.split("."):
        if part in getattr(value, "__annotations__", ()):
            return True
        value = getattr(value, part, None)
    return value is not None


def _folders_without_links(app: Sphinx, page: str, source: list[str]) -> None:
    """A code host shows a folder; the built pages have none to show."""
    source[0] = re.sub(r"\[([^]]+)\]\([^):]+/\)", r"\1", source[0])


def _first_page(app: Sphinx, error: Exception | None) -> None:
    """``index.html`` where people look for it."""
    if error is None:
        page = f'<meta http-equiv="refresh" content="0; url={app.config.root_doc}.html">\n'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point of the extension."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("sources", Sources)
    app.connect("missing-reference", _plain_if_private)
    app.connect("source-read", _folders_without_links)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("autodoc-process-signature", _readable_defaults)
    app.connect("build-finished", _first_page)
    return {"parallel_read_safe": True}
