"""Choice: a named group of decisions, their options, and theta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dnas.core.architecture import Option
from dnas.core.sampling import categorical_draw, gumbel_noise, gumbel_softmax, normalized_entropy
from dnas.errors import ArchitectureError


class Choice(nn.Module):
    """D decisions with up to K options each, and their architecture parameters theta.

    Decisions of one kind belong into one Choice: the embedding dimension of 26 features is one
    Choice with 26 decisions, one Gumbel draw, one heatmap. A decision to include something or not
    (a connection) is a decision with the options ``(False, True)``.

    Args:
        name: Unique in the SuperNet; the first half of the decision keys ``"name/decision"``.
        options: For each decision its options in column order. ``None`` stands where a decision
            lacks the option that others have in that column (a feature of 3 ids has no option of a
            thousandth of its rows); shorter lists are filled up with it. Options of a decision
            must differ: merge equal ones before.
        columns: Headings of the K columns, for pictures; the options themselves when all decisions
            share them, otherwise 0..K-1.
        row_title: What a decision is (``"feature"``), for pictures.
        column_title: What an option is (``"dimension"``), for pictures.
        row_notes: A remark on each decision (its cardinality, say), for pictures.

    Attributes:
        keys: The decisions' keys in an Architecture, ``"name/decision"``.
        theta: ``(D, K)`` parameters, zeros at start, so that every option is equally likely.
        valid: ``(D, K)`` bool buffer, which options exist.
        numbers: ``(D, K)`` float64 buffer, the options themselves where they are numbers (a bool
            is 0 or 1), 0 elsewhere: what many costs are linear in.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Sequence[Option | None]],
        *,
        columns: Sequence[str] | None = None,
        row_title: str = "decision",
        column_title: str = "option",
        row_notes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        _check_options(name, options)
        width = max(len(row) for row in options.values())
        table: list[tuple[Option | None, ...]] = []
        for row in options.values():
            table.append(tuple(row) + (None,) * (width - len(row)))
        self.name = name
        self.decisions: tuple[str, ...] = tuple(options)
        self.keys: tuple[str, ...] = tuple(f"{name}/{decision}" for decision in options)
        self.options: tuple[tuple[Option | None, ...], ...] = tuple(table)
        if columns is None:
            shared = table[0] if all(row == table[0] for row in table) else range(width)
            columns = [str(option) for option in shared]
        if len(columns) != width:
            raise ArchitectureError(
                f"choice {name!r}: {len(columns)} columns for {width} options: {tuple(columns)}"
            )
        self.columns = tuple(columns)
        self.row_title = row_title
        self.column_title = column_title
        self.row_notes = None if row_notes is None else tuple(row_notes)
        self.theta = nn.Parameter(torch.zeros(len(table), width))
        valid = torch.tensor([[option is not None for option in row] for row in table])
        self.register_buffer("valid", valid, persistent=False)
        numbers = [[o if isinstance(o, int | float) else 0.0 for o in row] for row in table]
        self.register_buffer(
            "numbers", torch.tensor(numbers, dtype=torch.float64), persistent=False
        )
        self.valid: Tensor
        self.numbers: Tensor

    def extra_repr(self) -> str:
        return f"{self.name!r}, decisions={len(self.decisions)}, options={len(self.columns)}"

    def logits(self) -> Tensor:
        """``(D, K)`` theta in float32, ``-inf`` where there is no option."""
        return self.theta.float().masked_fill(~self.valid, float("-inf"))

    def probabilities(self) -> Tensor:
        """``(D, K)`` softmax(theta): how likely a hard sample takes each option."""
        return torch.softmax(self.logits(), dim=-1)

    def entropy(self) -> Tensor:
        """Mean entropy of the decisions in [0, 1], see ``sampling.normalized_entropy``."""
        with torch.no_grad():
            return normalized_entropy(self.probabilities(), self.valid)

    def soft_sample(
        self, temperature: float, batch_size: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """``(batch_size, D, K)`` Gumbel-softmax weights, an independent draw for every row."""
        shape = (batch_size, *self.theta.shape)
        noise = gumbel_noise(shape, device=self.theta.device, generator=generator)
        return gumbel_softmax(self.logits(), temperature, noise)

    def hard_sample(
        self, generator: torch.Generator | None = None, *, most_likely: bool = False
    ) -> Tensor:
        """``(D,)`` option indices: a draw from softmax(theta), or the most likely options.

        Among equally likely options the most likely one is the first, so that the result does not
        depend on the device.
        """
        with torch.no_grad():
            logits = self.logits()
            if most_likely:
                # argmax leaves ties to the backend; the first maximum is the same everywhere.
                columns = torch.arange(logits.shape[1], device=logits.device)
                is_max = logits == logits.amax(dim=-1, keepdim=True)
                return torch.where(is_max, columns, logits.shape[1]).amin(dim=-1)
            return categorical_draw(logits, generator)

    def one_hot(self, indices: Tensor) -> Tensor:
        """``(1, D, K)`` float32 weights that select ``indices`` (D,)."""
        width = self.theta.shape[1]
        return torch.nn.functional.one_hot(indices, width).to(torch.float32).unsqueeze(0)

    def index(self, decision: int, option: Option) -> int:
        """Column of ``option`` in the options of decision number ``decision``.

        Raises:
            ArchitectureError: There is no such option; the message lists those there are.
        """
        row = self.options[decision]
        for column, candidate in enumerate(row):
            if candidate is not None and candidate == option:
                return column
        valid = [candidate for candidate in row if candidate is not None]
        raise ArchitectureError(
            f"decision {self.keys[decision]!r}: no option {option!r}; the options are {valid}"
        )


def _check_options(name: str, options: Mapping[str, Sequence[Option | None]]) -> None:
    """Refuse what is no table of options; the message says what to write instead."""
    if not isinstance(name, str) or not name:
        raise ArchitectureError(
            f'a choice is called {name!r}; give a name, as in Choice("size", ...)'
        )
    if not isinstance(options, Mapping):
        raise ArchitectureError(
            f"choice {name!r}: options are {options!r}; give each decision its options, as in "
            f'{{"first": (8, 16), "second": (8, 16, 32)}}'
        )
    if not options:
        raise ArchitectureError(
            f'choice {name!r} has no decisions; give at least one, as in {{"first": (8, 16)}}'
        )
    for decision, row in options.items():
        where = f"choice {name!r}: decision {decision!r}"
        if isinstance(row, str) or not isinstance(row, Sequence):
            raise ArchitectureError(
                f"{where} has the options {row!r}; give a list or tuple of options"
            )
        present = [option for option in row if option is not None]
        if not present:
            raise ArchitectureError(
                f"{where} has no options; give at least one that is not None, or leave it out"
            )
        odd = [option for option in present if type(option) not in (int, float, str, bool)]
        if odd:
            raise ArchitectureError(
                f"{where}: option {odd[0]!r} is a {type(odd[0]).__name__}; give an int, float, str "
                "or bool (of numpy: .item(); of a function or module: its name)"
            )
        if any(option != option for option in present):
            raise ArchitectureError(f"{where} has the option NaN; leave it out")
        if len(set(present)) != len(present):
            raise ArchitectureError(
                f"{where} has equal options in {tuple(row)}; merge them (None in the place of the "
                "later one)"
            )
