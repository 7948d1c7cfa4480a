"""The contracts of every SuperNet, as a suite that a subclass's tests can run in one line::

    from dnas.testing import check_supernet

    def test_contracts():
        check_supernet(lambda: MySuperNet(...), lambda rows: (torch.randn(rows, 8),))

Each check says, when it fails, what to mend in the subclass. Use a small space: some checks walk
through all of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Option, Sample, SuperNet
from dnas.core.sampling import gumbel_noise, gumbel_softmax
from dnas.costs import StatelessPenalty, count_flops, count_params
from dnas.data.batch import TensorBatch
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.strategies.search_manager import SearchManager
from dnas.training.seeding import seed_everything

MakeSuperNet = Callable[[], SuperNet]
#: Number of rows -> the inputs of ``forward``.
MakeInputs = Callable[[int], tuple[Any, ...]]

ROWS = 6
#: Spaces up to this many combinations of decisions are walked through completely.
BRUTE_FORCE_LIMIT = 20_000


def check_supernet(make_supernet: MakeSuperNet, make_inputs: MakeInputs, *, seed: int = 0) -> None:
    """Run all contracts.

    Args:
        make_supernet: Makes a freshly initialised supernet; called several times.
        make_inputs: Gives random inputs of ``forward`` for a number of rows.
        seed: Of everything random here.

    Raises:
        AssertionError: A contract is broken; the message says which and what to mend.
    """
    for check in ALL_CHECKS:
        seed_everything(seed)
        check(make_supernet, make_inputs)


# -------------------------------------------------------------------------------- contract 1


def check_one_hot_equals_built(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """Forward with a one-hot sample is the built architecture with inherited weights."""
    net = _perturbed(make_supernet())
    net.eval()
    inputs = make_inputs(ROWS)
    for architecture in _covering(net):
        model = net.build(architecture, inherit_weights=True)
        model.eval()
        shared = {p.data_ptr() for p in net.parameters()} & {
            p.data_ptr() for p in model.parameters() if p.numel()
        }
        assert not shared, (
            "contract 1: the built model shares storage with the supernet; copy the weights, or "
            "training the model changes the supernet"
        )
        with torch.no_grad():
            expected = model(*inputs)
            sample = net.one_hot_sample(architecture)
            net.soft_sample(
                1.0, ROWS
            )  # a sample that is drawn must not matter, only the passed one
            # A forward may compute only what a sample's architecture selects. The weights alone
            # must say the same, for soft samples have nothing else.
            for given, what in (
                (sample, "the hard sample"),
                (Sample(sample.weights), "the one-hot weights"),
            ):
                found = net(*inputs, sample=given)
                _check_equal(expected, found, f"{what} of {architecture}")


def _check_equal(expected: Tensor, found: Tensor, what: str) -> None:
    assert expected.shape == found.shape, (
        f"contract 1: build gives outputs of shape {tuple(expected.shape)}, forward "
        f"{tuple(found.shape)}"
    )
    error = float((expected - found).abs().max() / (1.0 + expected.abs().max()))
    assert error < 1e-5, (
        f"contract 1: forward with {what} differs from build(..., inherit_weights=True) by "
        f"{error:.2e}; apply activations and norms on each edge before the weighted sum, copy "
        "every weight in build, and keep no sample on the module"
    )


def check_rows_may_have_their_own_sample(
    make_supernet: MakeSuperNet, make_inputs: MakeInputs
) -> None:
    """A row's output depends on its own sample only, and a shared sample serves all rows."""
    net = _perturbed(make_supernet())
    net.eval()
    inputs = make_inputs(ROWS)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        sample = net.soft_sample(1.0, ROWS, generator)
        together = net(*inputs, sample=sample)
        shared = Sample({name: weights[2:3] for name, weights in sample.weights.items()})
        repeated = Sample({n: w[2:3].expand(ROWS, -1, -1) for n, w in sample.weights.items()})
        with_shared = net(*inputs, sample=shared)
        with_repeated = net(*inputs, sample=repeated)
    assert torch.allclose(with_shared, with_repeated, atol=1e-5), (
        "contract 1: a sample of batch size 1 must act like the same sample for every row; let the "
        "weights broadcast over the batch"
    )
    assert torch.allclose(together[2], with_shared[2], atol=1e-5), (
        "contract 1: the output of a row changes with the samples of other rows; use "
        "sample[choice][:, d] per row and do not average over the batch"
    )


# -------------------------------------------------------------------------------- contracts 2, 3


def check_costs_are_exact(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """Costs of an architecture are what is counted on the built module."""
    net = make_supernet()
    inputs = make_inputs(ROWS)
    for architecture in _covering(net):
        cost = net.cost(architecture)
        sample = net.one_hot_sample(architecture, torch.float64)
        expected = {name: float(value) for name, value in net.expected_cost(sample).items()}
        assert cost == expected, (
            f"contract 2: cost({architecture}) is {cost}, expected_cost at its one-hot sample is "
            f"{expected}; do not override one without the other"
        )
        model = net.build(architecture)
        if "params" in cost:
            counted = count_params(model)
            assert cost["params"] == counted, (
                f"contract 2: cost says {cost['params']:.0f} params, the model built for "
                f"{architecture} has {counted}; check option_costs and fixed_costs for a part that "
                "is missing or counted twice"
            )
        if "flops" in cost:
            flops = count_flops(model, inputs, ROWS)
            assert math.isclose(cost["flops"], flops, rel_tol=1e-9), (
                f"contract 2: cost says {cost['flops']:.0f} FLOPs (2 x MACs) a row, "
                f"torch.utils.flop_counter counts {flops:.0f} on the model built for {architecture}"
            )


def check_expected_cost(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """Expected cost is the mean over all architectures, and its gradient is right."""
    net = _perturbed(make_supernet(), theta=True).double()
    generator = torch.Generator().manual_seed(5)
    soft = net.soft_sample(0.7, 1, generator)
    sample = Sample({name: weights.detach().double() for name, weights in soft.weights.items()})
    found = {name: float(value) for name, value in net.expected_cost(sample).items()}
    assert found, "contract 2: expected_cost gives no cost; state at least params or flops"
    if _combinations(net) <= BRUTE_FORCE_LIMIT:
        mean = dict.fromkeys(found, 0.0)
        for probability, architecture in _all_architectures(net, sample):
            for name, value in net.cost(architecture).items():
                mean[name] += probability * value
        for name, value in found.items():
            assert math.isclose(value, mean[name], rel_tol=1e-6), (
                f"contract 3: expected_cost gives {name} = {value}, the mean over all "
                f"architectures under the same sample is {mean[name]}; a branch may be forgotten, "
                "or decisions that depend on each other be treated as independent"
            )
    _check_cost_gradient(net, sample)


def _check_cost_gradient(net: SuperNet, sample: Sample) -> None:
    leaves = {name: w.detach().clone().requires_grad_() for name, w in sample.weights.items()}
    for cost, value in net.expected_cost(Sample(leaves)).items():
        # A cost that no decision changes (rows where only dimensions are searched) has no
        # gradient; the finite differences below must then be 0 too.
        gradients = (
            torch.autograd.grad(
                value.sum(), list(leaves.values()), allow_unused=True, retain_graph=True
            )
            if value.requires_grad
            else (None,) * len(leaves)
        )
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            flat = leaf.detach().flatten()
            for position in range(0, flat.numel(), max(flat.numel() // 5, 1)):
                step = 1e-4
                values = []
                for sign in (1, -1):
                    moved = flat.clone()
                    moved[position] += sign * step
                    changed = {**leaves, name: moved.view_as(leaf)}
                    values.append(float(net.expected_cost(Sample(changed))[cost].sum().detach()))
                numeric = (values[0] - values[1]) / (2 * step)
                exact = 0.0 if gradient is None else float(gradient.flatten()[position])
                assert math.isclose(numeric, exact, rel_tol=1e-3, abs_tol=1e-3 * abs(values[0])), (
                    f"contract 3: d {cost} / d sample[{name!r}] is {exact} by autograd and "
                    f"{numeric} by finite differences; do not detach or convert to float on the way"
                )


# -------------------------------------------------------------------------------- contract 4


def check_phases_keep_apart(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """Weights steps change no theta bit, theta steps no weight bit, and each changes its own."""
    for kind, own, other in (
        (WEIGHTS, SuperNet.weight_parameters, SuperNet.architecture_parameters),
        (THETA, SuperNet.architecture_parameters, SuperNet.weight_parameters),
    ):
        net = make_supernet()
        _check_partition(net)
        inputs = make_inputs(ROWS)
        with torch.no_grad():
            shape = net(*inputs, sample=net.soft_sample(1.0, ROWS)).shape
        # Outputs may have other rows than the batch: two-tower models give users and items.
        batch, targets = FixedBatch(inputs, torch.zeros(ROWS)), torch.rand(shape)
        manager = SearchManager(
            net,
            w_dataloader=[batch],
            m_dataloader=[batch],
            loss_function=partial(_distance, targets),
            n_total_s_net_training_epochs=1,
            num_warmup_epochs=0,
            mask_initial_lrs=[0.1],
            weights_initial_lrs=[0.01],
            penalty=_AllCosts(),
        )
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
        assert any(changed), f"contract 4: three {kind} steps changed nothing they should train"


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


# -------------------------------------------------------------------------------- contract 5


def check_sampling(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """Hard samples follow softmax(theta); soft samples sum to 1, sharpen, and are never NaN."""
    net = _perturbed(make_supernet(), theta=True)
    generator = torch.Generator().manual_seed(11)
    draws = 500
    for name, choice in net.choices.items():
        counts = torch.zeros_like(choice.theta)
        rows = torch.arange(len(choice.decisions))
        for _ in range(draws):
            counts[rows, choice.hard_sample(generator)] += 1
        p = choice.probabilities().detach()
        tolerance = 5.0 * (p * (1 - p) / draws).sqrt() + 2.0 / draws
        assert bool(((counts / draws - p).abs() <= tolerance).all()), (
            f"contract 5: hard samples of choice {name!r} do not follow softmax(theta)"
        )
        sharpness = []
        for temperature in (5.0, 1.0, 0.1):
            soft = choice.soft_sample(temperature, 64, generator).detach()
            assert torch.allclose(soft.sum(-1), torch.ones(()), atol=1e-5), (
                f"contract 5: soft samples of choice {name!r} do not sum to 1"
            )
            assert bool((soft[:, ~choice.valid] == 0).all()), (
                f"contract 5: choice {name!r} gives weight to options that do not exist"
            )
            sharpness.append(float(soft.amax(-1).mean()))
        single = bool((choice.valid.sum(-1) == 1).all())
        assert single or sharpness == sorted(sharpness), (
            f"contract 5: soft samples of choice {name!r} do not sharpen as tau falls: {sharpness}"
        )
        extreme = torch.where(torch.rand(choice.theta.shape) < 0.5, -50.0, 50.0)
        noise = gumbel_noise((64, *choice.theta.shape), device=torch.device("cpu"))
        cold = gumbel_softmax(extreme.masked_fill(~choice.valid, -math.inf), 1e-3, noise)
        assert bool(torch.isfinite(cold).all()), (
            f"contract 5: choice {name!r} gives NaN at temperature 1e-3 with logits of +-50"
        )
    _check_cold_forward(net, make_inputs)


def _check_cold_forward(net: SuperNet, make_inputs: MakeInputs) -> None:
    with torch.no_grad():
        for theta in net.architecture_parameters():
            theta.copy_(torch.where(torch.rand(theta.shape) < 0.5, -50.0, 50.0))
    output = net(*make_inputs(ROWS), sample=net.soft_sample(1e-3, ROWS))
    output.float().square().mean().backward()
    assert bool(torch.isfinite(output).all()), "contract 5: forward gives NaN at temperature 1e-3"
    for theta in net.architecture_parameters():
        assert theta.grad is None or bool(torch.isfinite(theta.grad).all()), (
            "contract 5: theta's gradient is NaN at temperature 1e-3"
        )


# -------------------------------------------------------------------------------- contract 6


def check_round_trips(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """JSON and state dicts round-trip, everything moves with ``.to``, seeds decide everything."""
    import json

    net = _perturbed(make_supernet(), theta=True)
    net.eval()
    inputs = make_inputs(ROWS)
    for architecture in _covering(net):
        again = Architecture(json.loads(json.dumps(dict(architecture))))
        assert again == architecture, f"contract 6: {architecture} does not survive JSON"
        canonical = net.canonical(architecture)
        assert net.canonical(canonical) == canonical, (
            f"contract 6: canonical is not idempotent at {architecture}"
        )
        assert net.cost(canonical) == net.cost(architecture), (
            f"contract 6: the canonical form of {architecture} costs something else, so it is "
            "another network"
        )
        assert net.trim(architecture) == architecture, (
            f"contract 6: trim is not idempotent at {architecture}"
        )
    twin = make_supernet()
    twin.load_state_dict(net.state_dict())
    twin.eval()
    with torch.no_grad():
        outputs = [
            m(*inputs, sample=m.soft_sample(1.0, ROWS, torch.Generator().manual_seed(2)))
            for m in (net, twin)
        ]
    assert torch.equal(*outputs), (
        "contract 6: a supernet with the same state_dict and the same generator gives another "
        "output; draw from the generator that is passed, and keep state in parameters and buffers"
    )
    _check_everything_moves(make_supernet())
    first, second = (_initialised(make_supernet) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), (
        "contract 6: the same torch seed gives other initial weights; use torch's generator only"
    )


def _initialised(make_supernet: MakeSuperNet) -> list[Tensor]:
    seed_everything(17)
    return [parameter.detach() for parameter in make_supernet().parameters()]


def _check_everything_moves(net: SuperNet) -> None:
    net.to("meta")
    for name, module in net.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in ("_parameters", "_buffers", "_modules"):
                continue
            for tensor in _tensors(value):
                assert tensor.device.type == "meta", (
                    f"contract 6: {name or type(net).__name__}.{attribute} holds a tensor that "
                    ".to(device) does not move; register it as a buffer"
                )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Sample):
        yield from value.weights.values()
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)


# -------------------------------------------------------------------------------- contract 7


def check_every_option_is_reachable(make_supernet: MakeSuperNet, make_inputs: MakeInputs) -> None:
    """Every option of every decision can be sampled, built and run."""
    net = make_supernet()
    inputs = make_inputs(ROWS)
    reached: set[tuple[str, Option]] = set()
    for architecture in _covering(net):
        reached |= set(architecture.items())
        output = net.build(architecture)(*inputs)
        assert bool(torch.isfinite(output).all()), (
            f"contract 7: the model built for {architecture} gives outputs that are not finite"
        )
    wanted = {
        (key, option)
        for choice in net.choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
        for option in row
        if option is not None
    }
    assert reached >= wanted, (
        f"contract 7: no sampled architecture has {sorted(map(str, wanted - reached))[:5]}; "
        "mark options that cannot occur with None"
    )


# -------------------------------------------------------------------------------- helpers

ALL_CHECKS = (
    check_one_hot_equals_built,
    check_rows_may_have_their_own_sample,
    check_costs_are_exact,
    check_expected_cost,
    check_phases_keep_apart,
    check_sampling,
    check_round_trips,
    check_every_option_is_reachable,
)


def _distance(targets: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.mse_loss(outputs, targets)


class _AllCosts(StatelessPenalty):
    """Adds every cost to the loss, so that theta steps see all of expected_cost."""

    def __call__(self, task_loss: Tensor, costs: Any) -> Tensor:
        return task_loss + sum(torch.log1p(cost).mean() for cost in costs.values())


class FixedBatch(TensorBatch):
    """Inputs of any kind, Bags among them, with labels."""

    def to(self, device: torch.device) -> FixedBatch:
        return self


def _perturbed(net: SuperNet, *, theta: bool = False) -> SuperNet:
    """``net`` with weights that are nowhere zero, and theta away from uniform if asked for."""
    generator = torch.Generator().manual_seed(23)
    with torch.no_grad():
        for parameter in net.weight_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        if theta:
            for parameter in net.architecture_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net


def _combinations(net: SuperNet) -> int:
    return math.prod(
        int(count) for choice in net.choices.values() for count in choice.valid.sum(-1).tolist()
    )


def _all_architectures(net: SuperNet, sample: Sample) -> Iterator[tuple[float, dict[str, Option]]]:
    """Every combination of options with its probability under a shared sample."""
    axes: list[list[tuple[str, Option, float]]] = []
    for name, choice in net.choices.items():
        weights = sample[name][0].tolist()
        for row, key in enumerate(choice.keys):
            axes.append(
                [
                    (key, option, weights[row][column])
                    for column, option in enumerate(choice.options[row])
                    if option is not None
                ]
            )
    for combination in itertools.product(*axes):
        yield (
            math.prod(weight for _, _, weight in combination),
            {key: option for key, option, _ in combination},
        )


def _covering(net: SuperNet) -> list[Architecture]:
    """Random architectures that together have every option that ever occurs, and the extremes."""
    generator = torch.Generator().manual_seed(7)
    chosen: dict[str, Architecture] = {}
    seen: set[tuple[str, Option]] = set()
    options = sum(int(choice.valid.sum()) for choice in net.choices.values())
    for pick in (_first_options, _last_options):
        architecture = net.validate(pick(net.choices))
        chosen[architecture.id] = architecture
        seen |= set(architecture.items())
    for _ in range(60 + 30 * options):
        architecture = net.random_architecture(generator)
        new = set(architecture.items()) - seen
        if new or len(chosen) < 6:
            chosen[architecture.id] = architecture
            seen |= new
    return list(chosen.values())


def _first_options(choices: dict[str, Choice]) -> dict[str, Option]:
    return {
        key: next(option for option in row if option is not None)
        for choice in choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    }


def _last_options(choices: dict[str, Choice]) -> dict[str, Option]:
    return {
        key: next(option for option in reversed(row) if option is not None)
        for choice in choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    }
