"""What every training script does around its work: logging, device, stopping, the result file."""

from __future__ import annotations

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
from dnas.files import write_json
from dnas.runs import JobFolder
from dnas.spaces import Prepared

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobFlags:
    """Flags that the training manager fills in."""

    experiment_id: str = "experiment"
    """Name of the run in logs and results."""
    host_gpu_id: str = "auto"
    """GPU number, cpu, or auto (the first GPU if there is one)."""
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
        if self.host_gpu_id == "auto":
            return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        if not self.host_gpu_id.isdigit():
            raise ConfigError(
                f"--host_gpu_id: {self.host_gpu_id!r} is not a GPU number, cpu or auto"
            )
        if int(self.host_gpu_id) >= torch.cuda.device_count():
            raise ConfigError(
                f"--host_gpu_id {self.host_gpu_id}: torch {torch.__version__} sees "
                f"{torch.cuda.device_count()} GPUs; use --host_gpu_id cpu to run without"
            )
        return torch.device(f"cuda:{self.host_gpu_id}")


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
    """One line for each message on standard error."""
    logging.basicConfig(
        level=os.environ.get("DNAS_LOG", "INFO"),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


def run_job(
    flags: JobFlags,
    kind: str,
    settings: dict[str, Any],
    work: Callable[[StopRequest], dict[str, Any]],
) -> int:
    """Do ``work`` and write the result file, whatever comes of it.

    Args:
        flags: Where the result goes.
        kind: ``"supernet"`` or ``"sampled"``.
        settings: All flags; saved beside the result.
        work: Gets the stop request, gives the result's fields.

    Returns:
        The exit code.
    """
    set_up_logging()
    stop = StopRequest()
    stop.install()
    started = time.monotonic()
    folder = flags.folder()
    folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.config, settings)
    common = {
        "kind": kind,
        "experiment_id": flags.experiment_id,
        "settings": settings,
        "versions": versions(),
    }

    def finish(status: str, code: int, **fields: Any) -> int:
        write_json(
            flags.save_metrics_param,
            {
                "status": status,
                "error": None,
                "seconds": round(time.monotonic() - started, 3),
                "peak_memory_bytes": peak_memory_bytes(),
                **common,
                **fields,
            },
        )
        return code

    def failure(error: BaseException, *, trace: bool) -> dict[str, Any]:
        text = traceback.format_exc() if trace else None
        return {"type": type(error).__name__, "message": str(error), "traceback": text}

    try:
        fields = work(stop)
    except Preempted as error:
        logger.warning("%s; run the same command to go on", error)
        return finish("preempted", EXIT_PREEMPTED, error=failure(error, trace=False))
    except DivergenceError as error:
        logger.error("%s", error)
        return finish(
            "diverged",
            EXIT_DIVERGED,
            error={
                **failure(error, trace=False),
                "step": error.step,
                "last_good": {k: v for k, v in error.last_good.items() if v == v},
            },
        )
    except DnasError as error:
        sys.stderr.write(f"error: {error}\n")
        return finish("failed", EXIT_USER_ERROR, error=failure(error, trace=False))
    except Exception as error:
        traceback.print_exc()
        status, code = (
            ("out_of_memory", EXIT_OUT_OF_MEMORY)
            if is_out_of_memory(error)
            else ("failed", EXIT_CRASH)
        )
        return finish(status, code, error=failure(error, trace=True))
    return finish("succeeded", 0, **fields)


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
