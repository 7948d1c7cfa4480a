"""Runs a page of the documentation: its code, its files, its commands, what it says they print.

What a fenced block means is said by its language and by the line of text before it:

- after a line like ```my_domain.py`:`` the block is the content of that file; after
  ```my_domain.py`, continued:`` it is appended. A Python file is a module that later blocks can
  import from at once.
- ``python``: executed, in one namespace for the whole page.
- ``bash``: commands that begin with ``dnas`` or ``python -m pytest`` are run, one a line.
- ``text`` after the line ``It prints:``: what the block before must have printed. ``...`` stands
  for anything, and white space counts as one blank.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w.]+)`(, continued)?:")
_PRINTS = "It prints:"
_COMMANDS = ("dnas ", "python -m pytest ")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``before`` is the last line of text before it, ``line`` its first line."""

    language: str
    code: str
    before: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _FENCE.finditer(text):
        lines = text[: found.start()].rstrip().splitlines()
        line = text.count("\n", 0, found.start(2)) + 1
        yield Block(found.group(1), found.group(2), lines[-1] if lines else "", line)


class PageRun:
    """One run of a page in a folder, which is the current one meanwhile.

    Args:
        page: The page.
        folder: An empty folder.
    """

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.modules = {"page": ModuleType("page")}
        self.printed = ""

    def __call__(self) -> None:
        """Run all blocks.

        Raises:
            AssertionError: A command fails, or something else is printed than the page says.
            Exception: What a block raises; the traceback has the lines of the page.
        """
        path, found = list(sys.path), blocks(self.page.read_text(encoding="utf-8"))
        try:
            with contextlib.chdir(self.folder):
                sys.path.insert(0, str(self.folder))
                sys.modules |= self.modules
                for block in found:
                    self.run(block)
        finally:
            sys.path[:] = path
            for name in self.modules:
                del sys.modules[name]

    def run(self, block: Block) -> None:
        """Do what a block says."""
        file = _FILE.fullmatch(block.before)
        if file is not None:
            self._write(file.group(1), block, append=file.group(2) is not None)
        elif block.before == _PRINTS:
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            same = doctest.OutputChecker().check_output(block.code, self.printed, flags)
            assert same, f"{self.page.name}:{block.line}: it printed\n{self.printed}"
        elif block.language == "python":
            self.printed = self._execute(block, self.modules["page"])
        elif block.language == "bash":
            commands = block.code.replace("\\\n", " ").splitlines()
            self.printed = "".join(self._command(line, block) for line in commands)

    def _write(self, name: str, block: Block, *, append: bool) -> None:
        with open(self.folder / name, "a" if append else "w", encoding="utf-8") as file:
            file.write(f"\n\n{block.code}" if append else block.code)
        if not name.endswith(".py"):
            return
        stem = name.removesuffix(".py")
        if not append:
            spec = importlib.util.spec_from_file_location(stem, self.folder / name)
            assert spec is not None
            self.modules[stem] = sys.modules[stem] = importlib.util.module_from_spec(spec)
        self._execute(block, self.modules[stem])

    def _execute(self, block: Block, module: ModuleType) -> str:
        code = compile("\n" * (block.line - 1) + block.code, str(self.page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, vars(module))
        return printed.getvalue()

    def _command(self, line: str, block: Block) -> str:
        if not line.startswith(_COMMANDS):
            return ""
        here = Path(sys.executable).parent
        done = subprocess.run(
            shlex.split(line),
            cwd=self.folder,
            env=os.environ | {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        told = f"{self.page.name}:{block.line}: {line}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, told
        return done.stdout
