"""The words of a tuning config: shell quoting, and braces that list alternatives.

A brace stands for each of its alternatives in turn, as if its text were replaced: ``--lr={1, 2}``
is ``--lr=1`` or ``--lr=2``, ``{--flag, }`` is ``--flag`` or nothing, and ``--opts {1.0 0.1, 1.0}``
puts two words or one after the flag. Commas, spaces and braces inside quotes are ordinary text.
Nothing is run through a shell, so what only a shell would understand is refused unless quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Characters that a shell would act upon; passing them on silently would surprise.
_SHELL_ONLY = {
    ";": "ends a command",
    "|": "makes a pipe",
    "&": "starts a job",
    "<": "redirects",
    ">": "redirects",
    "`": "runs a command",
    "$": "inserts a variable",
}


class GrammarError(Exception):
    """A mistake at a line of the text; :mod:`dnas.jobs.config` adds the file's name.

    Args:
        line: Line number, from 1.
        message: What is wrong, with the token and the remedy.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Brace:
    """A list of alternatives; each is zero, one or several words."""

    alternatives: tuple[tuple[str, ...], ...]
    line: int
    """Line of its opening."""


@dataclass(frozen=True)
class Word:
    """A word, or several once its braces are chosen: pieces of text and braces side by side."""

    parts: tuple[str | Brace, ...]
    line: int

    @property
    def braces(self) -> tuple[Brace, ...]:
        """The braces in it, from left to right."""
        return tuple(part for part in self.parts if isinstance(part, Brace))

    def choose(self, choices: Iterable[tuple[str, ...]]) -> list[str]:
        """The words that come out when its braces become ``choices``, in their order."""
        remaining = iter(choices)
        done: list[str] = []
        current: str | None = None
        for part in self.parts:
            pieces = (part,) if isinstance(part, str) else next(remaining)
            for number, piece in enumerate(pieces):
                if number > 0 and current is not None:
                    done.append(current)
                    current = None
                current = (current or "") + piece
        if current is not None:
            done.append(current)
        return done


def scan(lines: Sequence[tuple[int, str]]) -> list[Word]:
    """Split numbered lines into words.

    Args:
        lines: (line number, text) of each line, comments left out.

    Raises:
        GrammarError: A quote or brace that is not closed, a nested brace, a stray ``}``, a brace
            without alternatives, or a character that only a shell would understand.
    """
    scanner = _Scanner()
    for number, text in lines:
        scanner.line(number, text)
    return scanner.finish()


class _Scanner:
    """Reads characters; ``text`` is the piece of text being read, ``None`` between pieces."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.parts: list[str | Brace] = []
        self.word_line = 0
        self.text: str | None = None
        # Inside a brace: its line, the alternatives that ended, the words of the current one.
        self.brace_line = 0
        self.alternatives: list[tuple[str, ...]] | None = None
        self.alternative: list[str] = []

    def line(self, number: int, line: str) -> None:
        position = 0
        while position < len(line):
            character = line[position]
            if character == "\\":
                if not line[position + 1 :].strip():
                    break  # a continued line, as in a shell
                self._add(line[position + 1], number)
                position += 2
            elif character in "'\"":
                position = self._quoted(number, line, position)
            else:
                self._plain(number, line, position)
                position += 1
        self._end_piece(number)

    def finish(self) -> list[Word]:
        if self.alternatives is not None:
            raise GrammarError(self.brace_line, "'{' is opened here and never closed; add '}'")
        return self.words

    def _add(self, text: str, number: int) -> None:
        if not self.parts and self.text is None:
            self.word_line = number
        self.text = (self.text or "") + text

    def _quoted(self, number: int, line: str, start: int) -> int:
        quote, position, text = line[start], start + 1, ""
        while position < len(line):
            character = line[position]
            if character == quote:
                self._add(text, number)
                return position + 1
            if quote == '"' and character in "$`":
                raise GrammarError(
                    number,
                    f"{character!r} in double quotes: no shell reads this file, nothing is "
                    "inserted; write the value out, or use single quotes if it is meant as it is",
                )
            if quote == '"' and character == "\\" and line[position + 1 : position + 2] in '"\\':
                position += 1
                character = line[position : position + 1]
            text += character
            position += 1
        raise GrammarError(
            number, f"the quote {line[start:]!r} is not closed on this line; close it"
        )

    def _plain(self, number: int, line: str, position: int) -> None:
        character = line[position]
        inside = self.alternatives is not None
        if character.isspace():
            self._end_piece(number)
        elif character == "{":
            if inside:
                raise GrammarError(
                    number,
                    f"'{{' inside the list that was opened on line {self.brace_line}: braces "
                    "cannot be nested; close that list with '}' or quote this one",
                )
            self._open(number)
        elif character == "}":
            if not inside:
                raise GrammarError(number, "'}' without '{' before it; remove it or quote it")
            self._close(number, line[position + 1 : position + 2])
        elif character == "," and inside:
            self._end_alternative()
        elif character in _SHELL_ONLY:
            raise GrammarError(
                number,
                f"{character!r} {_SHELL_ONLY[character]} in a shell, but commands here are run "
                "without one; quote it if it is part of a value",
            )
        elif character in "#~" and self.text is None and not (self.parts and not inside):
            what = (
                "a comment needs a line of its own" if character == "#" else "'~' is not expanded"
            )
            raise GrammarError(
                number, f"{line[position:].split()[0]!r}: {what}; quote it if it is a value"
            )
        else:
            self._add(character, number)

    def _end_piece(self, number: int) -> None:
        """White space: ends a word, or a word of an alternative."""
        if self.alternatives is not None:
            if self.text is not None:
                self.alternative.append(self.text)
                self.text = None
            return
        if self.text is not None:
            self.parts.append(self.text)
            self.text = None
        if self.parts:
            self.words.append(Word(tuple(self.parts), self.word_line))
            self.parts = []

    def _open(self, number: int) -> None:
        if self.text is not None:
            self.parts.append(self.text)
            self.text = None
        elif not self.parts:
            self.word_line = number
        self.brace_line, self.alternatives, self.alternative = number, [], []

    def _end_alternative(self) -> None:
        assert self.alternatives is not None
        if self.text is not None:
            self.alternative.append(self.text)
            self.text = None
        self.alternatives.append(tuple(self.alternative))
        self.alternative = []

    def _close(self, number: int, following: str) -> None:
        self._end_alternative()
        assert self.alternatives is not None
        alternatives, self.alternatives = tuple(self.alternatives), None
        _check(alternatives, self.brace_line, self.parts, following)
        self.parts.append(Brace(alternatives, self.brace_line))


def _check(
    alternatives: tuple[tuple[str, ...], ...],
    line: int,
    before: Sequence[str | Brace],
    following: str,
) -> None:
    """Refuse lists that cannot be meant as they are written."""
    shown = "{" + ", ".join(" ".join(words) for words in alternatives) + "}"
    if alternatives == ((),):
        raise GrammarError(line, "'{}' lists no alternative; put values between the braces")
    for position, words in enumerate(alternatives):
        if words in alternatives[:position]:
            text = " ".join(words) or "(nothing)"
            raise GrammarError(
                line, f"{shown} lists {text!r} twice, which would run the same job twice"
            )
    last = before[-1] if before else ""
    if (
        () in alternatives
        and isinstance(last, str)
        and last.endswith("=")
        and not following.strip()
    ):
        raise GrammarError(
            line,
            f"{last}{shown} leaves {last!r} without a value in one job; remove the spare comma, "
            "write '' for an empty value, or put the whole flag inside the braces",
        )
