"""The guard against slower commits: ratios, what counts as slower, checkouts of commits."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks.compare_commits import (
    TREE,
    CannotCompareError,
    Change,
    Checkout,
    checkouts,
    choose_scripts,
    compare,
    run_script,
    table,
)

SCRIPT = """
import json, sys
import dnas
json.dump({"a": {"step_ms": dnas.TIME, "calls": 7, "share": 0.5}}, open(sys.argv[-1], "w"))
"""


def change(*ratios: float, field: str = "step_ms") -> Change:
    return Change("mlp", field, (2.0,) * len(ratios), tuple(2.0 * ratio for ratio in ratios))


def test_ratio_is_the_median_of_rounds_not_the_ratio_of_medians():
    # The machine was four times as slow in the second round, for both.
    found = Change("mlp", "step_ms", base=(10.0, 40.0, 20.0), head=(12.0, 40.0, 22.0))
    assert found.ratios == (1.2, 1.0, 1.1)
    assert found.ratio == 1.1


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.06, 1.08, 1.02), "slower"),
        ((1.04, 1.03, 1.045), ""),  # slower in every round, but within the tolerance
        ((1.30, 1.20, 0.99), ""),  # one round saw the contrary
        ((1.30, 1.20, 1.00), ""),
        ((1.01, 1.02, 3.00), ""),  # one disturbed round
        ((0.90, 0.94, 0.99), "faster"),
        ((0.90, 0.94, 1.01), ""),
        ((1.00, 1.00, 1.00), ""),
    ],
)
def test_slower_is_beyond_the_tolerance_in_the_median_and_beyond_1_in_every_round(ratios, expected):
    assert change(*ratios).verdict(0.05) == expected


def test_a_larger_tolerance_forgives_more():
    assert change(1.2, 1.2).verdict(0.15) == "slower"
    assert change(1.2, 1.2).verdict(0.25) == ""


def test_counts_are_marked_but_are_never_slower():
    assert change(2.0, 2.0, field="operator_calls").verdict(0.05) == "more"
    assert change(0.5, 0.5, field="operator_calls").verdict(0.05) == "fewer"


def test_a_count_of_zero_has_a_ratio():
    assert Change("mlp", "copies", (0, 0), (0, 0)).verdict(0.05) == ""
    assert Change("mlp", "copies", (0, 0), (1, 1)).verdict(0.05) == "more"


def test_compare_pairs_times_and_counts_of_each_round():
    base = [{"mlp": {"w_ms": 1.0, "calls": 3, "ratio": 9.9}}, {"mlp": {"w_ms": 2.0, "calls": 3}}]
    head = [{"mlp": {"w_ms": 3.0, "calls": 4}}, {"mlp": {"w_ms": 4.0, "calls": 4}}]
    assert compare(base, head) == [
        Change("mlp", "w_ms", (1.0, 2.0), (3.0, 4.0)),
        Change("mlp", "calls", (3, 3), (4, 4)),
    ]
    assert "| mlp | w_ms | 1.50 | 3.50 | 2.500 | 2.000 .. 3.000 | slower |" in table(
        compare(base, head), 0.05
    )


def test_compare_names_fields_that_only_one_run_has():
    with pytest.raises(CannotCompareError, match="theta_ms"):
        compare([{"mlp": {"w_ms": 1.0}}], [{"mlp": {"w_ms": 1.0, "theta_ms": 1.0}}])
    with pytest.raises(CannotCompareError, match="_ms"):
        compare([{"mlp": {"calls": 1}}], [{"mlp": {"calls": 1}}])


@pytest.fixture
def repository(tmp_path):
    """One commit with TIME 1.0; then the working tree has 2.0, a new module and a new data file."""
    root = tmp_path / "repository"
    for package in ("dnas", "supernets"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("TIME = 1.0\n")
    (root / "script.py").write_text(SCRIPT)
    (root / "gone.py").write_text("")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], cwd=root, check=True)
    (root / "dnas" / "__init__.py").write_text("TIME = 2.0\n")
    (root / "dnas" / "new.py").write_text("")
    (root / "gone.py").unlink()
    (root / "data.csv").write_text("")
    return root


def test_commits_and_the_working_tree_are_run_with_their_own_package(repository):
    with checkouts(repository, "HEAD", TREE) as found:
        scripts, note = choose_scripts(found, "script.py", one_script=False)
        measured = [
            run_script(scripts[name], [], found[name])["a"]["step_ms"] for name in ("base", "head")
        ]
        folder = found["tree"].folder
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert measured == [1.0, 2.0]
    assert note == "The scripts differ (see --one_script): gone.py"
    assert {"dnas/new.py", "script.py"} <= files
    assert not files & {"gone.py", "data.csv"}
    assert not folder.exists()


def test_the_folders_are_removed_when_measuring_is_stopped(repository):
    folders = []

    def stopped():
        with checkouts(repository, "HEAD", "HEAD") as found:
            folders.append(found["base"].folder.parent)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert not folders[0].exists()


def test_each_commit_runs_its_own_script_unless_one_is_asked_for_or_it_has_none(repository):
    (repository / "script.py").write_text("")
    (repository / "newer.py").write_text("")
    with checkouts(repository, "HEAD", TREE) as found:
        base, tree = found["base"].folder, found["tree"].folder
        own, note = choose_scripts(found, "script.py", one_script=False)
        assert own == {"base": base / "script.py", "head": tree / "script.py"}
        assert "script.py" in note
        one, note = choose_scripts(found, "script.py", one_script=True)
        assert one == {"base": tree / "script.py", "head": tree / "script.py"}
        assert note == ""
        newer, _ = choose_scripts(found, "newer.py", one_script=False)
        assert newer == {"base": tree / "newer.py", "head": tree / "newer.py"}
        with pytest.raises(CannotCompareError, match=r"has nowhere\.py"):
            choose_scripts(found, "nowhere.py", one_script=False)


def test_a_script_that_fails_says_which_commit_and_why(repository, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import dnas\ndnas.new_function()\n")
    with pytest.raises(CannotCompareError, match=r"(?s)abc: script.py fails.*new_function"):
        run_script(script, [], Checkout("abc", repository))


def test_a_package_from_elsewhere_is_not_measured(repository, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CannotCompareError, match="is not the package in"):
        run_script(repository / "script.py", [], Checkout("abc", empty))


def test_unknown_commits_and_folders_without_git_are_named(repository, tmp_path):
    with (
        pytest.raises(CannotCompareError, match="'nowhere' is no commit"),
        checkouts(repository, "nowhere", TREE),
    ):
        pass
    with (
        pytest.raises(CannotCompareError, match="not a git repository"),
        checkouts(tmp_path, "HEAD", TREE),
    ):
        pass
