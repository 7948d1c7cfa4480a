"""Validation of a supernet, and of its most likely architecture with shared weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dnas.core import SuperNet
from dnas.data.batch import Batch, RowBatch
from dnas.data.loader import Loader
from dnas.errors import DivergenceError
from dnas.metrics import NonFiniteError
from dnas.training.evaluate import evaluate
from dnas.training.task import MetricAccumulator
from dnas.training.world import Share, World


def validate_supernet(
    super_net: SuperNet,
    loader: Loader,
    make_metrics: Callable[[], MetricAccumulator],
    *,
    temperature: float,
    generator: torch.Generator,
    step: int,
    world: World,
) -> dict[str, dict[str, float | None]]:
    """Metrics of ``"supernet"`` (under soft samples) and of ``"most_likely"``.

    Each row has a soft sample of its own, unless the rows of a batch belong together, as users and
    items of a ranking do: a batch that cannot be cut into rows has one for all of it.

    Args:
        super_net: Put into evaluation mode meanwhile.
        loader: Every row once.
        make_metrics: Makes an empty metric accumulator.
        temperature: tau of the soft samples.
        generator: Source of their noise, on the device of theta.
        step: Steps done, for the message of an error.
        world: The processes that validate.

    Raises:
        DivergenceError: Outputs are not finite.
    """
    best = super_net.hard_sample(most_likely=True)

    def soft(batch: Batch, share: Share) -> Tensor:
        draws = share.total if isinstance(batch, RowBatch) else 1
        sample = super_net.soft_sample(temperature, draws, generator)
        outputs: Tensor = super_net(*batch.inputs, sample=sample.rows(share.part))
        return outputs

    def most_likely(batch: Batch, share: Share) -> Tensor:
        outputs: Tensor = super_net(*batch.inputs, sample=best)
        return outputs

    try:
        return {
            name: evaluate(
                super_net,
                forward,
                loader,
                make_metrics(),
                generator.device,
                world,
                part="validation",
            )
            for name, forward in (("supernet", soft), ("most_likely", most_likely))
        }
    except NonFiniteError as error:
        raise DivergenceError(
            f"validation after step {step}: {error}", step=step, last_good={}
        ) from error
