"""Every mistake that the contracts are there for is found, and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dnas.core import Architecture, Choice, Operator, Sample
from dnas.errors import CostError, DnasError
from dnas.testing import ALL_CHECKS, SuperNetContracts, check_supernet
from dnas.testing.contracts.elsewhere import check_other_process
from dnas.testing.contracts.training import check_training_equals_built
from tests.testing.gated import FUNCTIONS, INPUTS, WIDTH, Gated, Plain, make_batch


class TestGated(SuperNetContracts):
    """The supernet that the others are derived from keeps every contract."""

    def make_supernet(self):
        return Gated()

    def make_batch(self, rows):
        return make_batch(rows)


class OneOption(Gated):
    """Nothing to decide; a space that was narrowed down."""

    def __init__(self):
        super().__init__()
        self.function = Choice("function", {"outer": ["relu"]})
        self.gate = Choice("gate", {"second": (False,)})

    def forward(self, x, *, sample):
        hidden = self.calculate_weighted_sum(
            sample[self.function][:, 0], [torch.relu(self.first(x))]
        )
        hidden = self.calculate_weighted_sum(sample[self.gate][:, 0], [hidden])
        return self.last(hidden).squeeze(1)

    def option_costs(self):
        return {}

    option_operators = option_costs


def test_a_space_of_one_architecture_keeps_the_contracts():
    for check in set(ALL_CHECKS) - {check_other_process}:
        check(OneOption, make_batch)


class ThetaAmongTheWeights(Gated):
    def weight_parameters(self):
        return list(self.parameters())


class ThetaOfItsOwn(Gated):
    def __init__(self):
        super().__init__()
        self.theta_second = nn.Parameter(torch.zeros(3))


class HiddenDecision(Gated):
    """``preference`` cancels where the weights are 0 and 1."""

    def __init__(self):
        super().__init__()
        self.preference = nn.Parameter(torch.zeros(len(FUNCTIONS)))

    def mixed(self, weights, x):
        weights = weights * torch.softmax(self.preference, 0)
        return super().mixed(weights / weights.sum(1, keepdim=True), x)

    def option_costs(self):
        return {"steps": {"gate": [[1, 3]]}}

    def fixed_costs(self):
        return {}


class ForgetsABranch(Gated):
    def option_costs(self):
        return {**super().option_costs(), "params": {"gate": [[0, 0]]}}


class AverageCost(Gated):
    """Right for architectures, wrong in between."""

    def cost_terms(self, sample):
        costs = super().cost_terms(sample)
        return {**costs, "steps": costs["steps"].square()}


class CostOfTheBatch(Gated):
    def cost_terms(self, sample):
        costs = super().cost_terms(sample)
        return {name: cost.mean().expand_as(cost) for name, cost in costs.items()}


class DetachedCost(Gated):
    def cost_terms(self, sample):
        return {name: cost.detach() for name, cost in super().cost_terms(sample).items()}


class CostTableOfAnotherShape(Gated):
    def option_costs(self):
        return {"params": {"gate": [[0, 12, 24]]}}


class CostOfNothing(Gated):
    def option_costs(self):
        return {"params": {"gates": [[0, 12]]}}


class NoCosts(Gated):
    def option_costs(self):
        return {}

    fixed_costs = option_costs


class HalfAnOperator(Gated):
    def operator_terms(self, sample):
        terms = super().operator_terms(sample)
        return type(terms)(terms.operators, terms.counts * 0.5)


class OperatorsOfTheArchitecture(Gated):
    """Operators that the sample does not select are not listed."""

    def option_operators(self):
        self.calls = getattr(self, "calls", 0) + 1
        return super().option_operators() if self.calls % 2 else {}


class ForgetsAnOperator(Gated):
    def fixed_operators(self):
        return super().fixed_operators()[:1]


class OperatorsMultiplied(Gated):
    def operator_terms(self, sample):
        terms = super().operator_terms(sample)
        return type(terms)((Operator.of("a"),), sample[self.gate][:, 0, 1:].square() + 1)


class StoredSample(Gated):
    def soft_sample(self, *args, **kwargs):
        self.sample = super().soft_sample(*args, **kwargs)
        return self.sample

    def forward(self, x, *, sample):
        stored = getattr(self, "sample", sample)
        return super().forward(x, sample=stored if sample.architecture is None else sample)


class StoredInTraining(Gated):
    def forward(self, x, *, sample):
        if self.training and not hasattr(self, "kept"):
            self.kept = sample
        return super().forward(x, sample=sample)


class UsesTheFirstInTraining(Gated):
    def soft_sample(self, *args, **kwargs):
        drawn = super().soft_sample(*args, **kwargs)
        self.drawn = {name: weights.detach().clone() for name, weights in drawn.items()}
        return drawn

    def forward(self, x, *, sample):
        if self.training and hasattr(self, "drawn"):
            sample = Sample({n: w * 0 + self.drawn[n] for n, w in sample.items()})
        return super().forward(x, sample=sample)


class TwoOutputs(Gated):
    def forward(self, x, *, sample):
        return super().forward(x, sample=sample), x


class BuildsTwoOutputs(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        model.forward = lambda x: (Plain.forward(model, x), x)
        return model


class IgnoresTheSample(Gated):
    def forward(self, x, *, sample):
        return self.last(torch.relu(self.first(x))).squeeze(1)


class IgnoresAChoice(Gated):
    def forward(self, x, *, sample):
        hidden = self.mixed(sample[self.function][:, 0], self.first(x))
        return self.last(self.mixed(sample[self.function][:, 1], self.second(hidden))).squeeze(1)


class ActivationAfterTheSum(Gated):
    def mixed(self, weights, x):
        return torch.relu(super().mixed(weights, x))


class AveragesOverTheBatch(Gated):
    def mixed(self, weights, x):
        return super().mixed(weights.mean(0, keepdim=True), x)


class NeedsASampleForEachRow(Gated):
    def mixed(self, weights, x):
        first = torch.arange(len(x))[:, None] == 0
        mixed = super().mixed(weights, x)
        return torch.where(first, mixed, mixed * len(weights))


class BatchNorm(Gated):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH, affine=False)

    def forward(self, x, *, sample):
        hidden = self.mixed(sample[self.function][:, 0], self.first(x))
        inner = self.mixed(sample[self.function][:, 1], self.second(hidden))
        mixed = self.calculate_weighted_sum(sample[self.gate][:, 0], [hidden, inner])
        # Only the statistics of training are used, so that evaluation agrees with build.
        return self.last(self.norm(mixed) if self.training else mixed).squeeze(1)


class NormedPlain(Plain):
    """Its second layer is normalised."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        if self.second is not None:
            self.second = nn.Sequential(self.second, nn.BatchNorm1d(WIDTH))


class Normed(Gated):
    """As it should be, but that rows depend on each other in training."""

    def __init__(self):
        super().__init__()
        self.second = nn.Sequential(self.second, nn.BatchNorm1d(WIDTH))

    def option_costs(self):
        costs = super().option_costs()
        return {**costs, "params": {"gate": [[0, WIDTH * WIDTH + 3 * WIDTH]]}}

    def build(self, architecture, *, inherit_weights=False):
        architecture = self.validate(architecture)
        model = NormedPlain(architecture["function/outer"], architecture.get("function/inner"))
        if inherit_weights:
            self.copy_to(model)
        return model


class NormedAndAveraged(Normed):
    """Batch norm is not all that mixes the rows in training."""

    def mixed(self, weights, x):
        return super().mixed(weights.mean(0, keepdim=True) if self.training else weights, x)


class ForgetsStatistics(Normed):
    def copy_to(self, model):
        super().copy_to(model)
        if model.second is not None:
            model.second[1].reset_running_stats()


class TestNormed(SuperNetContracts):
    """Batch norm that is declared keeps the contracts."""

    batch_norm = True

    def make_supernet(self):
        return Normed()

    def make_batch(self, rows):
        return make_batch(rows)


@pytest.mark.parametrize(
    ("make_supernet", "message"),
    [
        (NormedAndAveraged, "in training mode; use sample.* and do not average over the batch"),
        (ForgetsStatistics, "copy every weight in build and the statistics of batch norms"),
        (Gated, "batch_norm=True, but there is no batch norm in the supernet"),
    ],
)
def test_declared_batch_norm_hides_nothing_else(make_supernet, message):
    with pytest.raises(AssertionError, match=message):
        check_supernet(make_supernet, make_batch, batch_norm=True)


class OtherWidth(Gated):
    def build(self, architecture, *, inherit_weights=False):
        inner = self.validate(architecture).get("function/inner")
        return Plain(architecture["function/outer"], inner, WIDTH + 1)


class OtherOutputs(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        return nn.Sequential(model, nn.Unflatten(0, (-1, 1)))


class SharedStorage(Gated):
    def copy_to(self, model):
        super().copy_to(model)
        model.last = self.last


class ForgetsToCopy(Gated):
    def copy_to(self, model):
        model.first.load_state_dict(self.first.state_dict())


class DetachesAnOption(Gated):
    """Its second layer computes, and never learns."""

    def forward(self, x, *, sample):
        hidden = self.mixed(sample[self.function][:, 0], self.first(x))
        inner = self.mixed(sample[self.function][:, 1], self.second(hidden).detach())
        hidden = self.calculate_weighted_sum(sample[self.gate][:, 0], [hidden, inner])
        return self.last(hidden).squeeze(1)


class DetachesInTraining(Gated):
    def mixed(self, weights, x):
        outputs = [f(x) for f in FUNCTIONS.values()]
        if self.training:
            outputs[1] = outputs[1].detach()
        return self.calculate_weighted_sum(weights, outputs)


class FreezesALayer(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        model.first.requires_grad_(False)
        return model


class LosesDropout(Gated):
    """Dropout on one option, which the built models do without."""

    def __init__(self):
        super().__init__()
        self.dropped = nn.Dropout(0.5)

    def mixed(self, weights, x):
        relu, *others = (f(x) for f in FUNCTIONS.values())
        return self.calculate_weighted_sum(weights, [self.dropped(relu), *others])


class DroppedPlain(Plain):
    def __init__(self, outer, inner):
        super().__init__(outer, inner)
        self.dropped = nn.Dropout(0.5)

    def forward(self, x):
        for name, layer in ((self.outer, self.first), (self.inner, self.second)):
            if name is not None:
                x = FUNCTIONS[name](layer(x))
                x = self.dropped(x) if name == "relu" else x
        return self.last(x).squeeze(1)


class KeepsDropout(LosesDropout):
    def build(self, architecture, *, inherit_weights=False):
        chosen = self.validate(architecture)
        model = DroppedPlain(chosen["function/outer"], chosen.get("function/inner"))
        if inherit_weights:
            self.copy_to(model)
        return model


def test_dropout_on_both_sides_keeps_the_contract():
    check_training_equals_built(KeepsDropout, make_batch)


class FreezesBoth(FreezesALayer):
    def __init__(self):
        super().__init__()
        self.first.requires_grad_(False)


def test_weights_frozen_on_both_sides_keep_the_contract():
    check_training_equals_built(FreezesBoth, make_batch)


class AlwaysInherits(Gated):
    def build(self, architecture, *, inherit_weights=False):
        return super().build(architecture, inherit_weights=True)


class BuildsAChoice(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        model.choice = Choice("left", {"over": (1, 2)})
        return model


class BuildsLooseTensors(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        model.scale = torch.ones(3)
        return model


class BuildChangesTheSupernet(Gated):
    def build(self, architecture, *, inherit_weights=False):
        with torch.no_grad():
            self.last.bias.add_(1.0)
        return super().build(architecture, inherit_weights=inherit_weights)


class BuildsUnseeded(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        if not inherit_weights:
            with torch.no_grad():
                model.last.bias.fill_(float(np.random.default_rng().normal()))
        return model


class LooseTensor(Gated):
    def __init__(self):
        super().__init__()
        self.scales = [torch.ones(3)]


class Unseeded(Gated):
    def __init__(self):
        super().__init__()
        values = np.random.default_rng().normal(size=(WIDTH, INPUTS)).astype(np.float32)
        self.first.weight = nn.Parameter(torch.from_numpy(values))


class RandomForward(Gated):
    def forward(self, x, *, sample):
        noise = torch.from_numpy(np.random.default_rng().normal(size=len(x))).float()
        return super().forward(x, sample=sample) + (noise if self.training else 0.0)


class OutsideTheState(Gated):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.randn(1), persistent=False)

    def forward(self, x, *, sample):
        softness = 1.0 - sample[self.gate][:, 0].amax(-1)
        return super().forward(x, sample=sample) + softness * self.shift


class ChoiceWithoutTheLast(Choice):
    def hard_sample(self, generator=None, *, most_likely=False):
        return super().hard_sample(generator, most_likely=most_likely).clamp(max=1)


class NeverTheLast(Gated):
    def __init__(self):
        super().__init__()
        self.function = ChoiceWithoutTheLast(
            "function", {"outer": list(FUNCTIONS), "inner": list(FUNCTIONS)}
        )


class DeadDecision(Gated):
    def __init__(self):
        super().__init__()
        self.function = Choice(
            "function", {key: list(FUNCTIONS) for key in ("outer", "inner", "no")}
        )

    def option_costs(self):
        return {name: {"gate": table["gate"]} for name, table in super().option_costs().items()}

    def trim(self, architecture):
        architecture = super().trim(architecture)
        return Architecture({k: v for k, v in architecture.items() if k != "function/no"})


class TrimChangesOptions(Gated):
    def trim(self, architecture):
        return super().trim(architecture.replacing({"function/outer": "relu"}))


class OwnGenerator(Gated):
    def soft_sample(self, temperature, batch_size, generator=None):
        return super().soft_sample(temperature, batch_size)


class OneDrawForAllRows(Gated):
    def soft_sample(self, temperature, batch_size, generator=None):
        drawn = super().soft_sample(temperature, 1, generator)
        return Sample({name: w.expand(batch_size, -1, -1) for name, w in drawn.items()})


class NaNWhenCold(Gated):
    def mixed(self, weights, x):
        return super().mixed(torch.exp(torch.log(weights)), x)


class MergesNetworks(Gated):
    def option_costs(self):
        return {name: {"gate": table["gate"]} for name, table in super().option_costs().items()}

    def canonical(self, architecture):
        if architecture["function/outer"] == "tanh":
            return architecture.replacing({"function/outer": "relu"})
        return architecture


class MergesCosts(Gated):
    def canonical(self, architecture):
        if architecture["function/outer"] == "tanh":
            return architecture.replacing({"function/outer": "relu"})
        return architecture


class MergesShapes(Gated):
    def option_costs(self):
        return {}

    def canonical(self, architecture):
        return self.trim(architecture.replacing({"gate/second": False}))


class TrimsTooMuch(Gated):
    def trim(self, architecture):
        return Architecture({k: v for k, v in architecture.items() if k != "function/inner"})


class TrimsAsItLikes(Gated):
    """What is dropped hangs on the option of what is dropped."""

    def forward(self, x, *, sample):
        hidden = self.mixed(sample[self.function][:, 0], self.first(x))
        return self.last(hidden).squeeze(1) + 0 * sum(w.sum() for w in sample.values())

    def build(self, architecture, *, inherit_weights=False):
        model = Plain(architecture["function/outer"], None)
        if inherit_weights:
            self.copy_to(model)
        return model

    def option_costs(self):
        return {}

    def option_operators(self):
        return {}

    def trim(self, architecture):
        if (architecture["function/outer"], architecture.get("function/inner")) == ("tanh", "relu"):
            return Architecture({k: v for k, v in architecture.items() if k != "function/inner"})
        return architecture


class TwoOfOneName(Gated):
    def __init__(self):
        super().__init__()
        self.other = Choice("gate", {"third": (False, True)})


class NoChoice(Gated):
    def __init__(self):
        super().__init__()
        del self.function, self.gate


class LayerInAList(Gated):
    def __init__(self):
        super().__init__()
        self.layers = {"inner": [nn.Linear(WIDTH, WIDTH)]}

    def forward(self, x, *, sample):
        return super().forward(x, sample=sample) + self.layers["inner"][0].bias.sum()


class BuildsALayerInAList(Gated):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture, inherit_weights=inherit_weights)
        model.layers = (nn.Linear(WIDTH, WIDTH),)
        return model


class BuildsNothing(Gated):
    def build(self, architecture, *, inherit_weights=False):
        super().build(architecture, inherit_weights=inherit_weights)


class CopiesIntoAnotherWidth(OtherWidth):
    def build(self, architecture, *, inherit_weights=False):
        model = super().build(architecture)
        if inherit_weights:
            self.copy_to(model)
        return model


class TrimGivesADict(Gated):
    def trim(self, architecture):
        return dict(super().trim(architecture))


class TrimGivesNothing(Gated):
    def trim(self, architecture):
        super().trim(architecture)


class CanonicalGivesADict(Gated):
    def canonical(self, architecture):
        return dict(super().canonical(architecture))


class CostsAreFloats(Gated):
    def cost_terms(self, sample):
        return {name: float(cost.sum()) for name, cost in super().cost_terms(sample).items()}


class CostIsNaN(Gated):
    def fixed_costs(self):
        return {**super().fixed_costs(), "steps": float("nan")}


class CostsOfNone(Gated):
    def cost_terms(self, sample):
        super().cost_terms(sample)


class OperatorsOfNoKind(Gated):
    def option_operators(self):
        return {"gate": [[(Operator.of("nope", width=8),), ()]]}


CASES = {
    NoChoice: "NoChoice has no Choice in its module tree",
    LayerInAList: r"LayerInAList.layers of the supernet holds a Linear in a plain .*nn.ModuleList",
    BuildsALayerInAList: "Plain.layers of the built model holds a Linear in a plain list",
    BuildsNothing: r"build\(.*\) gives None; return the model",
    CopiesIntoAnotherWidth: r"(?s)1: build\(Architecture\(.*True\) fails; .*\ssize mismatch",
    TrimGivesADict: r"TrimGivesADict.trim gives a dict, .*; return Architecture\(",
    TrimGivesNothing: "TrimGivesNothing.trim gives a NoneType.*a return is missing",
    CanonicalGivesADict: "CanonicalGivesADict.canonical gives a dict, not an Architecture",
    CostsAreFloats: "CostsAreFloats.cost_terms gives params as a float; give a tensor",
    CostIsNaN: r"the costs of .* are not finite: \{'steps': nan\}",
    CostsOfNone: "CostsOfNone.cost_terms gives a NoneType; .*a return is missing",
    ThetaAmongTheWeights: "theta is among the weights",
    ThetaOfItsOwn: "parameter theta_second looks like theta",
    HiddenDecision: "preference changes the output under soft samples, but that of no architecture",
    ForgetsABranch: r"cost says \d+ params, the model built for .* has \d+",
    AverageCost: r"under a soft sample steps is .*, its mean over all architectures",
    CostOfTheBatch: "of a row changes with the samples of other rows; do not average",
    DetachedCost: r"d params / d sample\['gate'\] is 0.0 by autograd",
    CostTableOfAnotherShape: r"\['params'\]\['gate'\] has shape \(1, 3\).* \(1, 2\)",
    CostOfNothing: r"option_costs\(\)\['params'\].*'gates'.*'function', 'gate'",
    NoCosts: "expected_cost gives no cost",
    HalfAnOperator: "runs 0.5 times",
    ForgetsAnOperator: "option_operators and fixed_operators forget one",
    OperatorsOfTheArchitecture: "are listed under one sample and not under another",
    OperatorsOfNoKind: r"nope\(width=8\) is of the kind 'nope', .* call dnas.*register_op",
    OperatorsMultiplied: r"under a soft sample a\(\) is",
    StoredSample: "forward ignores the sample of",
    StoredInTraining: "in training mode StoredInTraining.kept keeps a sample",
    UsesTheFirstInTraining: "in training mode the output for the same sample changes",
    TwoOutputs: "forward gives a tuple; return one tensor",
    BuildsTwoOutputs: "the model built for .* gives a tuple; return one tensor",
    IgnoresTheSample: r"forward ignores the sample of \['function', 'gate'\]",
    IgnoresAChoice: r"forward ignores the sample of \['gate'\]",
    ActivationAfterTheSum: "apply activations and norms on each edge before the weighted sum",
    AveragesOverTheBatch: "do not average over the batch",
    NeedsASampleForEachRow: "must act like the same sample for every row",
    BatchNorm: "batch norm mixes the rows in training: say that there is one with batch_norm=True",
    Normed: "batch norm mixes the rows in training",
    OtherWidth: "copy every weight in build",
    OtherOutputs: r"build gives outputs of shape \(6, 1\), forward \(6,\)",
    SharedStorage: "shares storage with the supernet",
    ForgetsToCopy: "copy every weight in build",
    DetachesAnOption: r"weights do not learn alike .*; forward must not detach\(\)",
    DetachesInTraining: r"weights do not learn alike .*; forward must not detach\(\)",
    FreezesALayer: "build freezes first.weight, first.bias, which the supernet trains",
    LosesDropout: "forward is random under .*, but the model built for it is not",
    AlwaysInherits: "it copies the supernet's trained weights",
    BuildsAChoice: "contains a Choice",
    BuildsLooseTensors: "scale of the built model holds a tensor",
    BuildChangesTheSupernet: "build changed the supernet's last.bias",
    BuildsUnseeded: "build gives other initial weights for the same torch seed",
    LooseTensor: "LooseTensor.scales holds a tensor that .* does not move",
    Unseeded: "the same seed gives first.weight other initial weights",
    RandomForward: "in training mode the output for the same sample changes",
    OutsideTheState: "a supernet with the same state_dict .* gives another output",
    NeverTheLast: "hard samples of choice 'function' do not follow",
    DeadDecision: "no sampled architecture has .*function/no",
    TrimChangesOptions: r"trim changes \['function/outer'\]",
    OwnGenerator: "soft samples differ for equal generators",
    OneDrawForAllRows: "the rows of a soft sample share one draw",
    NaNWhenCold: "temperature 1e-3",
    MergesNetworks: "computes something else with the same weights",
    MergesCosts: "costs something else",
    MergesShapes: "has parameters of other shapes",
    TrimsTooMuch: "forward's output depends on",
    TrimsAsItLikes: "probabilities of all architectures sum to",
    TwoOfOneName: "two choices are named 'gate'",
}


@pytest.mark.parametrize("broken", CASES, ids=lambda broken: broken.__name__)
def test_what_is_broken_is_named(broken):
    with pytest.raises((AssertionError, DnasError), match=CASES[broken]):
        check_supernet(broken, make_batch)


SHARED = Gated()


class SharedBody(Gated):
    body = nn.Linear(INPUTS, WIDTH)

    def __init__(self):
        super().__init__()
        self.first = type(self).body


@pytest.mark.parametrize(
    ("make_supernet", "message"),
    [
        (SHARED, "make_supernet is a Gated itself; give a function"),
        (lambda: Gated, "gives the class Gated, not a SuperNet; .*lambda: MySuperNet"),
        (lambda: None, "gives a NoneType, not a SuperNet"),
        (lambda: SHARED, "gives the same supernet each time"),
        (SharedBody, "gives the same parameters each time"),
    ],
)
def test_a_supernet_that_is_not_made_afresh_is_refused(make_supernet, message):
    with pytest.raises(AssertionError, match=message):
        check_supernet(make_supernet, make_batch)


def test_every_test_of_a_suite_says_that_no_supernet_is_made():
    class Suite(SuperNetContracts):
        def make_supernet(self):
            return Gated

        def make_batch(self, rows):
            return make_batch(rows)

    with pytest.raises(AssertionError, match="gives the class Gated"):
        Suite().test_everything_moves_to_a_device()


class SecondReferences(Gated):
    """Lists of what the module tree has anyway, and of functions, are no mistake."""

    def __init__(self):
        super().__init__()
        self.layers = [self.first, self.second]
        self.activations = {"relu": nn.ReLU()}


def test_a_list_of_modules_that_torch_sees_is_no_mistake():
    check_supernet(SecondReferences, make_batch)


class FloatsInside(NoChoice):
    def cost_terms(self, sample):
        return {"steps": 3.0}


def test_of_nested_supernets_the_broken_one_is_named():
    net = Gated()
    net.inside = FloatsInside()
    with pytest.raises(CostError, match=r"FloatsInside\.cost_terms gives steps as a float"):
        net.expected_cost(net.probability_sample())
