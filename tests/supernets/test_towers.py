"""The space of two-tower baselines: costs, models, settings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.core import Sample
from dnas.costs import count_params
from dnas.data.retrieval import RetrievalDataConfig, TowerSpec
from dnas.errors import ConfigError
from dnas.spaces import find_space, load_architecture, make_record
from dnas.strategies.supernet_validation import validate_supernet
from dnas.training.retrieval import RETRIEVAL
from dnas.training.world import World
from supernets import TOWER_BASELINES, TowerBaselinesConfig
from supernets.towers.baseline_models import MODELS
from supernets.towers.baselines import TowerBaselinesSuperNet
from tests.host_waits import host_waits
from tests.tower_cases import MOVIELENS, SPEC, inputs

SMALL = TowerBaselinesConfig(embedding_dimension=3, output_dimension=4)


def fields(users: int, items: int, length: int) -> TowerSpec:
    """Data with so many fields, all of an item's in the history too; small tables."""
    names = tuple(f"item_{i}" for i in range(items))
    return TowerSpec(
        user_names=tuple(f"user_{i}" for i in range(users)),
        user_sizes=(9,) * users,
        item_names=names,
        item_sizes=(9,) * items,
        history_names=names,
        seq_len=length,
    )


#: Table 4 of the AutoTower paper: parameters and FLOPs in millions for the sizes L, M and H.
#: Without BST, see ``test_bst_is_not_the_published_one``.
PUBLISHED = {
    ("movielens", "googlednn"): ((0.21, 0.14), (0.43, 0.25), (1.57, 0.81)),
    ("movielens", "senet"): ((0.21, 0.14), (0.43, 0.25), (1.57, 0.81)),
    ("movielens", "mind"): ((0.10, 0.16), (0.21, 0.32), (0.77, 1.17)),
    ("yelp", "googlednn"): ((0.24, 0.15), (0.50, 0.28), (1.70, 0.88)),
    ("yelp", "senet"): ((0.24, 0.15), (0.50, 0.28), (1.70, 0.88)),
    ("yelp", "mind"): ((0.11, 0.17), (0.22, 0.35), (0.81, 1.22)),
    ("amazon", "googlednn"): ((0.19, 0.13), (0.39, 0.23), (1.49, 0.77)),
    ("amazon", "senet"): ((0.19, 0.13), (0.39, 0.23), (1.49, 0.77)),
    ("amazon", "mind"): ((0.08, 0.14), (0.18, 0.29), (0.73, 1.10)),
}
SPECS = {"movielens": MOVIELENS, "yelp": fields(6, 6, 40), "amazon": fields(1, 2, 50)}


@pytest.mark.parametrize(("data", "model"), PUBLISHED)
def test_published_complexity(data, model):
    """Every figure but BST's, with the batch norms that the paper does not mention."""
    net = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(dense_norm="batch"), SPECS[data])
    for size, published in zip("lmh", PUBLISHED[data, model], strict=True):
        cost = net.cost({"model/kind": f"{model}_{size}"})
        found = tuple(round(cost[f"paper_{name}"] / 1e6, 2) for name in ("params", "flops"))
        assert found == published, size


@pytest.mark.parametrize(
    ("size", "weights", "biases", "published"),
    [
        ("l", 204_800, 2 * (256 + 192 + 128 + 64), (0.43, 0.14)),
        ("m", 425_984, 2 * (512 + 256 + 128 + 64), (0.65, 0.25)),
        ("h", 1_556_480, 2 * (1024 + 512 + 256 + 128 + 64), (1.79, 0.82)),
    ],
)
def test_bst_is_not_the_published_one(size, weights, biases, published):
    """Table 4's Transformer layer adds 0.22 M parameters and hardly any FLOPs, ours 0.02 M and
    0.16 M: positions of 48, six matrices of 48 x 48, two norms."""
    net = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(), MOVIELENS)
    cost = net.cost({"model/kind": f"bst_{size}"})
    layer = 20 * 48 + 6 * (48 * 48 + 48) + 2 * 2 * 48
    macs = 20 * (6 * 48 * 48 + 2 * 20 * 48)
    assert (layer, macs) == (15_264, 314_880)
    assert cost["paper_params"] == weights + biases + layer
    assert cost["paper_flops"] == (weights + 1024 * 64 + macs) / 2
    found = round(cost["paper_params"] / 1e6, 2), round(cost["paper_flops"] / 1e6, 2)
    assert found == {"l": (0.22, 0.29), "m": (0.44, 0.40), "h": (1.58, 0.97)}[size]
    assert published[0] - found[0] == pytest.approx(0.21)
    assert found[1] - published[1] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [("googlednn_l", 204_800), ("googlednn_m", 425_984), ("googlednn_h", 1_556_480)],
)
def test_costs_of_chains_by_hand(kind, weights):
    cost = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(), MOVIELENS).cost(
        {"model/kind": kind}
    )
    assert cost["flops"] == 2 * weights
    assert cost["paper_flops"] == (weights + 1024 * 64) / 2
    assert cost["embedding_params"] == 16 * (944 + 8 + 2 + 21 + 1683 + 10 + 20)
    assert cost["params"] == cost["paper_params"] + cost["embedding_params"]


def test_costs_of_the_other_models_by_hand():
    """What they add to GoogleDNN-L, or have in its place, per user and item of MovieLens."""
    net = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(), MOVIELENS)
    google, senet, bst, mind = (net.cost({"model/kind": f"{m}_l"}) for m in MODELS)
    assert senet["user_params"] - google["user_params"] == 2 * 7 * 2  # 7 fields, 2 hidden units
    assert senet["item_params"] - google["item_params"] == 2 * 3 * 1
    assert senet["user_flops"] - google["user_flops"] == 2 * 2 * 7 * 2
    # Positions of 48; queries, keys, values, output and a feed-forward of 48; two norms.
    assert bst["user_params"] - google["user_params"] == 20 * 48 + 6 * (48 * 48 + 48) + 4 * 48
    macs = 20 * (6 * 48 * 48 + 2 * 20 * 48)
    assert bst["user_flops"] - google["user_flops"] == 2 * macs
    assert bst["item_flops"] == google["item_flops"]
    # 64 + 16 -> 256 -> 192 -> 128 -> 16 for three interests; two iterations are three products.
    chain = 80 * 256 + 256 * 192 + 192 * 128 + 128 * 16
    assert mind["user_params"] == chain + 256 + 192 + 128 + 16 + 16 * 16
    assert mind["user_flops"] == 2 * (3 * chain + 20 * 16 * 16 + 3 * 3 * 20 * 16)
    assert (mind["item_params"], mind["item_flops"]) == (0, 0)
    assert mind["paper_flops"] == mind["flops"] / 4 + 1024 * 16 / 2


@pytest.mark.parametrize(("kind", "norm"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_norms_are_of_hidden_layers_and_not_of_mind(kind, norm):
    net = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(dense_norm=kind), SPEC)
    plain = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(), SPEC)
    hidden = {"googlednn_l": 576, "senet_h": 1920, "bst_m": 896, "mind_h": 0}  # of one tower
    for model, width in hidden.items():
        built = net.build({"model/kind": model}, inherit_weights=True)
        towers = (built.user.net, built.item.net)
        found = [m.weight.numel() for tower in towers for m in tower.modules() if type(m) is norm]
        assert sum(found) == 2 * width
        cost, without = (n.cost({"model/kind": model}) for n in (net, plain))
        assert cost["params"] == count_params(built) == without["params"] + 4 * width
        if model != "mind_h":  # the norms' FLOPs are in the paper's convention alone
            assert cost["flops"] == without["flops"]
            assert cost["paper_flops"] == without["paper_flops"] + width


def test_a_mixture_is_of_unit_vectors():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    batch = inputs(5)
    found = net(*batch, sample=net.soft_sample(1.0, 5))
    assert found.shape == (10, 3, 4)  # three interests
    torch.testing.assert_close(found.norm(dim=2), torch.ones(10, 3))


def test_user_and_item_of_a_row_have_the_same_sample():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    batch = inputs(3)
    mixed = net(*batch, sample=Sample({"model": torch.eye(12)[:3].unsqueeze(1)}))
    for row, kind in enumerate(("googlednn_l", "googlednn_m", "googlednn_h")):
        alone = net(*batch, sample=net.one_hot_sample({"model/kind": kind}))
        torch.testing.assert_close(mixed[[row, 3 + row]], alone[[row, 3 + row]])


def test_outputs_are_those_of_the_largest_model_with_a_weight():
    """Single vectors stand K times and narrow ones before zeros: no score changes."""
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC).eval()  # vectors of 4, of MIND 3
    batch = inputs(5)

    def of(*weights: tuple[str, float]) -> torch.Tensor:
        row = torch.zeros(1, 1, 12)
        for kind, weight in weights:
            row[0, 0, net.model.index(0, kind)] = weight
        return net(*batch, sample=Sample({"model": row}))

    single, several = of(("bst_l", 1.0)), of(("mind_l", 1.0))
    assert (single.shape, several.shape) == ((10, 4), (10, 3, 3))
    mixed = of(("bst_l", 1e-9), ("mind_l", 1.0))
    assert mixed.shape == (10, 3, 4)
    torch.testing.assert_close(mixed[..., :3], several)
    assert mixed[..., 3].abs().max() < 1e-6
    mixed = of(("bst_l", 1.0), ("mind_l", 1e-9))
    for place in range(3):
        torch.testing.assert_close(mixed[:, place], single)
    assert of(("bst_l", 0.5), ("senet_h", 0.5)).shape == (10, 4)


@pytest.mark.parametrize("draws", [1, 5])
@pytest.mark.parametrize("learns", [False, True])
def test_a_step_does_not_wait_for_the_device(learns, draws):
    """Nor does its shape depend on which weights are 0. Meta tensors are on a device without
    values."""
    net = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(dense_norm="batch"), SPEC).to("meta")
    batch = [part.to("meta") for part in inputs(5)]
    net.model.theta.requires_grad_(learns)
    weights = net.model.theta.softmax(1).expand(draws, 1, 12)
    outputs = []

    def step():
        outputs.append(net(*batch, sample=Sample({"model": weights})))
        outputs[0].sum().backward()

    assert host_waits(step) == set()
    assert outputs[0].shape == (10, 3, 64)
    on_cpu = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    shared = Sample({"model": torch.full((1, 1, 12), 1 / 12)})
    assert "nonzero.default" in host_waits(lambda: on_cpu(*inputs(5), sample=shared))


def test_all_models_score_as_those_with_a_weight():
    """With a gradient all are computed: the only vector of a user stands three times."""
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC).eval()
    batch = inputs(5)
    sample = net.one_hot_sample({"model/kind": "googlednn_l"})
    alone = net(*batch, sample=sample)
    mixed = net(*batch, sample=Sample({"model": sample["model"].requires_grad_()}))
    assert (alone.shape, mixed.shape) == ((10, 4), (10, 3, 4))
    torch.testing.assert_close(mixed, alone.unsqueeze(1).expand(-1, 3, -1))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_its_batch(model):
    torch.manual_seed(0)
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    built = net.build({"model/kind": f"{model}_l"})
    batch, loss = inputs(5), TOWER_BASELINES.task_of(SMALL).loss
    labels = torch.stack([torch.arange(1.0, 6.0), torch.zeros(5), torch.ones(5)], dim=1)
    optimizer = torch.optim.Adam(built.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(built(*batch), labels)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.6 * losses[0]


def test_more_items_than_users_under_one_sample():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    users, history, items, bags = inputs(6)
    found = net(users[:2], history[:2], items, bags, sample=net.probability_sample())
    assert found.shape == (8, 3, 4)
    own = Sample({"model": torch.eye(12)[[0, 2]].unsqueeze(1)})
    mean = Sample({"model": torch.eye(12)[[0, 2]].mean(0, keepdim=True).unsqueeze(1)})
    batch = users[:2], history[:2], items, bags
    torch.testing.assert_close(net(*batch, sample=own)[2:], net(*batch, sample=mean)[2:])


def test_validation_ranks_all_users_under_one_sample():
    """Also a corpus of as many items as there are users, which a row's samples would mix up."""
    found = []

    class Watched(TowerBaselinesSuperNet):
        def forward(self, users, history, items, bags, *, sample):
            found.append((len(users), len(items), sample.batch_size))
            return super().forward(users, history, items, bags, sample=sample)

    data = TOWER_BASELINES.prepare(RetrievalDataConfig(synthetic_users=40, synthetic_items=60))
    loader = data.loader("validation", 16, shuffle=False, seed=0, drop_last=False, flag="")
    metrics = validate_supernet(
        Watched(SMALL, data.spec),
        loader,
        TOWER_BASELINES.task_of(SMALL).metrics,
        temperature=1.0,
        generator=torch.Generator().manual_seed(1),
        step=0,
        world=World(),
    )
    assert {samples for _, _, samples in found} == {1}
    assert {items for users, items, _ in found if users == 16} == {60}  # rankings
    assert metrics["supernet"].keys() == metrics["most_likely"].keys()


def test_a_built_model_shares_its_own_tables_only():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    for inherit in (False, True):
        built = net.build({"model/kind": "googlednn_l"}, inherit_weights=inherit)
        assert built.user.inputs.items is built.item.inputs


def test_file_to_model(tmp_path):
    space = find_space("tower_baselines")
    net = space.make_supernet(SMALL, SPEC)
    architecture = net.validate({"model/kind": "senet_m"})
    path = tmp_path / "one.json"
    make_record(space, space.name, SMALL, SPEC, net, architecture, {}).save(path)
    model = load_architecture(path)
    assert model(*inputs(4)).shape == (8, 4)


def test_settings_decide_the_task():
    config = TowerBaselinesConfig(
        temperature=0.1,
        mask_accidental_hits=True,
        corrected_loss=False,
        selection="ndcg50",
        attention_power=3.0,
    )
    task = TOWER_BASELINES.task_of(config)
    assert (task.selection, task.maximize) == ("ndcg50", True)
    assert (task.loss.temperature, task.loss.mask_accidental_hits) == (0.1, True)
    assert not task.loss.corrected
    assert (task.loss.attention_power, task.loss.interests) == (3.0, "label")
    served = TowerBaselinesConfig(interests_in_loss="served")
    assert TOWER_BASELINES.task_of(served).loss.interests == "served"
    assert TOWER_BASELINES.task_of(TowerBaselinesConfig()).loss == RETRIEVAL.loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "--temperature must be positive, but got 0"),
        ({"selection": "accuracy"}, "--selection 'accuracy': must be one of loss"),
        ({"output_dimension": 0}, "--output_dimension must be at least 1, but got 0"),
        ({"mind_interests": 0}, "--mind_interests must be at least 1, but got 0"),
        ({"bst_feed_forward": -1}, "--bst_feed_forward must be 0 or more, but got -1"),
        ({"bst_dropout": 1.0}, r"--bst_dropout must be in \[0, 1\), but got 1.0"),
        (
            {"attention_power": 3.0, "interests_in_loss": "served"},
            "--attention_power=3.0 has no effect with --interests_in_loss=served",
        ),
        ({"interests_in_loss": "all"}, "--interests_in_loss must be one of label, served"),
        ({"attention_power": -1.0}, "--attention_power must be a number of at least 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        TowerBaselinesConfig(**settings)


@pytest.mark.parametrize("kind", ["googlednn_l", "mind_l"])
def test_what_is_measured_of_synthetic_data(kind):
    """The metrics of a batch each, of an untrained model: all names, in range."""
    data = TOWER_BASELINES.prepare(RetrievalDataConfig(synthetic_users=30, synthetic_items=60))
    model = TOWER_BASELINES.make_supernet(SMALL, data.spec).build({"model/kind": kind})
    task = TOWER_BASELINES.task_of(SMALL)
    for split, wanted in (
        ("validation", {"loss", "loss_corrected", "recall50", "ndcg50_hits", "mrr"}),
        ("test", {f"recall50{s}" for s in (".paper", ".temporal", ".temporal_exclude")}),
    ):
        metrics = task.metrics()
        loader = data.loader(split, 16, shuffle=False, seed=0, drop_last=False, flag="")
        for batch in loader.batches(0, len(loader)):
            with torch.no_grad():
                metrics.update(model(*batch.inputs), batch.labels)
        found = metrics.compute()
        assert wanted <= set(found)
        assert all(0 <= v <= 1 for name, v in found.items() if "loss" not in name)
