"""Has a commit made training steps slower? Two commits, measured in turn on one machine.

    python benchmarks/compare_commits.py BASE [HEAD] -- --spaces emb_dim,mlp --batch 256

BASE and HEAD are unpacked into a temporary folder; without HEAD it is the working tree as it is,
uncommitted changes included, copied so that edits meanwhile do no harm. A script
(``supernet_step.py``, or ``--script``) runs with the package of each in turn, in fresh processes:
base, head; head, base; ... so that what disturbs the machine disturbs both. What follows ``--``
goes to it. Each commit runs its own script, which is known to work with its package and does what
its programs do, say with the allocator; where it has none, the working tree's, and if that fails
the commit is too old for it, which is an error that says so. If the scripts differ, so may what is
measured: this is noted, and ``--one_script`` runs the working tree's for both.

The script's ``--json FILE`` must be ``{case: {field: number}}``. Fields that end in ``_ms`` are
times, whole numbers are counts, others are left out. The ratio head / base of each is taken within
each round; shown are the median of the ratios and their range over the rounds.

*Slower* is a time whose median ratio exceeds 1 + tolerance and whose range excludes 1: every single
round found it slower. The first keeps out differences too small to matter, the second what one
disturbed round made: without a change, all of 7 rounds lie above 1 in 1 of 128 cases. Counts do not
vary; they are marked, for they may tell why, but are no reason to fail.

Exit status: 0 nothing is slower, 1 something is, 2 it could not be measured.
"""

from __future__ import annotations

import argparse
import filecmp
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TREE = "working tree"
#: Lines of a failed script's errors that are shown.
SHOWN_LINES = 12
#: Runs a script with a checkout's package. One from elsewhere, say an installed copy where an old
#: commit has none, would be measured in its stead.
RUNNER = """
import importlib.util, pathlib, runpy, sys
checkout, script = sys.argv[1:3]
sys.argv = sys.argv[2:]
sys.path[:1] = [checkout, str(pathlib.Path(script).parent)]
for name in ("dnas", "supernets"):
    found = importlib.util.find_spec(name)
    if found and pathlib.Path(checkout) not in pathlib.Path(found.origin).parents:
        sys.exit(f"{found.origin} is not the package in {checkout}")
runpy.run_path(script, run_name="__main__")
"""

#: case -> field -> number, as a measuring script writes it.
Results = Mapping[str, Mapping[str, float]]


class CannotCompareError(Exception):
    """The message says which commit, file or command is at fault."""


# ---------------------------------------------------------------------- ratios and decisions


@dataclass(frozen=True)
class Change:
    """One field of one case: its values in each round, and their ratios."""

    case: str
    field: str
    base: tuple[float, ...]
    head: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """head / base of each round."""
        return tuple(_ratio(h, b) for h, b in zip(self.head, self.base, strict=True))

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def is_time(self) -> bool:
        """Only times are a reason to fail."""
        return self.field.endswith("_ms")

    def verdict(self, tolerance: float) -> str:
        """``"slower"``, ``"faster"``, ``"more"``, ``"fewer"``, or nothing; see the file's head."""
        words = ("slower", "faster") if self.is_time else ("more", "fewer")
        if self.ratio > 1 + tolerance and min(self.ratios) > 1:
            return words[0]
        if self.ratio < 1 - tolerance and max(self.ratios) < 1:
            return words[1]
        return ""


def compare(base: Sequence[Results], head: Sequence[Results]) -> list[Change]:
    """The times and counts of all rounds, each with its partner.

    Args:
        base: What the script wrote in each round, with the package of base.
        head: The same of head.

    Raises:
        CannotCompareError: The rounds differ in their fields, or none of these is a time.
    """
    fields = [_fields(results) for results in (*base, *head)]
    for number, found in enumerate(fields):
        if found != fields[0]:
            differing = sorted(set(found) ^ set(fields[0]))
            raise CannotCompareError(f"run {number} has other fields than run 0: {differing}")
    if not any(field.endswith("_ms") for _, field in fields[0]):
        raise CannotCompareError(f"no field ends in _ms, so nothing is a time: {fields[0]}")
    return [
        Change(
            case,
            field,
            tuple(results[case][field] for results in base),
            tuple(results[case][field] for results in head),
        )
        for case, field in fields[0]
    ]


def _fields(results: Results) -> list[tuple[str, str]]:
    return [
        (case, field)
        for case, numbers in results.items()
        for field, number in numbers.items()
        if field.endswith("_ms") or isinstance(number, int)
    ]


def _ratio(head: float, base: float) -> float:
    if base == 0:
        return 1.0 if head == 0 else float("inf")
    return head / base


# ---------------------------------------------------------------------- checkouts and runs


@dataclass(frozen=True)
class Checkout:
    """The files of a commit, or of the working tree."""

    about: str
    folder: Path


def git(folder: Path, *arguments: str) -> bytes:
    """What git prints.

    Raises:
        CannotCompareError: There is no git, or it failed.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True)
    except FileNotFoundError:
        raise CannotCompareError("git is not installed") from None
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise CannotCompareError(f"git {' '.join(arguments)}: {message}")
    return done.stdout


def unpack(root: Path, commit: str, folder: Path) -> str:
    """Write the files of ``commit`` into ``folder``; gives its short id."""
    try:
        found = git(root, "rev-parse", "--verify", "--short", f"{commit}^{{commit}}")
    except CannotCompareError as error:
        raise CannotCompareError(f"{commit!r} is no commit of {root}: {error}") from None
    short = found.decode().strip()
    # An archive, not a worktree: killed at any moment, it leaves nothing behind in the repository.
    with tarfile.open(fileobj=io.BytesIO(git(root, "archive", short))) as archive:
        archive.extractall(folder, filter="data")
    return short


def snapshot(root: Path, folder: Path) -> str:
    """Copy the working tree into ``folder``; gives a description."""
    tracked = git(root, "ls-files", "-z").split(b"\0")
    # Of files that git does not know only modules: data sets may lie about.
    new = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py").split(b"\0")
    for name in (os.fsdecode(name) for name in (*tracked, *new) if name):
        if (root / name).is_file():  # a tracked file may have been deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    changed = len(git(root, "status", "--porcelain").splitlines())
    at = git(root, "log", "-1", "--format=%h").decode().strip()
    return f"{TREE} ({at} and {changed} changed files)"


def run_script(script: Path, arguments: Sequence[str], checkout: Checkout) -> Results:
    """What ``script`` writes with ``--json`` when it runs with the package of ``checkout``."""
    written = checkout.folder.parent / "results.json"
    written.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, checkout.folder, script, *arguments, "--json", written],
        env={
            **os.environ,
            "PYTHONPATH": str(checkout.folder),
        },  # for processes that the script starts
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-SHOWN_LINES:]
        raise CannotCompareError(
            f"{checkout.about}: {script.name} fails with the package of this commit, which may be "
            f"too old for it, or a flag is wrong (exit status {done.returncode}):\n  "
            + "\n  ".join(lines)
        )
    try:
        results: Results = json.loads(written.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotCompareError(f"{checkout.about}: {script.name} --json: {error}") from None
    return results


@contextmanager
def checkouts(root: Path, base: str, head: str) -> Iterator[dict[str, Checkout]]:
    """Temporary folders of the files of base, of head and of the working tree, by these names.

    Args:
        root: Top folder of the git checkout.
        base: A commit.
        head: A commit, or ``TREE``.
    """
    with tempfile.TemporaryDirectory(prefix="compare_commits_") as temporary:
        folders = {name: Path(temporary).resolve() / name for name in ("tree", "base", "head")}
        for folder in folders.values():
            folder.mkdir()
        tree = Checkout(snapshot(root, folders["tree"]), folders["tree"])
        yield {
            "tree": tree,
            "base": Checkout(unpack(root, base, folders["base"]), folders["base"]),
            "head": tree
            if head == TREE
            else Checkout(unpack(root, head, folders["head"]), folders["head"]),
        }


def choose_scripts(
    found: Mapping[str, Checkout], script: str, *, one_script: bool
) -> tuple[dict[str, Path], str]:
    """The scripts of base and head, and what the reader must know of them, or nothing.

    Args:
        found: The checkouts.
        script: Path from the top folder.
        one_script: The working tree's for both.
    """
    chosen = {name: found[name].folder / script for name in ("base", "head")}
    for name, file in chosen.items():
        if one_script or not file.is_file():
            chosen[name] = found["tree"].folder / script
        if not chosen[name].is_file():
            raise CannotCompareError(f"--script: neither {name} nor the working tree has {script}")
    # All modules beside the script, for it may import any of them.
    base, head = (chosen[name].parent for name in ("base", "head"))
    names = {path.name for folder in (base, head) for path in folder.glob("*.py")}
    _, unequal, absent = filecmp.cmpfiles(base, head, names, shallow=False)
    if not (unequal or absent):
        return chosen, ""
    return chosen, f"The scripts differ (see --one_script): {', '.join(sorted(unequal + absent))}"


# ---------------------------------------------------------------------- output


def table(changes: Sequence[Change], tolerance: float) -> str:
    """The changes, in Markdown; base and head are medians over the rounds."""
    lines = ["| case | field | base | head | head / base | range | |", "|---" * 7 + "|"]
    for c in changes:
        medians = (statistics.median(values) for values in (c.base, c.head))
        base, head = (f"{value:.2f}" if c.is_time else f"{value:g}" for value in medians)
        lines.append(
            f"| {c.case} | {c.field} | {base} | {head} | {c.ratio:.3f} "
            f"| {min(c.ratios):.3f} .. {max(c.ratios):.3f} | {c.verdict(tolerance)} |"
        )
    return "\n".join(lines) + "\n"


def parse(given: Sequence[str]) -> argparse.Namespace:
    """Settings; what follows ``--`` is in ``arguments``."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", help="a commit")
    parser.add_argument("head", nargs="?", default=TREE, help="a commit; default: the working tree")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each")
    parser.add_argument("--tolerance", type=float, default=0.05, help="slower by this much is fine")
    parser.add_argument("--script", default="benchmarks/supernet_step.py", help="from the top")
    parser.add_argument("--one_script", action="store_true", help="the working tree's for both")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    end = given.index("--") if "--" in given else len(given)
    settings = parser.parse_args(given[:end], argparse.Namespace(arguments=given[end + 1 :]))
    if settings.rounds < 1:
        parser.error(f"--rounds must be at least 1, but got {settings.rounds}")
    if settings.tolerance < 0:
        parser.error(f"--tolerance must not be negative, but got {settings.tolerance}")
    return settings


def run(settings: argparse.Namespace) -> bool:
    """Measure, and write the table; whether anything is slower."""
    root = Path(git(Path.cwd(), "rev-parse", "--show-toplevel").decode().strip())
    results: dict[str, list[Results]] = {"base": [], "head": []}
    with checkouts(root, settings.base, settings.head) as found:
        scripts, note = choose_scripts(found, settings.script, one_script=settings.one_script)
        about = {name: found[name].about for name in results}
        sys.stdout.write(f"base: {about['base']}\nhead: {about['head']}\n{note}\n")
        sys.stdout.flush()
        for number in range(settings.rounds):
            for name in ("base", "head") if number % 2 == 0 else ("head", "base"):
                sys.stderr.write(f"round {number + 1} of {settings.rounds}: {name}\n")
                results[name].append(run_script(scripts[name], settings.arguments, found[name]))
    changes = compare(results["base"], results["head"])
    verdicts = [change.verdict(settings.tolerance) for change in changes]
    sys.stdout.write("\n" + table(changes, settings.tolerance))
    if settings.json is not None:
        rows = [
            {**vars(change), "ratios": change.ratios, "ratio": change.ratio, "verdict": verdict}
            for change, verdict in zip(changes, verdicts, strict=True)
        ]
        written = {**about, "note": note, "arguments": settings.arguments, "changes": rows}
        settings.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return "slower" in verdicts


def main() -> int:
    """The exit status."""
    settings = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # unwinds, which removes the folder
    try:
        slower = run(settings)
    except CannotCompareError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("\nSlower.\n" if slower else "\nNothing is slower.\n")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
