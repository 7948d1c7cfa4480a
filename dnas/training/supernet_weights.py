"""The weights of a supernet, and optimizers of some of its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from dnas.core import SuperNet
from dnas.errors import ConfigError
from dnas.training.optim import OptimizerClass, OptimizerSet, sparse_parameter_ids


def make_optimizer(
    super_net: SuperNet,
    optimizer_class: OptimizerClass,
    parameters: Iterable[Any],
    lrs: Sequence[float],
    init_params: Mapping[str, Any] | None,
) -> OptimizerSet:
    """An optimizer of some of the supernet's parameters.

    Args:
        super_net: Knows which of its parameters have sparse gradients.
        optimizer_class: For example ``torch.optim.Adam``.
        parameters: Parameters, or groups of them.
        lrs: Initial learning rate of each group.
        init_params: Further arguments of ``optimizer_class``.

    Raises:
        ConfigError: There are no parameters.
    """
    entries = list(parameters)
    if not entries:
        raise ConfigError("there are no parameters to optimise: all are frozen, or none given")
    groups = [{"params": entries}] if isinstance(entries[0], nn.Parameter) else entries
    return OptimizerSet(
        optimizer_class,
        groups,
        lrs,
        init_params=init_params,
        sparse=sparse_parameter_ids(super_net),
    )


def trainable_weights(super_net: SuperNet) -> list[nn.Parameter]:
    """The weights that are not frozen."""
    return [parameter for parameter in super_net.weight_parameters() if parameter.requires_grad]
