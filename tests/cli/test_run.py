"""What commands do about errors and about readers that have gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dnas.cli.run import EXIT_NO_READER, guarded
from dnas.errors import ConfigError


def failing(error):
    def body():
        raise error

    return body


def test_a_mistake_is_one_line_and_code_2(capsys):
    assert guarded(failing(ConfigError("--x: 1"))) == 2
    assert capsys.readouterr().err == "error: --x: 1\n"


@pytest.mark.parametrize("lines", [1, 100_000])  # what is buffered, and more than a pipe takes
def test_a_reader_that_has_gone_is_no_error(lines):
    program = f"""
import sys
from dnas.cli.run import guarded
sys.stdin.readline()
def body():
    for _ in range({lines}):
        sys.stdout.write("line\\n")
    return 0
sys.exit(guarded(body))
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    child.stdout.close()
    _, said = child.communicate("go\n", timeout=60)
    assert (child.returncode, said) == (EXIT_NO_READER, "")


def test_another_broken_pipe_is_a_defect():
    with pytest.raises(BrokenPipeError, match="of a worker"):
        guarded(failing(BrokenPipeError("of a worker")))
