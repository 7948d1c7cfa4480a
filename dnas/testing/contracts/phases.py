"""Contract 4: weights steps train weights alone, theta steps theta alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dnas.core import Sample, SuperNet
from dnas.costs import StatelessPenalty
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.strategies.search_manager import SearchManager
from dnas.testing.contracts.given import (
    ROWS,
    FixedBatch,
    MakeBatch,
    MakeSuperNet,
    inputs_of,
    perturbed,
    run,
)
from dnas.testing.contracts.walking import combinations, covering

#: Part of the gradient under soft samples below which there is none.
_NOTHING = 1e-4


class _AllCosts(StatelessPenalty):
    """Adds every cost to the loss, so that theta steps see all of expected_cost."""

    def __call__(self, task_loss: Tensor, costs: Mapping[str, Tensor]) -> Tensor:
        return task_loss + sum(torch.log1p(cost).mean() for cost in costs.values())


def short_search(net: SuperNet, make_batch: MakeBatch) -> tuple[SearchManager, FixedBatch]:
    """A search whose steps the caller makes, and the batch for them."""
    inputs = inputs_of(make_batch)
    with torch.no_grad():
        shape = net(*inputs, sample=net.soft_sample(1.0, ROWS)).shape
    # Outputs may have other rows than the batch: two-tower models give users, then items.
    batch, targets = FixedBatch(inputs, torch.arange(ROWS)), torch.rand(shape)
    manager = SearchManager(
        net,
        w_dataloader=[batch],
        m_dataloader=[batch],
        loss_function=lambda outputs, labels: nn.functional.mse_loss(outputs, targets),
        n_total_s_net_training_epochs=1,
        num_warmup_epochs=0,
        mask_initial_lrs=[0.1],
        weights_initial_lrs=[0.01],
        penalty=_AllCosts(),
    )
    return manager, batch


def check_phases_keep_apart(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Weights steps change no theta bit, theta steps no weight bit, and each changes its own."""
    for kind, own, other in (
        (WEIGHTS, SuperNet.weight_parameters, SuperNet.architecture_parameters),
        (THETA, SuperNet.architecture_parameters, SuperNet.weight_parameters),
    ):
        net = make_supernet()
        _check_partition(net)
        manager, batch = short_search(net, make_batch)
        before_own = [p.detach().clone() for p in own(net)]
        before_other = [p.detach().clone() for p in other(net)]
        manager._train_only(kind)
        for _ in range(3):
            manager.run_one_dnas_step(batch, kind, 1.0)
        for old, new in zip(before_other, other(net), strict=True):
            assert torch.equal(old, new), (
                f"contract 4: a {kind} step changed a parameter of the other kind (shape "
                f"{tuple(new.shape)}); theta must only live in Choice modules"
            )
        changed = [not torch.equal(o, n) for o, n in zip(before_own, own(net), strict=True)]
        # Theta of decisions without an alternative has nothing to learn.
        idle = kind == THETA and combinations(net) == 1
        assert idle or any(changed), (
            f"contract 4: three {kind} steps changed nothing they should train"
        )


def _check_partition(net: SuperNet) -> None:
    weights = {id(p) for p in net.weight_parameters()}
    theta = {id(p) for p in net.architecture_parameters()}
    assert not weights & theta, (
        "contract 4: theta is among the weights; remove the copy of theta from the supernet"
    )
    assert weights | theta == {id(p) for p in net.parameters()}, (
        "contract 4: some parameters are neither weights nor theta"
    )
    for name, parameter in net.named_parameters():
        suspicious = "theta" in name.rsplit(".", 1)[-1] and id(parameter) in weights
        assert not suspicious, (
            f"contract 4: parameter {name} looks like theta but is no Choice's; put decisions into "
            "dnas.Choice modules"
        )


def check_no_hidden_decisions(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Every weight that matters under soft samples matters in some architecture.

    A parameter that mixes options but has no effect on any single architecture is a decision that
    is no Choice's: it is trained with the weights, and lost in the built model.
    """
    hidden: set[str] | None = None
    for attempt in range(3):  # a weight behind a ReLU may have no effect by chance
        net = perturbed(make_supernet(), theta=True, seed=100 + attempt)
        net.eval()
        found = _without_effect(net, inputs_of(make_batch, 4 * ROWS))
        hidden = found if hidden is None else hidden & found
        if not hidden:
            return
    raise AssertionError(
        f"contract 4: {', '.join(sorted(hidden or ()))} changes the output under soft samples, but "
        "that of no architecture: it acts like theta and is lost in the built model; put decisions "
        "into dnas.Choice modules"
    )


def _without_effect(net: SuperNet, inputs: tuple[object, ...]) -> set[str]:
    """Names of weights with a gradient under a soft sample and under no one-hot one found."""
    with torch.no_grad():
        soft = net.soft_sample(1.0, 1, torch.Generator().manual_seed(41))
    effects = _effects(net, inputs, soft)
    missing = {name for name, effect in effects.items() if effect > 0}
    for architecture in covering(net):
        if not missing:
            return missing
        under = _effects(net, inputs, Sample(net.one_hot_sample(architecture).weights))
        missing -= {name for name in missing if under[name] > _NOTHING * effects[name]}
    hidden = set()
    while missing:
        wanted = min(missing)
        under = _descend(net, inputs, soft, wanted)
        if under[wanted] <= _NOTHING * effects[wanted]:
            hidden.add(wanted)
        missing -= {n for n in missing if n == wanted or under[n] > _NOTHING * effects[n]}
    return hidden


def _descend(
    net: SuperNet, inputs: tuple[object, ...], soft: Sample, wanted: str
) -> dict[str, float]:
    """Effects in an architecture that was looked for because a weight has an effect in it.

    Fixes decision after decision to the option under which the weight has the most effect.
    """
    weights = {name: w.clone() for name, w in soft.weights.items()}
    for name, choice in net.choices.items():
        for row, options in enumerate(choice.options):
            best, best_column = -1.0, 0
            for column, option in enumerate(options):
                if option is not None:
                    weights[name][0, row] = torch.eye(len(options))[column]
                    found = _effects(net, inputs, Sample(weights))[wanted]
                    if found > best:
                        best, best_column = found, column
            weights[name][0, row] = torch.eye(len(options))[best_column]
    return _effects(net, inputs, Sample(weights))


def _effects(net: SuperNet, inputs: tuple[object, ...], sample: Sample) -> dict[str, float]:
    """Norm of the output's gradient by each weight."""
    theta = {id(parameter) for parameter in net.architecture_parameters()}
    net.zero_grad(set_to_none=True)
    output = run(net, inputs, sample)
    (output * torch.linspace(1.0, 2.0, output.numel()).view_as(output)).sum().backward()
    found = {}
    for name, parameter in net.named_parameters():
        if id(parameter) not in theta and parameter.requires_grad:
            gradient = parameter.grad
            if gradient is not None and gradient.is_sparse:
                gradient = gradient.coalesce().values()
            found[name] = 0.0 if gradient is None else float(gradient.norm())
    return found
