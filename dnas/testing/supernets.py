"""The contracts of every SuperNet, as a suite for the tests of a subclass::

    from dnas.testing import SuperNetContracts

    class TestMySuperNet(SuperNetContracts):
        def make_supernet(self):
            return MySuperNet(...)

        def make_batch(self, rows):
            return (torch.randn(rows, 8),)

gives a pytest test for each contract; ``check_supernet(make_supernet, make_batch)`` runs all of
them in one line, without pytest. Each says, when it fails, what to mend in the subclass. Use a
small space: some checks walk through all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dnas.core import SuperNet
from dnas.testing.contracts.building import check_built_models, check_every_option_is_reachable
from dnas.testing.contracts.costs import check_costs_are_exact, check_expected_cost
from dnas.testing.contracts.elsewhere import check_other_process
from dnas.testing.contracts.forms import check_forms
from dnas.testing.contracts.forward import (
    check_forward_uses_the_sample,
    check_one_hot_equals_built,
    check_rows_but_for_batch_norm,
    check_rows_may_have_their_own_sample,
)
from dnas.testing.contracts.given import MakeBatch, MakeSuperNet
from dnas.testing.contracts.making import check_what_is_made
from dnas.testing.contracts.operators import check_operators
from dnas.testing.contracts.phases import check_no_hidden_decisions, check_phases_keep_apart
from dnas.testing.contracts.sampling import check_samples_come_from_the_generator, check_sampling
from dnas.testing.contracts.states import check_everything_moves, check_same_seed, check_state
from dnas.testing.contracts.training import check_training_equals_built
from dnas.training.seeding import seed_everything

Check = Callable[[MakeSuperNet, MakeBatch], None]

#: In the order in which a mistake is best explained.
ALL_CHECKS: tuple[Check, ...] = (
    check_what_is_made,
    check_forward_uses_the_sample,
    check_forms,
    check_every_option_is_reachable,
    check_one_hot_equals_built,
    check_rows_may_have_their_own_sample,
    check_built_models,
    check_training_equals_built,
    check_costs_are_exact,
    check_expected_cost,
    check_operators,
    check_phases_keep_apart,
    check_no_hidden_decisions,
    check_sampling,
    check_samples_come_from_the_generator,
    check_state,
    check_everything_moves,
    check_same_seed,
    check_other_process,
)

#: What takes the place of a check where a supernet is said to have batch norm.
WITH_BATCH_NORM: Mapping[Check, Check] = {
    check_rows_may_have_their_own_sample: check_rows_but_for_batch_norm
}


def check_supernet(
    make_supernet: MakeSuperNet,
    make_batch: MakeBatch,
    *,
    seed: int = 0,
    batch_norm: bool = False,
) -> None:
    """Run all contracts.

    Args:
        make_supernet: Makes a freshly initialised supernet; called several times.
        make_batch: Random inputs of ``forward`` for a number of rows: a tuple, or a batch that has
            them as ``inputs`` (``dnas.data.TensorBatch``, ``ClickBatch``).
        seed: Of everything random here.
        batch_norm: The supernet has batch norm, whose statistics of the batch let rows depend on
            each other in training. That alone is then left out of the check on rows.

    Raises:
        AssertionError: A contract is broken; the message says which and what to mend.
        DnasError: The supernet cannot be used at all.
    """
    for check in ALL_CHECKS:
        _run(check, make_supernet, make_batch, seed, batch_norm)


def _run(
    check: Check, make_supernet: MakeSuperNet, make_batch: MakeBatch, seed: int, batch_norm: bool
) -> None:
    seed_everything(seed)
    check = WITH_BATCH_NORM.get(check, check) if batch_norm else check
    check(make_supernet, make_batch)


class SuperNetContracts:
    """A pytest test for each contract; inherit in a class named ``Test...``.

    The numbers are those of ``docs/architecture.md``.
    """

    seed: int = 0
    """Of everything random in these tests."""
    batch_norm: bool = False
    """The supernet has batch norm, see :func:`check_supernet`."""

    def make_supernet(self) -> SuperNet:
        """A freshly initialised supernet of a small space; called several times."""
        raise NotImplementedError(f"{type(self).__name__} needs a method make_supernet(self)")

    def make_batch(self, rows: int) -> Any:
        """Random inputs of ``forward``: a tuple, or a batch that has them as ``inputs``."""
        raise NotImplementedError(f"{type(self).__name__} needs a method make_batch(self, rows)")

    def check(self, check: Check) -> None:
        """Run one of the checks on this class's supernet, once there is one to check."""
        _run(check_what_is_made, self.make_supernet, self.make_batch, self.seed, self.batch_norm)
        _run(check, self.make_supernet, self.make_batch, self.seed, self.batch_norm)

    # ---- 1: forward and build -----------------------------------------------------------------

    def test_forward_uses_the_sample_that_is_passed(self) -> None:
        self.check(check_forward_uses_the_sample)

    def test_forward_with_a_one_hot_sample_is_the_built_model(self) -> None:
        self.check(check_one_hot_equals_built)

    def test_rows_may_have_their_own_sample(self) -> None:
        self.check(check_rows_may_have_their_own_sample)

    def test_built_models_are_plain_and_fresh_unless_they_inherit(self) -> None:
        self.check(check_built_models)

    def test_training_the_supernet_is_training_the_built_model(self) -> None:
        self.check(check_training_equals_built)

    # ---- 2, 3: costs --------------------------------------------------------------------------

    def test_costs_are_what_is_counted_on_the_built_model(self) -> None:
        self.check(check_costs_are_exact)

    def test_expected_costs_are_the_mean_and_differentiable(self) -> None:
        self.check(check_expected_cost)

    def test_operators_are_counted_like_costs(self) -> None:
        self.check(check_operators)

    # ---- 4: weights and theta -----------------------------------------------------------------

    def test_weights_and_theta_are_trained_apart(self) -> None:
        self.check(check_phases_keep_apart)

    def test_no_parameter_is_a_hidden_decision(self) -> None:
        self.check(check_no_hidden_decisions)

    # ---- 5: sampling --------------------------------------------------------------------------

    def test_samples_follow_theta(self) -> None:
        self.check(check_sampling)

    def test_samples_come_from_the_generator(self) -> None:
        self.check(check_samples_come_from_the_generator)

    # ---- 6: the same again --------------------------------------------------------------------

    def test_trimmed_and_canonical_forms_are_the_same_network(self) -> None:
        self.check(check_forms)

    def test_the_state_dict_is_all_there_is(self) -> None:
        self.check(check_state)

    def test_everything_moves_to_a_device(self) -> None:
        self.check(check_everything_moves)

    def test_the_same_seed_gives_the_same_search(self) -> None:
        self.check(check_same_seed)

    def test_the_same_seed_gives_the_same_in_another_process(self) -> None:
        self.check(check_other_process)

    # ---- 7: options ---------------------------------------------------------------------------

    def test_every_option_can_be_sampled_built_and_run(self) -> None:
        self.check(check_every_option_is_reachable)
