"""Operator kinds: registration, sizes and defaults, and the built-in ones."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from dnas.costs import OperatorKind, find_kind, kinds, known_kinds, register_operator
from dnas.costs.kinds import completed
from dnas.costs.work import count_work
from dnas.errors import ConfigError, CostError
from dnas.models.operator_kinds import zipf_ids
from tests.costs.clocks import Clock, op, waiting_kind

ROWS = 4
#: One operator of each built-in kind, and its FLOPs for ROWS rows, None where it cannot be counted.
BUILT_IN = {
    op("linear", inputs=3, outputs=5, relu=1): 2 * 3 * 5 * ROWS,
    op("dot_interaction", vectors=3, dim=2): 2 * 3 * 3 * 2 * ROWS,
    op("cat_interaction", vectors=3, dim=2): 0,
    op("embedding", rows=7, dim=4, width=8, skew=1): 0,
    op("embedding", rows=7, dim=4, bag=3): None,
    op("embedding_group", dim=1, width=1): 0,
    op("embedding_group", dim=4, width=4, bag=2): None,
    op("embedding_join", features=5, width=4): 0,
    op("conv2d", in_channels=3, out_channels=6, kernel=3, size=5): 2 * 3 * 6 * 9 * 25 * ROWS,
    op("conv2d", in_channels=4, out_channels=4, kernel=3, size=5, stride=2, groups=4): 2
    * 4
    * 9
    * 9
    * ROWS,
    op("layer_norm", width=6, vectors=2): 0,
    # Queries, keys, values and the output; scores and their products with the values.
    op("attention", width=8, vectors=3, heads=2): (4 * 2 * 3 * 8 * 8 + 2 * 2 * 3 * 3 * 8) * ROWS,
    op("lstm", inputs=3, hidden=5, steps=2): 2 * 4 * 5 * (3 + 5) * 2 * ROWS,
    op("gru", inputs=3, hidden=5, steps=2): 2 * 3 * 5 * (3 + 5) * 2 * ROWS,
    op("embedding_bag", rows=9, dim=2, bag=3): 0,
    op("numeric_vectors", dense=2, features=3, dim=4): 0,
    op("factorization_machine", vectors=3, dim=4): 0,
    # Queries, keys, values and the residual; scores and their products with the values.
    op("interacting_layer", vectors=3, dim=4, heads=2, head_dim=5): (
        4 * 2 * 3 * 4 * 10 + 2 * 2 * 2 * 3 * 3 * 5
    )
    * ROWS,
    op("cin_layer", vectors=3, below=2, above=5, dim=4): 2 * 4 * 5 * 2 * 3 * ROWS,
    # Of the last layer only sums are computed: dot products, then their weights.
    op("cin_layer", vectors=3, below=2, above=5, dim=4, last=1): 2 * (4 + 5) * 2 * 3 * ROWS,
}


@pytest.mark.parametrize("operator", BUILT_IN, ids=str)
def test_built_in_kinds_run_and_are_counted(operator):
    kind = find_kind(operator)
    sizes = dict(completed(operator).sizes)
    module = kind.make(**sizes).eval()
    inputs = kind.inputs(ROWS, torch.Generator().manual_seed(1), **sizes)
    with torch.inference_mode():
        outputs = module(*inputs)
    assert (outputs[0] if isinstance(outputs, tuple) else outputs).shape[0] == ROWS
    work = count_work(completed(operator), ROWS)
    if BUILT_IN[operator] is None:
        assert work is None
    else:
        assert work is not None
        assert work[0] == BUILT_IN[operator]


def test_every_kind_of_the_library_is_in_the_list():
    # Spaces register kinds of their own where they are defined.
    ours = {name for name in known_kinds() if not name.startswith(("nasrec", "sample"))}
    assert ours == {operator.kind for operator in BUILT_IN}


def test_bytes_are_inputs_outputs_and_parameters_but_no_tables():
    # 4 rows of 3 in, of 5 out, 20 weights.
    assert count_work(op("linear", inputs=3, outputs=5, relu=1), ROWS) == (120, 4 * (12 + 20 + 20))
    # 32 features share a call: each row has 33 ids of 8 bytes, and 32 vectors of 4 numbers.
    work = count_work(completed(op("embedding", rows=7, dim=4)), ROWS)
    assert work == (0, (ROWS * 33 * 8 + ROWS * 32 * 4 * 4) / 32)


def test_defaults_and_completeness():
    linear = completed(op("linear", inputs=3, outputs=5))
    assert linear == op("linear", inputs=3, outputs=5, relu=0)
    assert completed(op("nobody_knows", x=1)) == op("nobody_knows", x=1)
    with pytest.raises(CostError, match=r"linear\(inputs=3\): its kind needs the size 'outputs'"):
        completed(op("linear", inputs=3))
    with pytest.raises(CostError, match="has no size 'width'; sizes are inputs, outputs, relu"):
        completed(op("linear", inputs=3, outputs=5, width=2))


def test_classes_of_torch_serve_as_they_are():
    kind = OperatorKind(
        "rms_norm",
        nn.RMSNorm,
        lambda batch, generator, /, normalized_shape: (torch.randn(batch, normalized_shape),),
        interpolated=("normalized_shape",),
    )
    register_operator(kind)
    with_defaults = completed(op("rms_norm", normalized_shape=6))
    assert dict(with_defaults.sizes)["elementwise_affine"] == 1


def test_a_name_is_registered_once():
    mine = waiting_kind("mine", Clock(), lambda a, b: a)
    assert register_operator(mine) is mine
    register_operator(mine)
    with pytest.raises(ConfigError, match="'mine' is registered already"):
        register_operator(waiting_kind("mine", Clock(), lambda a, b: a))
    with pytest.raises(ConfigError, match="'linear' is registered already"):
        register_operator(waiting_kind("linear", Clock(), lambda a, b: a))
    with pytest.raises(
        CostError, match=r"no operator kind 'other' is registered; known are .*mine"
    ):
        find_kind(op("other", a=1))


MODULE = """
import torch
from torch import nn
from dnas.costs import OperatorKind, register_operator

def kind_of(size):
    return OperatorKind(
        "reloaded",
        make=lambda width: nn.Linear(width, size),
        inputs=lambda batch, generator, *, width: (torch.randn(batch, width),),
    )

register_operator(kind_of(3))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """From which modules can be imported, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(tmp_path / f"{name}.py"):
            del sys.modules[name]


def test_the_same_code_again_replaces(folder, monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    path = folder / "domain_of_kinds.py"
    path.write_text(MODULE)
    module = importlib.import_module("domain_of_kinds")
    assert find_kind(op("reloaded", width=2)).make(2).out_features == 3
    path.write_text("# Edited.\n" + MODULE.replace("kind_of(3)", "kind_of(5)"))
    importlib.invalidate_caches()
    importlib.reload(module)
    assert find_kind(op("reloaded", width=2)).make(2).out_features == 5
    # In one run of the code a second kind of that name is another one.
    with pytest.raises(
        ConfigError, match=r"with make domain_of_kinds\.kind_of\.<locals>\.<lambda>"
    ):
        register_operator(module.kind_of(7))
    (folder / "another_domain.py").write_text(MODULE)
    with pytest.raises(ConfigError, match="'reloaded' is registered already"):
        importlib.import_module("another_domain")


@pytest.mark.parametrize(
    "start",
    [
        lambda path: runpy.run_path(str(path), run_name="__main__"),
        lambda path: runpy.run_module(path.stem, run_name="__main__", alter_sys=True),
    ],
    ids=["python FILE", "python -m MODULE"],
)
def test_a_file_that_is_script_and_module(folder, start):
    path = folder / "script_of_kinds.py"
    path.write_text(f"{MODULE}\nif __name__ == '__main__':\n    import script_of_kinds\n")
    start(path)
    # The module's came last.
    assert find_kind(op("reloaded", width=2)) is not None
    assert kinds._ORIGINS["reloaded"].module == "script_of_kinds"


def test_built_in_kinds_are_there_without_further_imports():
    code = "from dnas.costs import known_kinds; print(*known_kinds())"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert set(said.split()) == {operator.kind for operator in BUILT_IN}


def test_wrong_kinds_are_refused():
    with pytest.raises(ConfigError, match=r"interpolated names \['c'\], but make takes a, b"):
        waiting_kind("mine", Clock(), lambda a, b: a, interpolated=("a", "c"))
    with pytest.raises(ConfigError, match="per_call 0"):
        waiting_kind("mine", Clock(), lambda a, b: a, per_call=0)


@pytest.mark.parametrize("skew", [0.0, 1.0, 1.4])
def test_ids_follow_the_law(skew):
    rows, count = 50, 200_000
    ids = zipf_ids(count, rows, skew, torch.Generator().manual_seed(1))
    assert 0 <= int(ids.min()) <= int(ids.max()) < rows
    found = torch.bincount(ids, minlength=rows).double().sort(descending=True).values / count
    # Mass of [k, k + 1) under the continuous law x ** -skew on [1, rows + 1).
    edges = torch.arange(1, rows + 2, dtype=torch.float64)
    rising = edges.log() if skew == 1 else edges ** (1 - skew) / (1 - skew)
    expected = rising.diff() / (rising[-1] - rising[0])
    assert float((found - expected).abs().max()) < 0.004


def test_a_long_table_is_shared_among_the_features_of_a_call():
    kind = find_kind(op("embedding", rows=1, dim=1))
    with torch.device("meta"):
        tables = kind.make(rows=40_000_000, dim=64, width=64, bag=1, skew=1.0).tables
    assert sum(tables.rows) == pytest.approx(40_000_000, rel=1e-3)
    sizes = {"rows": 40_000_000, "dim": 64, "width": 64, "bag": 1, "skew": 1.0}
    (ids,) = kind.inputs(8, torch.Generator().manual_seed(1), **sizes)
    assert int(ids.max()) < tables.rows[0]


def test_the_example_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "costs.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import torch.*?)```", page, re.DOTALL)
    exec(compile(example, "docs/costs.md", "exec"), {})
    kind = find_kind(op("gelu_linear", inputs=3, outputs=5))
    inputs = kind.inputs(ROWS, torch.Generator(), inputs=3, outputs=5)
    assert kind.make(inputs=3, outputs=5)(*inputs).shape == (ROWS, 5)
    listed = re.findall(r"`(\w+)`", page[page.rindex("Built in:") :])
    assert set(listed) == {operator.kind for operator in BUILT_IN}
