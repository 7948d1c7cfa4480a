"""The documentation is true: its code runs, its links lead somewhere, its messages exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from pages import PageRun, blocks

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("sample_extension/*.md"),
    ]
)
EXTENDING = ROOT / "docs" / "extending.md"


def smallest_supernet() -> str:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## The smallest complete SuperNet")[1]
    return next(block.code for block in blocks(section) if block.language == "python")


def test_smallest_supernet_passes_all_contracts():
    exec(compile(smallest_supernet(), "docs/architecture.md", "exec"), {})


def test_smallest_supernet_has_at_most_40_lines():
    source = smallest_supernet()
    start = source.index("class Activations")
    end = source.index("class Plain")
    assert len(source[start:end].strip().splitlines()) <= 40


# -------------------------------------------------------------------------------- links


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@cache
def anchors(page: Path) -> frozenset[str]:
    """What may stand after ``#``: headings as code hosts spell them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        seen = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", known) is not None for known in found)
        found.append(f"{slug}-{seen}" if seen else slug)
    return frozenset(found)


def broken_links(page: Path) -> list[str]:
    """Links to files, folders and headings that are not there."""
    broken = []
    targets = re.findall(r"\]\(([^)]+)\)", prose(page))
    targets += re.findall(r'<(?:a href|img src)="([^"]+)"', prose(page))
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.resolve())):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# A `title`: of two words\n\n```\n# no title\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n\n[a](other.md) [b](other.md#a-title-of-two-words) [c](#here) [d](https://x.y)\n"
        "[e](none.md) [f](other.md#no-title) [g](#there)\n\n```\n[h](none.md)\n```\n"
    )
    assert broken_links(page) == ["none.md", "other.md#no-title", "#there"]


# -------------------------------------------------------------------------------- extending.md


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_extending_runs_and_prints_what_it_says(tmp_path):
    PageRun(EXTENDING, tmp_path)()


@cache
def messages() -> tuple[str, ...]:
    """All strings of the library, with ``...`` for what is filled in."""
    found = []
    for path in (ROOT / "dnas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "..." for p in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def test_messages_in_extending_are_those_of_the_library():
    section = EXTENDING.read_text(encoding="utf-8").split("## Typical mistakes")[1]
    quoted = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(quoted) > 10
    assert [text for text in quoted if not any(text in message for message in messages())] == []


# -------------------------------------------------------------------------------- pages.py


def run(folder: Path, text: str) -> None:
    page = folder / "page.md"
    page.write_text(text)
    (folder / "work").mkdir()
    PageRun(page, folder / "work")()


def test_a_page_writes_its_files_and_shares_names_between_blocks(tmp_path):
    run(
        tmp_path,
        "`extended.py`:\n\n```python\nx = 1\n```\n\n`extended.py`, continued:\n\n"
        "```python\ny = x + 1\n```\n\nThen\n\n```python\nfrom extended import y\n```\n\n"
        "and\n\n```python\nprint('y is', y)\n```\n\nIt prints:\n\n```text\ny  is ...\n```\n\n"
        "`a.toml`:\n\n```toml\nz = 3\n```\n",
    )
    assert (tmp_path / "work" / "extended.py").read_text() == "x = 1\n\n\ny = x + 1\n"
    assert (tmp_path / "work" / "a.toml").read_text() == "z = 3\n"


def test_a_page_that_prints_something_else_is_wrong(tmp_path):
    with pytest.raises(AssertionError, match=r"page\.md:8: it printed\n2"):
        run(tmp_path, "```python\nprint(2)\n```\n\nIt prints:\n\n```text\n3\n```\n")


def test_a_page_whose_command_fails_is_wrong(tmp_path):
    with pytest.raises(AssertionError, match="unknown command 'nothing'"):
        run(tmp_path, "```bash\ndnas nothing\n```\n")
