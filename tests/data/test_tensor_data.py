"""Data in memory: parts, records, order, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dnas.data import Loader, TensorData
from dnas.data.batch import RowBatch
from dnas.data.order import epoch_order
from dnas.errors import DataError
from dnas.spaces import Prepared

SHARES = {"train": 0.6, "validation": 0.25, "test": 0.15}


def data(rows: int = 100, parts=None, **changes) -> TensorData:  # type: ignore[no-untyped-def]
    numbers = torch.arange(rows)
    inputs = (numbers.float().unsqueeze(1), numbers * 2)
    return TensorData(inputs, numbers % 3, parts or SHARES, spec="the spec", **changes)


def loader(source: TensorData, part: str = "train", size: int = 7, **changes):  # type: ignore[no-untyped-def]
    settings = {"shuffle": True, "seed": 5, "drop_last": True, **changes}
    return source.loader(part, size, **settings)


def test_it_is_what_a_search_space_prepares() -> None:
    prepared: Prepared = data()
    assert prepared.spec == "the spec"
    batches: Loader = loader(data())
    assert isinstance(batches, Loader)
    assert isinstance(next(iter(batches.batches(0, 1))), RowBatch)


def test_fractions_divide_every_row_once() -> None:
    splits = data().splits
    assert {name: len(rows) for name, rows in splits.items()} == {
        "weights": 48, "theta": 12, "train": 60, "validation": 25, "test": 15,
    }  # fmt: skip
    assert sorted([*splits["weights"], *splits["theta"]]) == list(splits["train"])
    everything = np.concatenate([splits[name] for name in ("train", "validation", "test")])
    assert sorted(everything) == list(range(100))
    assert all((np.diff(rows) > 0).all() for rows in splits.values())
    # A random division, not the first rows.
    assert splits["validation"].max() - splits["validation"].min() > 60


def test_the_seed_decides_and_the_weights_share_leaves_judging_rows_alone() -> None:
    first, again, other = data(), data(), data(seed=2)
    more = data(weights_training_proportion=0.5)
    assert first.record == again.record
    assert first.record["split"]["parts"]["test"] != other.record["split"]["parts"]["test"]
    for part in ("train", "validation", "test"):
        assert list(more.splits[part]) == list(first.splits[part])
    assert len(more.splits["weights"]) == len(more.splits["theta"]) == 30


def test_rows_by_number_and_the_rest_by_share() -> None:
    official = torch.tensor([9, 3, 5])
    splits = data(13, {"train": 0.7, "validation": 0.3, "test": official}).splits
    assert list(splits["test"]) == [3, 5, 9]
    assert len(splits["train"]) == 7
    assert len(splits["validation"]) == 3
    assert not set(splits["test"]) & set([*splits["train"], *splits["validation"]])


def test_weights_and_theta_may_be_given() -> None:
    numbers = {"weights": [0, 1, 2], "theta": [4], "validation": [5], "test": [3]}
    splits = data(6, {part: torch.tensor(rows) for part, rows in numbers.items()}).splits
    assert {part: list(rows) for part, rows in splits.items()} == {
        **numbers, "train": [0, 1, 2, 4],
    }  # fmt: skip


def test_the_record_knows_every_value_and_every_row() -> None:
    record = data().record
    assert (record["rows"], record["split"]["parts"]["theta"]["rows"]) == (100, 12)
    labels = torch.arange(100) % 3
    inputs = (torch.arange(100).float().unsqueeze(1), torch.arange(100) * 2)
    same = TensorData(inputs, labels, SHARES, spec=None, name="other")
    assert same.record["content_hash"] == record["content_hash"]
    for changed in (
        TensorData((inputs[0], inputs[1] + 1), labels, SHARES, spec=None),
        TensorData(inputs, labels.int(), SHARES, spec=None),
        TensorData((inputs[0].reshape(100, 1, 1), inputs[1]), labels, SHARES, spec=None),
    ):
        assert changed.record["content_hash"] != record["content_hash"]
    bits = torch.zeros(100, 2, dtype=torch.bfloat16), torch.zeros(100, 1).t().reshape(100) > 0
    assert TensorData(bits, labels, SHARES, spec=None).record["content_hash"]


def test_epochs_have_orders_of_their_own_addressed_by_global_step() -> None:
    source = data()
    batches = loader(source)
    assert len(batches) == 8  # of 60 rows, 4 of which are left out each epoch
    steps = list(batches.batches(0, 16))
    for epoch in (0, 1):
        rows = source.splits["train"][epoch_order(60, 5, epoch)[:56]]
        found = torch.cat([batch.labels for batch in steps[8 * epoch : 8 * epoch + 8]])
        assert found.tolist() == [row % 3 for row in rows]
    numbers, doubled = steps[11].inputs
    assert torch.equal(numbers.squeeze(1).long() * 2, doubled)
    for step in (11, 2):  # any step, in any order
        (again,) = loader(source).batches(step, step + 1)
        assert torch.equal(again.inputs[0], steps[step].inputs[0])


def test_every_row_once_in_order_for_evaluation() -> None:
    source = data()
    batches = loader(source, "validation", 10, shuffle=False, drop_last=False)
    found = [batch.inputs[0].squeeze(1) for batch in batches.batches(0, len(batches))]
    assert [len(part) for part in found] == [10, 10, 5]
    assert torch.cat(found).long().tolist() == list(source.splits["validation"])


def test_a_step_may_write_into_its_batch() -> None:
    source = data()
    batches = loader(source, shuffle=False)
    (batch,) = batches.batches(0, 1)
    batch.inputs[0].zero_()
    batch.labels.zero_()
    assert source.inputs[0].sum() == 4950
    (again,) = batches.batches(0, 1)
    assert again.inputs[0].sum() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_on_a_gpu_are_the_same(shuffle: bool) -> None:
    pairs = zip(
        loader(data(), shuffle=shuffle).batches(0, 20),
        loader(data(), shuffle=shuffle, device="cuda").batches(0, 20),
        strict=True,
    )
    for here, there in pairs:
        assert there.labels.is_cuda
        assert torch.equal(here.inputs[0], there.inputs[0].cpu())
        assert torch.equal(here.labels, there.labels.cpu())


@pytest.mark.parametrize(
    ("parts", "changes", "message"),
    [
        ({"train": 0.9, "test": 0.1}, {}, "the parts are train, test; give train, validation"),
        ({"train": 0.9, "validation": 0.2, "test": 0.1}, {}, "at most 1 together"),
        ({"train": 0.9, "validation": 0.0, "test": 0.1}, {}, "positive"),
        ({"train": 0.99, "validation": 0.001, "test": 0.009}, {}, "validation part .* 0.001: use"),
        (SHARES, {"weights_training_proportion": 0.999}, "theta part .*proportion=0.999"),
        (SHARES, {"weights_training_proportion": 1.0}, "must be between 0 and 1"),
        (SHARES, {"seed": -1}, "seed=-1 must not be negative"),
        ({**SHARES, "test": torch.tensor([100])}, {}, "from 100 to 100, but there are 100 rows"),
        ({**SHARES, "test": torch.tensor([7, 7])}, {}, "1 rows, such as row 7, .* more than once"),
        ({**SHARES, "test": torch.ones(100).bool()}, {}, "give row numbers"),
        ({**SHARES, "test": torch.tensor([], dtype=torch.int64)}, {}, "test part .* is empty: use"),
    ],
)
def test_parts_that_cannot_be(parts, changes, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        data(100, parts, **changes)


def test_lengths_that_differ() -> None:
    with pytest.raises(DataError, match="inputs of 4, 5 rows and 4 labels"):
        TensorData((torch.zeros(4, 2), torch.zeros(5)), torch.zeros(4), SHARES, spec=None)
    with pytest.raises(DataError, match="inputs of 0 rows and 4 labels"):
        TensorData((torch.tensor(1.0),), torch.zeros(4), SHARES, spec=None)


def test_batches_that_do_not_fit_name_their_flag() -> None:
    with pytest.raises(DataError, match="--my_rows=13 is more than the 12 rows of this part"):
        loader(data(), "theta", 13, flag="--my_rows")
    with pytest.raises(DataError, match="--my_rows=0: must be at least 1"):
        loader(data(), "theta", 0, flag="--my_rows")
    with pytest.raises(DataError, match="split='dev': must be one of weights, theta, train"):
        loader(data(), "dev")
    with pytest.raises(DataError, match="steps begin at 0"):
        list(loader(data()).batches(-1, 2))


def test_numpy_arrays_are_taken_and_float64_becomes_float32() -> None:
    x = np.arange(12.0).reshape(6, 2)
    whole = np.arange(6)
    reversed_view = np.arange(6, dtype=np.float32)[::-1]
    fixed = np.arange(6, dtype=np.int8)
    fixed.flags.writeable = False
    numbers = {"train": np.arange(4), "validation": np.array([4]), "test": np.array([5])}
    taken = TensorData((x, whole, reversed_view, fixed), x[:, 0], numbers, spec=None)
    types = [tensor.dtype for tensor in (*taken.inputs, taken.labels)]
    assert types == [torch.float32, torch.int64, torch.float32, torch.int8, torch.float32]
    assert taken.inputs[2].tolist() == [5, 4, 3, 2, 1, 0]
    assert list(taken.splits["train"]) == [0, 1, 2, 3]
    same = TensorData(
        (torch.from_numpy(x), torch.arange(6), torch.arange(5.0, -1.0, -1.0), torch.tensor(fixed)),
        torch.arange(0.0, 12.0, 2.0, dtype=torch.float64),
        {part: torch.from_numpy(rows) for part, rows in numbers.items()},
        spec=None,
    )
    assert same.record == taken.record


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(4), r"inputs is one Tensor of shape \(4, 2\); .* \(x,\)"),
        (
            np.zeros((4, 2)),
            torch.zeros(4),
            r"inputs is one ndarray of shape \(4, 2\); give a tuple",
        ),
        ((), torch.zeros(4), r"inputs is \(\); give a tuple of tensors"),
        ((np.array(["a", "b"]),), torch.zeros(2), r"inputs\[0\] is an array of <U1; give numbers"),
        ((torch.zeros(2, 2),), [0, 1], "labels is a list; give a tensor or a numpy array"),
    ],
)
def test_what_is_no_data(inputs, labels, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        TensorData(inputs, labels, SHARES, spec=None)


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [
        (3, float("nan"), r"inputs\[1\] has the value nan in row 3, which is in the weights part"),
        (4, float("-inf"), r"inputs\[1\] has the value -inf in row 4, which is in the theta part"),
        (6, 1e300, r"inputs\[1\] has the value inf in row 6, which is in the test part \(1 such"),
        (7, float("nan"), None),  # a row that no part has
    ],
)
def test_values_that_are_not_finite(row, value, message) -> None:  # type: ignore[no-untyped-def]
    numbers = {"weights": [0, 1, 2, 3], "theta": [4], "validation": [5], "test": [6]}
    parts = {part: torch.tensor(rows) for part, rows in numbers.items()}
    x = torch.zeros(8, 2, 3, dtype=torch.float64)
    x[row, 1, 2] = value
    if message is None:
        TensorData((torch.arange(8), x), torch.zeros(8), parts, spec=None)
        return
    with pytest.raises(DataError, match=message):
        TensorData((torch.arange(8), x), torch.zeros(8), parts, spec=None)
    with pytest.raises(DataError, match=message.replace(r"inputs\[1\]", "labels")):
        TensorData((torch.arange(8),), x, parts, spec=None)
