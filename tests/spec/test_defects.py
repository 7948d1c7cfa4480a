"""Every defect known of the authors' code, as a test that ours does not have it.

Numbers are those of the list of defects: b01 to b14 change results, 3b are breakages on current
software. Most have fuller tests beside the module concerned; here is the one line that would show.
"""

from __future__ import annotations

import itertools
import json
import math
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dnas.cli import search, train
from dnas.cli.job import JobFlags, is_out_of_memory
from dnas.core import Architecture
from dnas.costs import LinearPenalty, NoPenalty
from dnas.data import DataConfig, PreparedData, TensorBatch, prepare
from dnas.data.loader import as_loader
from dnas.errors import ConfigError, JobError
from dnas.jobs import run_pipeline
from dnas.jobs.config import expand, parse_config
from dnas.metrics import BinaryMetrics
from dnas.spaces import make_record
from dnas.strategies.phases import THETA, WEIGHTS, plan_phases
from dnas.training.checkpoint import load_checkpoint, save_checkpoint
from dnas.training.clipping import clip_grad_norm
from dnas.training.standalone import StandaloneTrainer
from dnas.training.task import Task
from supernets import EMB_DIM, TOP_BOTTOM_MLPS, MLPSuperNet
from supernets.config import DLRMSpaceConfig
from tests.data.raw_rows import criteo_line, write_lines
from tests.toys import (
    DATA_FLAGS,
    SPACE,
    SPACE_FLAGS,
    SPEC,
    Scales,
    all_equal,
    card_net,
    click_batches,
    click_manager,
    scale_batches,
    scale_manager,
    snapshot,
)

SIZES = (16, 32, 64)


@pytest.fixture(autouse=True)
def _signals():
    """Scripts catch signals for themselves; tests get theirs back."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """A small search into ``tmp_path / "s"``."""
    return [
        "--search_space=emb_card",
        *DATA_FLAGS,
        *SPACE_FLAGS,
        f"--data_cache={tmp_path / 'cache'}",
        f"--save_metrics_param={tmp_path / 's' / 'result.json'}",
        "--host_gpu_id=cpu",
        "--weights_batch_size=64",
        "--arch_params_batch_size=32",
        "--n_total_s_net_training_epochs=2",
        "--architecture_sampling=1:2",
        "--weights_lr=0.1",
    ]


def result_of(tmp_path: Path, name: str = "s") -> dict:
    return json.loads((tmp_path / name / "result.json").read_text())


# -------------------------------------------------------------------------------- 3a: results


def test_b01_the_weights_optimizer_never_trains_theta():
    net = card_net()
    manager = click_manager(net, weights_initial_lrs=[1.0], n_total_s_net_training_epochs=4)
    run_phase, seen = manager._run_phase, []

    def watched(phase, progress):
        before = snapshot(net.architecture_parameters()), snapshot(net.weight_parameters())
        run_phase(phase, progress)
        seen.append(
            (
                phase.kind,
                all_equal(before[0], snapshot(net.architecture_parameters())),
                all_equal(before[1], snapshot(net.weight_parameters())),
            )
        )

    manager._run_phase = watched
    manager.train_dnas()
    # (kind, theta unchanged in every bit, weights unchanged in every bit)
    assert seen == [("weights", True, False)] + 3 * [
        ("weights", True, False),
        ("theta", False, True),
    ]
    # 15 steps of Adam at 0.03: not a drift that weights steps would drown.
    assert float(net.architecture_parameters()[0].detach().abs().max()) > 0.1


def test_b02_sampled_chains_are_the_chains_of_theta_in_order():
    net = MLPSuperNet(10, 50, SIZES, 4)
    right = 0
    for widths in itertools.product(SIZES, repeat=3):
        with torch.no_grad():
            for theta in net.architecture_parameters():
                theta.zero_()
            for layer in (1, 2, 3):
                choice = net.choices[f"mlp.layer{layer}"]
                node = 0 if layer == 3 else SIZES.index(widths[layer])
                choice.theta[node, SIZES.index(widths[layer - 1])] = 50.0
        right += net.sizes(net.sample_arch()) == (10, *widths, 50)
    assert right == 27


def test_b03_what_lies_below_a_skip_costs():
    net = MLPSuperNet(10, 50, SIZES, 4)
    one_skip = {"mlp.layer1/16": "skip", "mlp.layer2/64": 16, "mlp.layer3/50": 64}
    assert net.sizes(one_skip) == (10, 16, 64, 50)
    assert net.cost(one_skip)["flops"] == 2 * (10 * 16 + 16 * 64 + 64 * 50) == 8768
    two_skips = {"mlp.layer1/64": "skip", "mlp.layer2/64": "skip", "mlp.layer3/50": 64}
    assert net.cost(two_skips)["flops"] == 2 * (10 * 64 + 64 * 50) == 7680


def test_b04_the_cost_has_its_coefficient_and_can_be_left_out():
    loss, costs = torch.tensor(0.5), {"units": torch.tensor([math.e**2])}
    assert float(LinearPenalty(0.1, metric="units")(loss, costs)) == pytest.approx(0.5 + 0.1 * 2)
    assert type(scale_manager(use_hw_cost=False).penalty) is NoPenalty
    for use in (True, False):
        assert scale_manager(use_hw_cost=use, cost_coef=0.01).train_dnas().steps == 8


def test_b05_the_last_day_is_validation_and_test(tmp_path):
    write_lines(
        tmp_path / "train.txt",
        [criteo_line("1" if i % 3 else "0", [day]) for day in range(7) for i in range(20)],
    )
    data = prepare(
        DataConfig(
            data_set="criteo_kaggle",
            raw_data=str(tmp_path / "train.txt"),
            data_cache=str(tmp_path / "cache"),
            dense_transform="none",
            memory_map=True,
        )
    )
    days = {
        name: set(data.store.dense[np.asarray(rows), 0].tolist())
        for name, rows in data.splits.items()
    }
    assert days["weights"] | days["theta"] == {0, 1, 2, 3, 4, 5}
    assert days["validation"] == days["test"] == {6}


def test_b06_ids_are_not_reduced_by_another_features_count(tmp_path):
    """C1 has 2 values, C2 has 30."""
    values = [[f"{i % 2:08x}", f"{i:08x}"] for i in range(30)]
    lines = [criteo_line("1" if i % 3 else "0", [i], row) for i, row in enumerate(values)]
    write_lines(tmp_path / "train.txt", lines)
    data = prepare(
        DataConfig(
            data_set="criteo_kaggle",
            raw_data=str(tmp_path / "train.txt"),
            data_cache=str(tmp_path / "cache"),
        )
    )
    assert data.spec.cardinalities[:2] == (2, 30)
    assert sorted(data.store.ids[:, 1].tolist()) == list(range(30))


@pytest.mark.parametrize(("own_products", "top_in"), [(False, 4 + 6), (True, 4 + 10)])
def test_b07_models_without_the_largest_dimension(own_products, top_in):
    config = DLRMSpaceConfig(**{**SPACE.__dict__, "arch_interaction_itself": own_products})
    smallest = Architecture({"emb_dim/C1": 1, "emb_dim/C2": 1, "emb_dim/C3": 1})
    model = EMB_DIM.make_model(config, SPEC, smallest)
    assert model.top.sizes[0] == top_in
    assert model(*click_batches(1)[0].inputs).shape == (16,)


def test_b08_searches_that_differ_in_a_rate_draw_other_architectures():
    drawn = []
    for rate in (0.1, 0.2):
        net = Scales(12)
        batches = scale_batches(decisions=12)
        result = scale_manager(
            net,
            w_dataloader=batches,
            m_dataloader=batches,
            weights_initial_lrs=[rate * 1e-3],
            m_optim_class=torch.optim.SGD,
            mask_initial_lrs=[1e-6],
            arch_sampling={1: 4},
            sample_most_likely=False,
        ).train_dnas()
        assert float(net.choice.theta.detach().abs().max()) < 1e-3  # as good as uniform
        drawn.append({s.architecture.id for s in result.architectures})
    assert len(drawn[0] | drawn[1]) == 8


def test_b08_duplicates_are_recognised_by_their_canonical_id():
    """The queue trains each canonical id once; the same widths by other skips are one network."""
    config = DLRMSpaceConfig(**{**SPACE.__dict__, "mlp_top_layers": 4})
    net = TOP_BOTTOM_MLPS.make_supernet(config, SPEC)
    bottom = {"bottom.layer1/4": 4}
    chains = (
        {"top.layer1/4": "skip", "top.layer2/4": 4, "top.layer3/1": 4},
        {"top.layer1/4": 4, "top.layer2/4": "skip", "top.layer3/1": 4},
    )
    records = [
        make_record(TOP_BOTTOM_MLPS, "x", config, SPEC, net, net.validate({**bottom, **chain}), {})
        for chain in chains
    ]
    assert records[0].architecture != records[1].architecture
    assert records[0].canonical_id == records[1].canonical_id


def test_b09_identical_lists_give_the_full_product():
    config = parse_config("python x.py --s=SAVE_METRICS_PARAM\n--a={1, 2} --b={1, 2}\nGPU_IDS:0\n")
    pairs = [tuple(spec.argv[-2:]) for spec in expand(config)]
    assert sorted(pairs) == [(f"--a={a}", f"--b={b}") for a in "12" for b in "12"]


def test_b10_tenths_of_epochs_sample_when_they_should():
    wanted = {0.3: 1, 0.5: 2, 0.8: 1}
    arguments = {
        "total_epochs": 2, "warmup_epochs": 1, "alternate_epochs": 0.1,
        "w_steps_per_epoch": 30, "m_steps_per_epoch": 20,
    }  # fmt: skip
    phases = plan_phases(arch_sampling=wanted, **arguments)
    assert {float(p.epochs_done): p.samples for p in phases if p.samples} == wanted
    assert sum(p.steps for p in phases if p.kind == WEIGHTS) == 60
    assert sum(p.steps for p in phases if p.kind == THETA) == 20
    with pytest.raises(ConfigError, match=r"at 0.35 theta epochs; they end at 0.1, 0.2, 0.3, "):
        plan_phases(arch_sampling={0.35: 1}, **arguments)
    result = scale_manager(
        w_dataloader=scale_batches(10),
        m_dataloader=scale_batches(10),
        n_alt_train_amt=0.1,
        arch_sampling=wanted,
        sample_most_likely=False,
    ).train_dnas()
    assert [s.theta_epochs for s in result.architectures] == [0.3, 0.5, 0.5, 0.8]


def test_b11_fractions_of_epochs_partition_a_memory_mapped_epoch(tmp_path):
    data = prepare(
        DataConfig(
            data_cache=str(tmp_path), synthetic_rows=140, synthetic_features=3, memory_map=True
        )
    )
    loader = data.loader("weights", 8, shuffle=True, seed=1, drop_last=False)
    n = len(loader)
    cuts = [round(n * fraction / 10) for fraction in (0, 3, 6, 9, 10)]
    rows = [
        row.tobytes()
        for start, stop in itertools.pairwise(cuts)
        for batch in loader.batches(start, stop)
        for row in batch.dense.numpy()
    ]
    expected = data.store.dense[np.asarray(data.splits["weights"])]
    assert sorted(rows) == sorted(row.tobytes() for row in expected)


def test_b12_one_layer_has_the_output_width():
    net = MLPSuperNet(10, 50, SIZES, 1)
    assert net(torch.randn(2, 10), sample=net.probability_sample()).shape == (2, 50)


def test_b13_evaluation_is_at_the_end_of_an_epoch_in_eval_mode_without_gradients():
    """Ten rows in batches of four: two whole ones and a partial one in every epoch."""
    seen = []

    class Model(nn.Linear):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled(), len(x)))
            return super().forward(x)

    x, y = torch.randn(10, 2), torch.randn(10, 1)
    parts = [TensorBatch((x[i : i + 4],), y[i : i + 4]) for i in (0, 4, 8)]

    class Nothing:
        def update(self, outputs, labels):
            assert not outputs.requires_grad

        def compute(self):
            return {"score": 1.0}

    StandaloneTrainer(
        Model(2, 1),
        Task(nn.functional.mse_loss, Nothing, "score"),
        train_loader=as_loader(parts),
        valid_loader=as_loader(parts[:1]),
        n_epochs=2,
        lr=0.01,
    ).train()
    epoch = [(True, True, 4), (True, True, 4), (True, True, 2), (False, False, 4)]
    assert seen == epoch * 2


def test_b14_the_search_is_validated(tmp_path):
    click_manager(
        valid_dataloader=click_batches(2, seed=5), make_metrics=BinaryMetrics, folder=tmp_path
    ).train_dnas()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if line["event"] == "validation"]
    assert [line["step"] for line in found] == [5, 10, 15, 20, 25]
    for line in found:
        for kind in ("supernet", "most_likely"):
            assert line[kind]["rows"] == 32
            assert 0.0 < line[kind]["logloss"] < 5.0


# -------------------------------------------------------------------------------- 3b: breakages


def test_3b_sparse_gradients_are_clipped_to_the_dense_norm():
    norms = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(5, 3, sparse=sparse)
        table(torch.tensor([0, 2, 2])).square().sum().backward()
        norms.append(clip_grad_norm(table.parameters(), 0.1))
        gradient = table.weight.grad.to_dense() if sparse else table.weight.grad
        assert float(gradient.norm()) == pytest.approx(0.1, rel=1e-4)
    torch.testing.assert_close(*norms)


def test_3b_checkpoints_load_without_unpickling_code(tmp_path):
    """With numpy numbers too, at which ``weights_only`` balked."""
    save_checkpoint(tmp_path / "c.pt", {"loss": np.float64(0.5), "step": np.int64(3)})
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    assert state == load_checkpoint(tmp_path / "c.pt") == {"loss": 0.5, "step": 3}
    torch.save({"optimizer": object()}, tmp_path / "d.pt")
    with pytest.raises(JobError):
        load_checkpoint(tmp_path / "d.pt")


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (NotImplementedError("aten::linalg_vector_norm on SparseCPU: out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RuntimeError("the words out of memory alone"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_3b_only_memory_is_called_memory(error, memory):
    assert is_out_of_memory(error) is memory


def test_3b_hexadecimal_ids_above_two_to_the_31(tmp_path):
    tokens = ("ffffffff", "80000000", "7fffffff")
    write_lines(
        tmp_path / "train.txt",
        [criteo_line(str(i % 2), [i], [tokens[i % 3]]) for i in range(30)],
    )
    data = prepare(
        DataConfig(
            data_set="criteo_kaggle",
            raw_data=str(tmp_path / "train.txt"),
            data_cache=str(tmp_path / "cache"),
        )
    )
    assert data.spec.cardinalities[0] == 3
    assert data.store.ids[:6, 0].tolist() == [0, 1, 2, 0, 1, 2]


def test_3b_it_runs_without_a_gpu(flags, tmp_path):
    assert JobFlags(host_gpu_id="cpu").device() == torch.device("cpu")
    assert search.main(flags) == 0
    assert result_of(tmp_path)["status"] == "succeeded"


@pytest.mark.parametrize("name", ["99", "cuda:99", "gpu"])
def test_3b_a_missing_gpu_is_a_clear_error(flags, tmp_path, name, capsys):
    with pytest.raises(ConfigError, match="host_gpu_id"):
        JobFlags(host_gpu_id=name).device()
    given = [flag for flag in flags if not flag.startswith("--host_gpu_id")]
    assert search.main([*given, f"--host_gpu_id={name}"]) == 2
    assert "error: --host_gpu_id" in capsys.readouterr().err
    assert result_of(tmp_path)["error"]["type"] == "ConfigError"


def test_3b_missing_data_is_one_error_and_no_retry(flags, tmp_path, capsys):
    given = [flag for flag in flags if "synthetic" not in flag]
    started = time.monotonic()
    code = search.main([*given, "--data_set=criteo_kaggle", "--raw_data=absent.txt"])
    assert time.monotonic() - started < 5.0
    assert code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "absent.txt" in errors[0]
    assert result_of(tmp_path)["status"] == "failed"


def test_3b_configs_are_as_they_were_after_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text(
        "import json, os, sys\n"
        "folder = os.environ['DNAS_JOB_FOLDER']\n"
        "os.makedirs(folder + '/architectures', exist_ok=True)\n"
        "with open(folder + '/architectures/0000.json', 'w') as f:\n"
        "    json.dump({'id': 'a', 'canonical_id': 'a'}, f)\n"
        "with open(sys.argv[1].split('=', 1)[1], 'w') as f:\n"
        "    json.dump({'status': 'succeeded'}, f)\n"
    )
    texts = {
        "first": "python -S job.py\n--s=SAVE_METRICS_PARAM --lr={1, 2}\nGPU_IDS:cpu\n",
        "second": "python -S job.py\n--s=SAVE_METRICS_PARAM --a=SAMPLED_ARCH_PARAM\nGPU_IDS:cpu\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in texts}
    for experiment in ("one", "two"):
        assert run_pipeline("first", "second", experiment).exit_code == 0
    assert {name: (tmp_path / name).read_text() for name in texts} == texts
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in texts} == before


def test_3b_test_rows_are_not_touched_without_the_flag(flags, tmp_path, monkeypatch):
    loader = PreparedData.loader

    def guarded(self, split, *arguments, **options):
        assert split != "test"
        return loader(self, split, *arguments, **options)

    monkeypatch.setattr(PreparedData, "loader", guarded)
    assert search.main(flags) == 0
    data = [flag for flag in flags if "synthetic" in flag or "data_cache" in flag]
    code = train.main(
        [
            *data,
            f"--sampled_arch={tmp_path / 's' / 'architectures' / '0000.json'}",
            f"--save_metrics_param={tmp_path / 't' / 'result.json'}",
            "--host_gpu_id=cpu",
            "--batch_size=64",
            "--n_epochs=1",
        ]
    )
    assert code == 0
    assert result_of(tmp_path, "t")["test"] is None


def test_3b_nothing_is_printed_in_a_step(capfd):
    click_manager().train_dnas()
    assert capfd.readouterr().out == ""


def test_3b_theta_is_there_once():
    net = card_net()
    for names in (list(net.state_dict()), [name for name, _ in net.named_parameters()]):
        assert sum("theta" in name for name in names) == 1
    assert len(list(net.parameters())) == len({id(p) for p in net.parameters()})
    (theta,) = net.architecture_parameters()
    assert sum(p is theta for p in net.parameters()) == 1
