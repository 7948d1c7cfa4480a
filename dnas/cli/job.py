"""What every training script does around its work: logging, device, stopping, the result file.

A job is one process, or several that torchrun has started. Its files are those of the main process.
Only where another process fails first, and takes the main one with it, that one says so in the
result file: a rank that finds the others gone leaves a result that is there already alone.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from dnas.data.loader import Loader
from dnas.errors import (
    EXIT_CRASH,
    EXIT_DIVERGED,
    EXIT_OUT_OF_MEMORY,
    EXIT_PREEMPTED,
    EXIT_USER_ERROR,
    ConfigError,
    DivergenceError,
    DnasError,
    Preempted,
)
from dnas.files import remove_temporary_files, write_json
from dnas.runs import JobFolder
from dnas.spaces import Prepared
from dnas.training.allocator import keep_freed_memory
from dnas.training.distributed import joined, launched
from dnas.training.world import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobFlags:
    """Flags that the training manager fills in."""

    experiment_id: str = "experiment"
    """Name of the run in logs and results."""
    host_gpu_id: str = "auto"
    """GPU number, cpu, or auto (the first GPU if there is one). The processes of a data-parallel
    job take a GPU each, counted from 0, unless this is cpu."""
    save_metrics_param: str = "result.json"
    """Result file to write at the end; the job's other files go into its folder."""
    seed: int = 1
    """Of initialisation, data order and sampling."""

    def folder(self) -> JobFolder:
        """The job's folder."""
        return JobFolder(Path(self.save_metrics_param).resolve().parent)

    def device(self) -> torch.device:
        """The device that ``host_gpu_id`` means.

        Raises:
            ConfigError: Not a GPU number, or there is no such GPU.
        """
        if self.host_gpu_id == "cpu":
            return torch.device("cpu")
        if self.host_gpu_id == "auto" and not torch.cuda.is_available():
            return torch.device("cpu")
        if self.host_gpu_id != "auto" and not self.host_gpu_id.isdigit():
            raise ConfigError(
                f"--host_gpu_id: {self.host_gpu_id!r} is not a GPU number, cpu or auto"
            )
        _, size, local_rank = launched()
        found = torch.cuda.device_count()
        if size > 1:
            # Asked by every process alike: one that went on would wait for the others in vain.
            if found < size:
                raise ConfigError(
                    f"--host_gpu_id {self.host_gpu_id}: torch {torch.__version__} sees {found} "
                    f"GPUs for {size} processes; start fewer, or use --host_gpu_id cpu"
                )
            return torch.device(f"cuda:{local_rank}")
        number = 0 if self.host_gpu_id == "auto" else int(self.host_gpu_id)
        if number >= found:
            raise ConfigError(
                f"--host_gpu_id {self.host_gpu_id}: torch {torch.__version__} sees {found} GPUs; "
                "use --host_gpu_id cpu to run without"
            )
        return torch.device(f"cuda:{number}")


class StopRequest:
    """Set by SIGTERM, SIGUSR1 or Ctrl-C; asked by training loops before every step.

    A second Ctrl-C ends the program at once.
    """

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Catch the signals."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def __call__(self) -> bool:
        return self.requested


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is exhaustion of device or host memory, and nothing else.

    NotImplementedError is a RuntimeError too; torch's host allocator gives no type of its own, so
    its message decides.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return type(error) is RuntimeError and "DefaultCPUAllocator: can't allocate memory" in str(
        error
    )


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("dnas", "torch", "numpy", "polars"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def set_up_logging() -> None:
    """One line for each message on standard error; only warnings if not of the main process."""
    rank, size, _ = launched()
    shown = f" [rank {rank}]" if size > 1 else ""
    logging.basicConfig(
        level=os.environ.get("DNAS_LOG", "INFO") if rank == 0 else "WARNING",
        format=f"%(asctime)s{shown} %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


def run_job(
    flags: JobFlags,
    kind: str,
    settings: dict[str, Any],
    work: Callable[[StopRequest, World], dict[str, Any]],
) -> int:
    """Do ``work`` and write the result file, whatever comes of it.

    Args:
        flags: Where the result goes.
        kind: ``"supernet"`` or ``"sampled"``.
        settings: All flags; saved beside the result.
        work: Gets the stop request and the processes of the job, gives the result's fields.

    Returns:
        The exit code.
    """
    set_up_logging()
    keep_freed_memory()
    stop = StopRequest()
    stop.install()
    started = time.monotonic()
    rank, size, _ = launched()
    result = Path(flags.save_metrics_param)

    def finish(status: str, code: int, **fields: Any) -> int:
        content = {
            "status": status,
            "error": None,
            "seconds": round(time.monotonic() - started, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            "kind": kind,
            "experiment_id": flags.experiment_id,
            "processes": size,
            "settings": settings,
            "versions": versions(),
            **fields,
        }
        try:
            write_json(result, content)
        except OSError as error:
            sys.stderr.write(f"error: {result}: the result ({status}) is not written: {error}\n")
            return code or EXIT_CRASH
        return code

    def failed(error: BaseException, status: str, code: int, **fields: Any) -> int:
        if size > 1 and (result.exists() or (rank and isinstance(error, Preempted))):
            return code
        trace = None if isinstance(error, DnasError) else traceback.format_exc()
        what: dict[str, Any] = {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": trace,
        }
        if isinstance(error, DivergenceError):
            what["step"] = error.step
            what["last_good"] = {k: v for k, v in error.last_good.items() if v == v}
        if size > 1:
            what["rank"] = rank
        return finish(status, code, error=what, **fields)

    try:
        if rank == 0:
            _prepare_folder(flags.folder(), result, settings)
        with joined(flags.device()) as world:
            fields = work(stop, world)
    except Preempted as error:
        logger.warning("%s; run the same command to go on", error)
        return failed(error, "preempted", EXIT_PREEMPTED)
    except DivergenceError as error:
        logger.error("%s", error)
        return failed(error, "diverged", EXIT_DIVERGED)
    except DnasError as error:
        sys.stderr.write(f"error: {error}\n")
        return failed(error, "failed", EXIT_USER_ERROR, user_error=True)
    except Exception as error:
        traceback.print_exc()
        if is_out_of_memory(error):
            return failed(error, "out_of_memory", EXIT_OUT_OF_MEMORY)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.stderr.write(
                f"error: {error}; make room and run the same command to go on: the last "
                "checkpoint is whole\n"
            )
        return failed(error, "failed", EXIT_CRASH)
    return finish("succeeded", 0, **fields) if rank == 0 else 0


def _prepare_folder(folder: JobFolder, result: Path, settings: dict[str, Any]) -> None:
    """Leave nothing of an earlier attempt that could be taken for this one's."""
    folder.path.mkdir(parents=True, exist_ok=True)
    result.unlink(missing_ok=True)
    # Other files of the folder are the training manager's, who may be writing them just now.
    own = (
        folder.config,
        folder.metrics,
        folder.candidates,
        folder.scores,
        folder.checkpoint,
        folder.progress,
        folder.theta,
        folder.model,
        folder.supernet_weights,
        folder.path / result.name,
    )
    remove_temporary_files(folder.path, of=own)
    remove_temporary_files(folder.architectures)
    write_json(folder.config, settings)


def evaluation_loader(data: Prepared, split: str, batch_size: int, device: torch.device) -> Loader:
    """Every row of ``split`` once, in its order."""
    return data.loader(
        split,
        batch_size,
        shuffle=False,
        seed=0,
        drop_last=False,
        device=device,
        flag="--eval_batch_size",
    )


def peak_memory_bytes() -> int:
    """Most memory used so far: of the GPU if one was used, else resident on the host."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        return torch.cuda.max_memory_allocated()
    # Linux counts ru_maxrss in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
