"""Data-parallel training: several processes, each with its rows of every global batch.

A job that ``torchrun`` started (``python -m torch.distributed.run --standalone --nproc-per-node k
train_dnas.py ...``) trains on k processes, over gloo on CPUs and nccl on GPUs. Batch sizes remain
those of the whole job, and so do all numbers: losses, theta and metrics are those of one process
but for rounding.

The variant implemented is synchronous gradient averaging after the backward pass. Let rank r hold
n_r of the N rows. The loss of the whole batch is ``sum_r n_r / N * mean_r``; its value is
all-reduced, so that penalties and the monitor see the same number everywhere, and its backward pass
scales rank r's gradient by ``n_r / N``. Then gradients are *summed* over the ranks: dense ones in
flat buffers, sparse ones by gathering their coalesced rows. Everything after that (clipping,
optimizers, dual ascent) computes the same bits on every rank, so that there is no other state to
exchange.

``DistributedDataParallel`` does not suit:

* it fixes the set of trained parameters when it is made, and a search changes it with every phase;
* nccl has no sparse all-reduce, and embedding gradients made dense would cost what the tables hold;
* it divides by the number of ranks, which is wrong when the last batch does not divide evenly;
* the cost in a search's loss is the same on every rank and must count once, not once a rank.

What it would add, overlapping communication with the backward pass, is worth little here: the dense
parameters of a recommender are few, and its sparse gradients are known only at the end.

Layers that draw random numbers (dropout) draw others on each rank: such a model trains as well, but
not to the numbers of one process. Batch normalisation needs the statistics of all ranks and is
refused, except as ``torch.nn.SyncBatchNorm``. The nccl path has not been run by the tests, which
have no machine with several GPUs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dnas.errors import ConfigError
from dnas.models.look_up import coalesce_gradient
from dnas.training.seeding import derive_seed
from dnas.training.world import Share, World, bounds

#: A rank that waits for the others so long gives up: one of them hangs.
TIMEOUT = timedelta(minutes=30)
#: Dense gradients are exchanged in flat buffers of up to so many elements.
BUCKET_ELEMENTS = 1 << 23

_NONE, _DENSE = -2, -1  # codes of gradients; a sparse one is coded by its number of rows
_PR_SET_PDEATHSIG = 1


class LostRankError(RuntimeError):
    """Another process of this job has ended, or hangs."""


def launched() -> tuple[int, int, int]:
    """Rank, number of processes and rank on this host, as torchrun says; (0, 1, 0) without it."""
    names = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    rank, size, local_rank = (int(os.environ.get(name, default)) for name, default in names.items())
    return (rank, size, local_rank) if "LOCAL_RANK" in os.environ else (0, 1, 0)


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """The world that torchrun made, or that of this process alone.

    Args:
        device: Where this process trains.
    """
    if launched()[1] == 1:
        yield World()
        return
    _die_with_the_launcher()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Gloo too beside nccl: flags and counts are on the host, and asking a GPU would mean waiting
    # for it.
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
    dist.init_process_group(backend, timeout=TIMEOUT)
    yield Ranks()
    # Not after an error: the others may be gone, and this process ends anyhow.
    dist.destroy_process_group()


class Ranks(World):
    """The processes of the default process group."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def mean(self, loss: Tensor, share: Share) -> Tensor:
        with _together("the loss"):
            mean: Tensor = _Mean.apply(loss, share.weight)
        return mean

    def alike(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: _Alike.apply(value, self.size) for name, value in values.items()}

    def sync_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        with _together("the gradients"):
            codes = self._codes(parameters)  # (size, parameters)
            kinds = codes.amax(dim=0).tolist()
            dense = [p for p, kind in zip(parameters, kinds, strict=True) if kind == _DENSE]
            for bucket in _buckets(dense):
                _sum_dense(bucket)
            for position, kind in enumerate(kinds):
                if kind > _DENSE:
                    counts = codes[:, position].clamp_min(0).tolist()
                    _sum_sparse(parameters[position], counts)

    def _codes(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """``(size, parameters)``: which kind of gradient each rank has, and how many rows."""
        codes = []
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is not None and gradient.is_sparse:
                codes.append(coalesce_gradient(parameter)._nnz())
            else:
                codes.append(_NONE if gradient is None else _DENSE)
        return torch.stack(_all_gather(torch.tensor(codes), self.size))

    def gather(self, outputs: Tensor, share: Share) -> Tensor:
        edges = bounds(share.total, self.size)
        counts = [stop - start for start, stop in pairwise(edges)]
        with _together("the outputs"):
            return torch.cat(_all_gather_rows(outputs[: counts[self.rank]], counts))

    def any(self, flag: bool) -> bool:
        flags = torch.tensor(int(flag))
        with _together("the stop flag"):
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def wait(self) -> None:
        self.any(False)

    def begin(self, module: nn.Module, step: int) -> None:
        for name, child in module.named_modules():
            normalises = isinstance(child, nn.modules.batchnorm._BatchNorm)
            if normalises and not isinstance(child, nn.SyncBatchNorm):
                raise ConfigError(
                    f"{name or 'the model'} is a {type(child).__name__}, whose statistics would be "
                    "those of one process's rows: use nn.SyncBatchNorm, or train in one process"
                )
        with _together("the initial weights"):
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, src=0)
        if self.rank:
            # Masks of dropout on different rows must differ. The main process goes on with its own
            # generator, the state of which is in the checkpoint.
            torch.manual_seed(derive_seed(torch.initial_seed(), "rank", self.rank, step))


class _Mean(torch.autograd.Function):
    """Weighted sum over the ranks; the gradient goes to each by its weight."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        total = loss.detach() * weight
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.weight, None


class _Alike(torch.autograd.Function):
    """The same value; of its gradient, which is the same on every rank too, an equal part."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, size: int) -> Tensor:
        ctx.size = size
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] / ctx.size, None


def merge_rows(rows: Sequence[Tensor], values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The sum of sparse gradients, each of which has a row at most once.

    They are added one after the other, so that the sum has the same bits on every rank and device.

    Args:
        rows: For each gradient ``(n_r,)`` row numbers.
        values: For each gradient ``(n_r, ...)`` their values.

    Returns:
        Ascending row numbers ``(n,)`` and their values ``(n, ...)``.
    """
    union, positions = torch.unique(torch.cat(list(rows)), return_inverse=True)
    total = values[0].new_zeros((len(union), *values[0].shape[1:]))
    for position, part in zip(positions.split([len(v) for v in values]), values, strict=True):
        total.index_add_(0, position, part)
    return union, total


def _sum_sparse(parameter: nn.Parameter, counts: Sequence[int]) -> None:
    """Sum a sparse gradient of rows of a table over the ranks, which have ``counts`` rows."""
    gradient = parameter.grad
    if gradient is None:
        rows = torch.empty(0, dtype=torch.int64, device=parameter.device)
        values = parameter.new_empty((0, *parameter.shape[1:]))
    else:
        rows, values = gradient._indices()[0], gradient._values()
    union, total = merge_rows(_all_gather_rows(rows, counts), _all_gather_rows(values, counts))
    parameter.grad = torch.sparse_coo_tensor(
        union.unsqueeze(0), total, parameter.shape, is_coalesced=True, check_invariants=False
    )


def _sum_dense(parameters: Sequence[nn.Parameter]) -> None:
    """Sum dense gradients of one dtype over the ranks; None counts as zero."""
    gradients = [
        (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters
    ]
    flat = torch.cat(gradients)
    dist.all_reduce(flat)
    for parameter, part in zip(parameters, flat.split([g.numel() for g in gradients]), strict=True):
        parameter.grad = part.view_as(parameter)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Runs of parameters of one dtype with up to ``BUCKET_ELEMENTS`` elements, or a single one."""
    bucket: list[nn.Parameter] = []
    room = BUCKET_ELEMENTS
    for parameter in parameters:
        room -= parameter.numel()
        if bucket and (room < 0 or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, room = [], BUCKET_ELEMENTS - parameter.numel()
        bucket.append(parameter)
    if bucket:
        yield bucket


def _all_gather(tensor: Tensor, size: int) -> list[Tensor]:
    """The tensors of all ranks, which have the same shape."""
    found = [torch.empty_like(tensor) for _ in range(size)]
    dist.all_gather(found, tensor.contiguous())
    return found


def _all_gather_rows(tensor: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The tensors of all ranks, which differ in their number of rows and are padded meanwhile."""
    padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    return [
        part[:count] for part, count in zip(_all_gather(padded, len(counts)), counts, strict=True)
    ]


@contextmanager
def _together(what: str) -> Iterator[None]:
    """Say what was going on when another rank got lost."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise
        raise LostRankError(
            f"rank {dist.get_rank()} of {dist.get_world_size()} waited for {what} of all ranks, "
            f"but another one has ended or hangs; see its lines in the log ({error})"
        ) from error


def _die_with_the_launcher() -> None:
    """Have the kernel kill this process when torchrun dies.

    torchrun gives its workers sessions of their own. Killed itself, it would leave them behind,
    and they would go on to write into a folder that the next attempt uses.
    """
    if sys.platform != "linux":
        return
    launcher = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:
        os.kill(os.getpid(), signal.SIGKILL)
