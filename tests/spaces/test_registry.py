"""Search spaces of users are found beside the package, in scripts and in the console script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnas.errors import ConfigError
from dnas.spaces import find_space

MODULE = """
from sample_extension.cnn import CNNSpace

class Mine(CNNSpace):
    name = "mine"

SPACE = Mine()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_current_folder_is_the_last_that_is_searched(here: Path) -> None:
    (here / "space_of_a_user.py").write_text(MODULE)
    (here / "json.py").write_text("SPACE = None")
    assert find_space("space_of_a_user:SPACE").name == "mine"
    assert sys.path[-1] == str(here)
    assert sys.path.count(str(here)) == 1
    with pytest.raises(ConfigError, match=r"json.__init__.py has no 'SPACE'; .* are none"):
        find_space("json:SPACE")  # installed modules come first


def test_errors_say_where_and_what(here: Path) -> None:
    (here / "space_of_a_user2.py").write_text(MODULE + "OTHER = SPACE\n")
    (here / "needs_more.py").write_text("import no_such_package\n")
    with pytest.raises(ConfigError, match="has no 'SPCE'; its search spaces are SPACE, OTHER"):
        find_space("space_of_a_user2:SPCE")
    for name in ("no_such_module:SPACE", "no_such_module.part:SPACE"):
        with pytest.raises(ConfigError, match=f"No module named 'no_such_module'.*{here}"):
            find_space(name)
    with pytest.raises(ConfigError, match=r"No module named 'no_such_package'$"):
        find_space("needs_more:SPACE")


@pytest.mark.parametrize(
    "program",
    [
        [sys.executable, str(ROOT / "train_dnas.py")],
        # What the console script runs: the folder of the program is first on the path then.
        [
            sys.executable,
            "-P",
            "-c",
            "import sys, dnas.cli.main as m; sys.exit(m.main())",
            "search",
        ],
    ],
    ids=["script", "console"],
)
def test_a_module_in_the_users_folder(here: Path, program: list[str]) -> None:
    (here / "my_module.py").write_text(MODULE)
    done = subprocess.run(
        [*program, "--search_space=my_module:SPACE", "--widths", "4", "--print_config"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["widths"] == [4]
