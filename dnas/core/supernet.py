"""SuperNet: the base class of every search space.

A supernet holds all candidate networks at once. Its :class:`~dnas.core.choice.Choice` modules hold
theta; everything else it holds are weights. The life of one training step::

    sample = super_net.soft_sample(temperature, batch_size)   # draws, from theta
    output = super_net(*batch.inputs, sample=sample)          # weighted sums
    costs  = super_net.expected_cost(sample)                  # differentiable, by name
    ... the search manager folds both into a loss, and steps theta or the weights, never both

and at the end ``sample_arch()`` gives architectures, ``cost(architecture)`` their exact costs and
``build(architecture)`` plain modules without a trace of the search.

Choices are found in the module tree, so supernets nest without bookkeeping: a supernet made of
supernets inherits their choices, costs, canonical forms and pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.architecture import Architecture, Option
from dnas.core.choice import Choice
from dnas.core.cost_terms import (
    CostTables,
    OperatorTables,
    OptionCosts,
    OptionOperators,
    fixed_counts,
    known_choice,
)
from dnas.core.mixing import calculate_weighted_sum
from dnas.core.operator import Operator, OperatorCounts, Pricing, joined
from dnas.core.picture import Picture
from dnas.core.sample import Sample
from dnas.core.subclassing import check_keywords, checked_costs, checked_form, without_init
from dnas.errors import ArchitectureError, CostError, NoExpectationError


class SuperNet(nn.Module, ABC):
    """All candidate networks of a search space, sharing one set of weights.

    A subclass

    1. creates its ``Choice`` modules (and its weights) in ``__init__``;
    2. implements ``forward(*inputs, sample)``, which reads ``sample[choice]`` and must give, for a
       one-hot sample, what the built architecture gives;
    3. states what things cost: ``option_costs`` (and ``fixed_costs``) when costs add up over
       decisions, or its own ``cost_terms`` when they do not; for measured costs, what they run:
       ``option_operators`` (and ``fixed_operators``), or its own ``operator_terms``;
    4. implements ``build(architecture, inherit_weights)``;
    5. where different decisions can give the same network, implements ``canonical`` (and ``trim``
       where some decisions have no effect).

    ``dnas.testing.check_supernet`` verifies that these fit together.
    """

    # ---------------------------------------------------------------- written by the subclass

    #: ``forward(*inputs, sample) -> Tensor``: outputs of all B rows under ``sample``, whose
    #: weights are ``(B, D, K)`` or ``(1, D, K)`` for each Choice.
    forward: Callable[..., Tensor]

    @abstractmethod
    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        """The plain module of one architecture.

        Args:
            architecture: One option for every decision that has an effect.
            inherit_weights: Copy the supernet's weights; otherwise freshly initialised.

        Raises:
            ArchitectureError: The architecture does not belong to this search space.
        """

    def option_costs(self) -> OptionCosts:
        """Costs that add up over decisions: cost name -> choice name -> ``(D, K)`` numbers.

        Entries of options that do not exist are ignored.
        """
        return {}

    def fixed_costs(self) -> Mapping[str, float]:
        """Costs of what every architecture has, by cost name."""
        return {}

    def cost_terms(self, sample: Sample) -> dict[str, Tensor]:
        """Costs by name, each ``(B,)`` (``(1,)`` for a shared sample), differentiable.

        Adds up the weighted ``option_costs``, the ``fixed_costs`` and the costs of nested
        supernets. Override when costs of decisions depend on each other, for example where one
        decision says whether a nested supernet is there at all.
        """
        totals: dict[str, Tensor] = {}
        first = _reference(sample)

        def add(cost: str, value: Tensor) -> None:
            totals[cost] = totals[cost] + value if cost in totals else value

        for child in self.nested():
            for cost, value in checked_costs(child, child.cost_terms(sample)).items():
                add(cost, value)
        choices = self.choices  # walks through all modules
        for cost, tables in self.option_costs().items():
            for name, table in tables.items():
                choice = known_choice(choices, name, f"option_costs()[{cost!r}]")
                numbers = self._tables(cost, choice, table).to(first.dtype)
                add(cost, (sample[choice] * numbers).sum(dim=(1, 2)))
        for cost, fixed in self.fixed_costs().items():
            add(cost, first.new_full((sample.batch_size,), float(fixed)))
        return totals

    def option_operators(self) -> OptionOperators:
        """What each option makes the built model run: choice name -> ``(D, K)`` operators.

        Says what a measured cost is the sum of, as ``option_costs`` says what others are.
        """
        return {}

    def fixed_operators(self) -> Sequence[Operator]:
        """What every built model runs, as often as it stands here."""
        return ()

    def operator_terms(self, sample: Sample) -> OperatorCounts:
        """How often each operator runs in a forward pass of the built model, expected.

        Joins ``option_operators``, ``fixed_operators`` and those of nested supernets. Override
        where runs depend on several decisions; like costs they must be exact expectations. All
        operators of the space are listed under every sample, so that they can be measured.
        """
        reference = _reference(sample)
        nested = [child.operator_terms(sample) for child in self.nested()]
        options = self._operator_tables.counts(self.choices, sample, self.option_operators())
        fixed = fixed_counts(self.fixed_operators(), reference)
        return joined([*nested, *options, fixed], reference)

    def trim(self, architecture: Architecture) -> Architecture:
        """Drop the decisions that have no effect in ``architecture``.

        The result still selects the same *weights* of the supernet. Nested supernets trim their
        own decisions; override for a supernet where some decisions make others irrelevant (call
        ``super().trim`` first, then drop). What is trimmed already must pass unchanged.
        """
        for child in self.nested():
            architecture = checked_form(child, "trim", child.trim(architecture))
        return architecture

    def canonical(self, architecture: Architecture) -> Architecture:
        """The representative of all architectures that are the same network, trained from scratch.

        At least as coarse as ``trim``. Nested supernets canonicalise their own decisions.
        """
        for child in self.nested():
            architecture = checked_form(child, "canonical", child.canonical(architecture))
        return architecture

    def pictures(self) -> dict[str, Picture]:
        """What to draw of theta: by default softmax(theta) of each Choice."""
        inner = {name for child in self.nested() for name in child.choices}
        drawn = {
            name: self._picture(choice)
            for name, choice in self.choices.items()
            if name not in inner
        }
        for child in self.nested():
            drawn.update(child.pictures())
        return drawn

    # ---------------------------------------------------------------- written once

    @property
    def choices(self) -> dict[str, Choice]:
        """The Choices in the module tree, by name.

        Raises:
            ArchitectureError: Two Choices have the same name.
        """
        found: dict[str, Choice] = {}
        for module in self.modules():
            if isinstance(module, Choice):
                if module.name in found:
                    raise ArchitectureError(
                        f"two choices are named {module.name!r}; give each Choice a name of its "
                        "own (and nested supernets an argument for it)"
                    )
                found[module.name] = module
        keys = [key for choice in found.values() for key in choice.keys]
        if len(set(keys)) != len(keys):
            raise ArchitectureError(
                "two decisions have the same key name/decision; use other names without slashes"
            )
        return found

    def own_and_others(
        self, architecture: Mapping[str, Option]
    ) -> tuple[Architecture, dict[str, Option]]:
        """The decisions of this supernet and its nested ones, and those of supernets around it.

        For ``trim`` and ``canonical`` of a supernet that others may nest: they get the decisions of
        the whole tree, and keep those that they do not know. Own ones may have been left out by the
        ``trim`` of a supernet around this one.
        """
        known = {key for choice in self.choices.values() for key in choice.keys}
        own = {key: option for key, option in architecture.items() if key in known}
        others = {key: option for key, option in architecture.items() if key not in known}
        return Architecture(own), others

    def nested(self) -> Iterator[SuperNet]:
        """The supernets directly inside this one (not those inside them)."""
        pending: list[nn.Module] = list(self.children())
        while pending:
            module = pending.pop(0)
            if isinstance(module, SuperNet):
                yield module
            else:
                pending.extend(module.children())

    @property
    def theta_parameters(self) -> dict[str, nn.Parameter]:
        """theta of each Choice, by name."""
        return {name: choice.theta for name, choice in self.choices.items()}

    def architecture_parameters(self) -> list[nn.Parameter]:
        """All theta; disjoint from ``weight_parameters``, and both together are all parameters."""
        return [choice.theta for choice in self.choices.values()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters but theta, each once."""
        theta = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in theta]

    def soft_sample(
        self, temperature: float, batch_size: int, generator: torch.Generator | None = None
    ) -> Sample:
        """Gumbel-softmax weights of every Choice (equation 3).

        Args:
            temperature: tau.
            batch_size: Number of independent draws: the rows of the batch, or 1 for one draw
                that the whole batch shares.
            generator: Source of randomness, on the device of theta.
        """
        return Sample(
            {
                name: choice.soft_sample(temperature, batch_size, generator)
                for name, choice in self.choices.items()
            }
        )

    def hard_sample(
        self, *, most_likely: bool = False, generator: torch.Generator | None = None
    ) -> Sample:
        """One-hot weights: a draw from softmax(theta), or the most likely option everywhere."""
        weights: dict[str, Tensor] = {}
        decisions: dict[str, Option] = {}
        for name, choice in self.choices.items():
            indices = choice.hard_sample(generator, most_likely=most_likely)
            weights[name] = choice.one_hot(indices)
            for key, row, column in zip(choice.keys, choice.options, indices.tolist(), strict=True):
                option = row[column]
                assert option is not None, "a hard sample took an option that does not exist"
                decisions[key] = option
        return Sample(weights, self._trimmed(decisions))

    def sample_arch(
        self, *, most_likely: bool = False, generator: torch.Generator | None = None
    ) -> Architecture:
        """An architecture: a draw from softmax(theta), or the most likely option everywhere."""
        architecture = self.hard_sample(most_likely=most_likely, generator=generator).architecture
        assert architecture is not None
        return architecture

    def random_architecture(self, generator: torch.Generator | None = None) -> Architecture:
        """A draw in which every option of every decision is equally likely, whatever theta is.

        ``generator`` is on the CPU, so that the draws are the same for every device.
        """
        decisions: dict[str, Option] = {}
        for choice in self.choices.values():
            for key, row in zip(choice.keys, choice.options, strict=True):
                present = [option for option in row if option is not None]
                column = int(torch.randint(len(present), (), generator=generator))
                decisions[key] = present[column]
        return self._trimmed(decisions)

    def probability_sample(self) -> Sample:
        """softmax(theta) as weights ``(1, D, K)``, differentiable.

        Costs that are multilinear in the decisions (all of this library's are) have their exact
        expectation over hard samples here: ``expected_cost(probability_sample())``.
        """
        return Sample(
            {name: choice.probabilities().unsqueeze(0) for name, choice in self.choices.items()}
        )

    def one_hot_sample(
        self, architecture: Mapping[str, Option], dtype: torch.dtype = torch.float32
    ) -> Sample:
        """The hard sample that selects ``architecture``.

        Raises:
            ArchitectureError: A decision or an option is unknown, or one with an effect is missing.
        """
        full, trimmed = self._complete(architecture)
        weights: dict[str, Tensor] = {}
        for name, choice in self.choices.items():
            columns = [choice.index(row, full[key]) for row, key in enumerate(choice.keys)]
            indices = torch.tensor(columns, device=choice.theta.device)
            weights[name] = choice.one_hot(indices).to(dtype)
        return Sample(weights, trimmed)

    def validate(self, architecture: Mapping[str, Option]) -> Architecture:
        """``architecture`` trimmed, with each option as this space spells it.

        Raises:
            ArchitectureError: As ``one_hot_sample``.
        """
        return self._complete(architecture)[1]

    @staticmethod
    def calculate_weighted_sum(weights: Tensor, mats: Sequence[Tensor]) -> Tensor:
        """``sum_i m_i f_i(x)`` (equation 2); see ``dnas.core.mixing.calculate_weighted_sum``."""
        return calculate_weighted_sum(weights, mats)

    def expected_cost(self, sample: Sample) -> dict[str, Tensor]:
        """Costs by name, each ``(B,)`` (``(1,)`` for a shared sample), differentiable (equation 4).

        Those of ``cost_terms``, and those that operators were priced for with ``price``: these
        are left out where they are known of single architectures only and ``sample`` is a soft one.

        Raises:
            CostError: ``cost_terms`` gives no tensors by name.
        """
        costs = checked_costs(self, self.cost_terms(sample))
        if self._pricings:
            try:
                counts = self.operator_terms(sample)
            except NoExpectationError:
                return costs
            for pricing in self._pricings.values():
                costs[pricing.name] = pricing(counts)
        return costs

    def operators(self) -> tuple[Operator, ...]:
        """The distinct operators of this space, sorted.

        Raises:
            CostError: A supernet in the tree does not say what it runs: a measured cost would leave
                that out.
        """
        silent = [type(net).__name__ for net in self.modules() if _is_silent(net)]
        if silent:
            raise CostError(
                f"{silent[0]} does not say which operators it runs, so there are no measured "
                "costs; implement option_operators and fixed_operators (or operator_terms) of "
                f"{', '.join(dict.fromkeys(silent))}; return nothing where there is nothing"
            )
        with torch.no_grad():
            found = self.operator_terms(self.probability_sample()).operators
        return tuple(sorted(set(found)))

    def price(self, cost: str, prices: Callable[[Operator], float]) -> None:
        """Give this supernet a cost by the prices of the operators that a built model runs.

        From then on ``expected_cost`` and ``cost`` have it too. A cost of that name is replaced.

        Args:
            cost: Its name, such as ``"latency"``.
            prices: Operator -> price of one run; raises ``CostError`` where it has none.

        Raises:
            CostError: There is no price for an operator, or nobody said what this supernet runs.
        """
        pricing = Pricing(cost, prices)
        for operator in self.operators():
            pricing.of(operator)
        self._pricings[cost] = pricing

    def cost(self, architecture: Mapping[str, Option]) -> dict[str, float]:
        """Exact costs of one architecture: ``expected_cost`` at its one-hot sample, in float64."""
        with torch.no_grad():
            sample = self.one_hot_sample(architecture, torch.float64)
            return {name: float(value) for name, value in self.expected_cost(sample).items()}

    def runs(self, architecture: Mapping[str, Option]) -> dict[Operator, float]:
        """How often the model of one architecture runs each operator: what prices are summed over.

        Operators that it does not run may stand there with 0.
        """
        with torch.no_grad():
            counts = self.operator_terms(self.one_hot_sample(architecture, torch.float64))
        return {operator: float(count) for operator, count in counts.by_operator().items()}

    def log_probability(self, architecture: Mapping[str, Option]) -> float:
        """Log of the probability that ``sample_arch()`` gives this (trimmed) architecture.

        Decisions without an effect in it count with probability 1.
        """
        trimmed = self.validate(architecture)
        total = 0.0
        with torch.no_grad():
            for choice in self.choices.values():
                log_p = torch.log_softmax(choice.logits().double(), dim=-1).tolist()
                for row, key in enumerate(choice.keys):
                    if key in trimmed:
                        total += log_p[row][choice.index(row, trimmed[key])]
        return total

    # ---------------------------------------------------------------- private

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_keywords(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except AttributeError as error:
            raise without_init(self, name) or error from None

    @property
    def _pricings(self) -> dict[str, Pricing]:
        found: dict[str, Pricing] = self.__dict__.setdefault("_priced", {})
        return found

    @property
    def _tables(self) -> CostTables:
        found: CostTables = self.__dict__.setdefault("_cost_tables", CostTables())
        return found

    @property
    def _operator_tables(self) -> OperatorTables:
        found: OperatorTables = self.__dict__.setdefault("_operators", OperatorTables())
        return found

    def _trimmed(self, decisions: Mapping[str, Option]) -> Architecture:
        return checked_form(self, "trim", self.trim(Architecture(decisions)))

    def _complete(self, architecture: Mapping[str, Option]) -> tuple[Architecture, Architecture]:
        """``architecture`` with every decision filled in, and trimmed."""
        full: dict[str, Option] = {}
        known: set[str] = set()
        for choice in self.choices.values():
            for row, key in enumerate(choice.keys):
                known.add(key)
                if key in architecture:
                    spelled = choice.options[row][choice.index(row, architecture[key])]
                else:
                    # Any option will do where the decision has no effect, which is checked below.
                    spelled = next(o for o in choice.options[row] if o is not None)
                assert spelled is not None
                full[key] = spelled
        unknown = sorted(set(architecture) - known)
        if unknown:
            raise ArchitectureError(
                f"unknown decisions {unknown[:5]}; this space has {sorted(known)[:5]} ..."
            )
        trimmed = self._trimmed(full)
        missing = sorted(set(trimmed) - set(architecture))
        if missing:
            raise ArchitectureError(
                f"{len(missing)} decisions are missing, among them {missing[:5]}"
            )
        return Architecture(full), trimmed

    @staticmethod
    def _picture(choice: Choice) -> Picture:
        values = choice.probabilities().detach().masked_fill(~choice.valid, float("nan"))
        return Picture(
            values=values,
            rows=choice.decisions,
            columns=choice.columns,
            row_title=choice.row_title,
            column_title=choice.column_title,
            row_notes=choice.row_notes,
        )


def _is_silent(module: nn.Module) -> bool:
    """Whether a supernet says nothing of its operators, where its nested ones may."""
    said = ("option_operators", "fixed_operators", "operator_terms")
    kind = type(module)
    return isinstance(module, SuperNet) and all(
        getattr(kind, name) is getattr(SuperNet, name) for name in said
    )


def _reference(sample: Sample) -> Tensor:
    """``(B, ...)`` weights: batch size, dtype and device of costs under ``sample``."""
    return next(iter(sample.weights.values()), torch.ones(1))
