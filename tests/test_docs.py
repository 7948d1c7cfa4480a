"""The documentation is true: its code runs, its links and flags exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("sample_extension/*.md"),
    ]
)


def smallest_supernet() -> str:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## The smallest complete SuperNet")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    return found.group(1)


def test_smallest_supernet_passes_all_contracts():
    exec(compile(smallest_supernet(), "docs/architecture.md", "exec"), {})


def test_smallest_supernet_has_at_most_40_lines():
    source = smallest_supernet()
    start = source.index("class Activations")
    end = source.index("class Plain")
    assert len(source[start:end].strip().splitlines()) <= 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"
