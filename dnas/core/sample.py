"""Sample: the weights of every option of every Choice, passed into ``forward``, never stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from dnas.core.architecture import Architecture
from dnas.core.choice import Choice
from dnas.errors import UnknownChoiceError


@dataclass(frozen=True)
class Sample(Mapping[str, Tensor]):
    """Weights by Choice name; ``sample[self.my_choice]`` is what a supernet's ``forward`` reads.

    Attributes:
        weights: For each Choice ``(B, D, K)``: soft weights with a draw for every row, or
            ``(1, D, K)``: one draw (or one-hot, or softmax(theta)) shared by all rows.
        architecture: The architecture that a hard sample selects, None for a soft sample. A
            forward may use it to compute only what is selected.
    """

    weights: Mapping[str, Tensor]
    architecture: Architecture | None = None

    def __getitem__(self, choice: Choice | str) -> Tensor:
        name = choice.name if isinstance(choice, Choice) else choice
        try:
            return self.weights[name]
        except (KeyError, TypeError):
            raise UnknownChoiceError(_unknown(choice, self.weights)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def batch_size(self) -> int:
        """B of the weights: the number of draws, 1 for a shared one."""
        return next((weights.shape[0] for weights in self.weights.values()), 1)

    def rows(self, part: slice) -> Sample:
        """The draws of some rows of the batch; a draw that all rows share stays as it is."""
        return Sample(
            {
                name: weights if weights.shape[0] == 1 else weights[part]
                for name, weights in self.weights.items()
            },
            self.architecture,
        )


def _unknown(choice: object, weights: Mapping[str, Tensor]) -> str:
    if isinstance(choice, Choice):
        return (
            f"choice {choice.name!r} is not in the module tree of the supernet that this sample is "
            f"of, which has {sorted(weights)}: keep it in an attribute, an nn.ModuleList or an "
            "nn.ModuleDict (torch does not look into plain lists and dicts)"
        )
    return (
        f"sample[{choice!r}]: this sample has weights of the choices {sorted(weights)}; give a "
        "Choice or its name"
    )
