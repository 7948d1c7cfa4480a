"""By which metric a trained model is judged, and in which direction: as its result says it.

A result file has ``"selection": {"metric": "accuracy", "maximize": true}``: what decided about the
best epoch decides about architectures too. Model selection and reports read it here, so that both
mean the same by "best".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_Signed = TypeVar("_Signed", bound=Any)

#: Entries of a result's metrics that describe its rows and judge nothing.
FACTS = frozenset({"rows", "label_rate"})
#: Metrics in words; any other is called as it is named.
_WORDS = {"logloss": "log loss", "auc": "AUC", "ne": "normalized entropy", "mse": "MSE"}


@dataclass(frozen=True)
class Quality:
    """A metric of which larger, or smaller, is better."""

    metric: str
    """As results name it."""
    maximize: bool = False
    """Whether larger is better."""

    @property
    def column(self) -> str:
        """Its column in tables of results."""
        return f"validation_{self.metric}"

    @property
    def words(self) -> str:
        """Its name in a sentence, e.g. ``log loss``."""
        return _WORDS.get(self.metric, self.metric.replace("_", " "))

    @property
    def direction(self) -> str:
        """``higher is better`` or ``lower is better``."""
        return f"{'higher' if self.maximize else 'lower'} is better"

    def signed(self, values: _Signed) -> _Signed:
        """Values with their sign such that lower is better; applied twice it changes nothing.

        Args:
            values: A number, an array or a column.
        """
        return -values if self.maximize else values

    def __str__(self) -> str:
        return f"{'max' if self.maximize else 'min'} {self.metric}"

    @classmethod
    def from_str(cls, text: str) -> Quality:
        """Read back what ``str`` gives, e.g. ``max accuracy``."""
        way, _, metric = text.partition(" ")
        if way not in ("min", "max") or not metric:
            raise ValueError(f"'min METRIC' or 'max METRIC' is expected, got {text!r}")
        return cls(metric, way == "max")


#: What click models are judged by, and results that do not say it themselves.
LOGLOSS = Quality("logloss")


def judged_by(result: Mapping[str, Any], validation: object) -> Quality | None:
    """What a result is to be judged by.

    A program of another kind may say nothing of ``selection``. Then it is the log loss if there is
    one, else the only validation metric (:data:`FACTS` are none), *lower is better*: a program
    whose metric is to be large has to say so.

    Args:
        result: Content of a result file.
        validation: Its validation metrics, at any epoch.

    Returns:
        None if it says nothing and several metrics, or none, could be meant.
    """
    said = result.get("selection")
    if isinstance(said, Mapping):
        return Quality(str(said.get("metric", LOGLOSS.metric)), bool(said.get("maximize", False)))
    names = [str(name) for name in validation] if isinstance(validation, Mapping) else []
    names = [name for name in names if name not in FACTS]
    if LOGLOSS.metric in names:
        return LOGLOSS
    return Quality(names[0]) if len(names) == 1 else None
