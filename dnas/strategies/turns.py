"""Taking turns: what is trained in weights phases and in theta phases, by which optimizer.

Weights and theta are trained by disjoint optimizers, and in the phase of the one the gradients of
the other are neither computed nor applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

from dnas.core import SuperNet
from dnas.core.schedules import LrLambda, constant
from dnas.errors import ConfigError
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.strategies.running_statistics import RunningStatistics
from dnas.training.optim import OptimizerSet


def check_optimizer_arguments(
    class_name: str, optimizer_class: Any, lrs_name: str, lrs: Any, lambdas_name: str, lambdas: Any
) -> None:
    """Refuse what no optimizer can be made of, by the argument's name.

    Args:
        class_name: What ``optimizer_class`` is called in messages; of the others likewise.
        optimizer_class: To be a class of optimizers.
        lrs_name: See above.
        lrs: To be a learning rate for each parameter group.
        lambdas_name: See above.
        lambdas: To be a function for each parameter group, or None.

    Raises:
        ConfigError: One is something else.
    """
    if not callable(optimizer_class):
        raise ConfigError(
            f"{class_name} is {optimizer_class!r:.80}; give a class, such as torch.optim.Adam"
        )
    if not _is_list(lrs) or not all(
        isinstance(lr, Real) and not isinstance(lr, bool) for lr in lrs
    ):
        number = f"[{lrs}]" if isinstance(lrs, Real) else "[0.01]"
        raise ConfigError(
            f"{lrs_name} is {lrs!r:.80}; give a list with a learning rate for each parameter "
            f"group, such as {number}"
        )
    if lambdas is not None and not (_is_list(lambdas) and all(map(callable, lambdas))):
        raise ConfigError(
            f"{lambdas_name} is {lambdas!r:.80}; give a list with a function of the epochs "
            "completed for each parameter group"
        )


def _is_list(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | Mapping)


class Turns:
    """Switches a supernet between training its weights and training theta.

    Args:
        super_net: What is trained. What is frozen when this is made stays frozen.
        optimizers: For ``"weights"`` and for ``"theta"``.
        lr_lambdas: For both, factors of their groups' learning rates; None: constant.

    Raises:
        ConfigError: An optimizer would train what is the other's, or numbers of groups differ.
    """

    def __init__(
        self,
        super_net: SuperNet,
        optimizers: Mapping[str, OptimizerSet],
        lr_lambdas: Mapping[str, Sequence[LrLambda] | None],
    ) -> None:
        self.super_net = super_net
        self.optimizers = dict(optimizers)
        self.lr_lambdas = {
            kind: list(lr_lambdas[kind] or [constant()] * len(optimizer.initial_lrs))
            for kind, optimizer in self.optimizers.items()
        }
        self._check()
        self._requires_grad = {p: p.requires_grad for p in super_net.parameters()}
        self._norms = RunningStatistics(super_net)

    def _check(self) -> None:
        theta = {id(p) for p in self.super_net.architecture_parameters()}
        w = {id(p) for p in self.optimizers[WEIGHTS].parameters()}
        m = {id(p) for p in self.optimizers[THETA].parameters()}
        if w & theta:
            raise ConfigError(
                "w_optim_params_func returns theta: the weights' optimizer would train the "
                "architecture; use super_net.weight_parameters()"
            )
        if not m <= theta:
            raise ConfigError(
                "m_optim_params_func returns weights: theta's optimizer would train them; use "
                "super_net.architecture_parameters()"
            )
        for kind, optimizer in self.optimizers.items():
            if len(self.lr_lambdas[kind]) != len(optimizer.initial_lrs):
                raise ConfigError(
                    f"{len(self.lr_lambdas[kind])} learning-rate lambdas for "
                    f"{len(optimizer.initial_lrs)} {kind} parameter groups"
                )

    def train_only(self, kind: str) -> None:
        """No gradients for what this kind of phase does not train: neither computed nor applied."""
        self.super_net.zero_grad(set_to_none=True)
        trained = {id(parameter) for parameter in self.optimizers[kind].parameters()}
        for parameter in self.super_net.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        # Running statistics belong to the weights: theta's data must not enter them.
        self._norms.update(kind == WEIGHTS)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Afterwards, whatever the phases have switched off is as it was before the search."""
        try:
            yield
        finally:
            for parameter, flag in self._requires_grad.items():
                parameter.requires_grad_(flag)
            self._norms.update(True)

    def set_lr(self, kind: str, epoch: float) -> None:
        """Learning rates of this kind after ``epoch`` epochs of it."""
        self.optimizers[kind].set_lr(epoch, self.lr_lambdas[kind])
