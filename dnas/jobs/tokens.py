"""Tokens of tuning configs: words that stand for what is known when a job starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from dnas.jobs.braces import GrammarError
from dnas.runs import FINALS, SAMPLED

EXPERIMENT_ID = "EXPERIMENT_ID"
GPU_ID_TOKENS = ("GPU_ID_PARAM", "HOST_GPU_ID")
SAVE_METRICS_PARAM = "SAVE_METRICS_PARAM"
SAMPLED_ARCH_PARAM = "SAMPLED_ARCH_PARAM"
BEST_ARCH_PARAM = "BEST_ARCH_PARAM"
#: Kind of job -> the token that stands for its architecture.
ARCHITECTURE_TOKENS = {SAMPLED: SAMPLED_ARCH_PARAM, **dict.fromkeys(FINALS, BEST_ARCH_PARAM)}
SUPERNET_PARAM = "SUPERNET_PARAM"
ARCHITECTURES_PARAM = "ARCHITECTURES_PARAM"
#: What other jobs have made for one that scores subnets.
INPUT_TOKENS = (SUPERNET_PARAM, ARCHITECTURES_PARAM)
TOKENS = (
    EXPERIMENT_ID,
    *GPU_ID_TOKENS,
    SAVE_METRICS_PARAM,
    SAMPLED_ARCH_PARAM,
    BEST_ARCH_PARAM,
    *INPUT_TOKENS,
)

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_])(?:REPLACE_WITH_[A-Z0-9_]+|[A-Z][A-Z0-9_]*_PARAM)(?![A-Za-z0-9_])"
)


def has_token(text: str, token: str) -> bool:
    """Whether ``token`` stands in ``text`` between characters that belong to no identifier."""
    return _token_pattern(token).search(text) is not None


def fill(word: str, values: dict[str, str]) -> str:
    """Replace tokens in one word of a command.

    Args:
        word: The word.
        values: Token -> text; a token that is not in it stays.
    """
    # One pass over all tokens: a value that happens to contain a token's name is left alone.
    names = "|".join(re.escape(token) for token in values)
    if not names:
        return word
    return _token_pattern(f"(?:{names})", escape=False).sub(lambda m: values[m.group()], word)


def check_tokens(pieces: Iterable[tuple[int, str]]) -> None:
    """Refuse tokens that are not known, in texts with their lines.

    Raises:
        GrammarError: There is one.
    """
    valid = ", ".join(TOKENS)
    for line, text in pieces:
        for token in _TOKEN.findall(text):
            if token == "REPLACE_WITH_PYTHON_CMD":
                raise GrammarError(line, f"{token!r} is not known here; write python")
            if token not in TOKENS:
                close = difflib.get_close_matches(token, TOKENS, 1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise GrammarError(line, f"unknown token {token!r}{hint}; valid tokens: {valid}")


def _token_pattern(token: str, *, escape: bool = True) -> re.Pattern[str]:
    middle = re.escape(token) if escape else token
    return re.compile(rf"(?<![A-Za-z0-9_]){middle}(?![A-Za-z0-9_])")
