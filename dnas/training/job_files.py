"""The files that a training loop keeps in its job's folder while it runs.

Two states of a job are on the disk and no more: the last one in ``checkpoint.pt``, from which
training goes on, and the best one, of which stand-alone training keeps the weights in
``model.safetensors``. Each replaces its predecessor in one rename.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from dnas.files import append_json_line, keep_json_lines
from dnas.runs import JobFolder
from dnas.training.checkpoint import (
    DamagedFileError,
    check_fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from dnas.training.progress import Progress
from dnas.training.world import World

logger = logging.getLogger(__name__)


class JobFiles:
    """Metrics, checkpoint and progress of a job; only the main process of a world writes them.

    Args:
        folder: The job's folder, None to keep nothing.
        world: The processes that train.
        fingerprint: Settings that a checkpoint must agree on to be resumed.
    """

    def __init__(
        self, folder: JobFolder | None, world: World, fingerprint: Mapping[str, Any]
    ) -> None:
        self.folder = folder
        self.world = world
        self.fingerprint = dict(fingerprint)
        #: The folder for writing: None also in all processes but the main one.
        self.own = folder if world.is_main else None

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        if self.own is not None:
            self.own.path.mkdir(parents=True, exist_ok=True)
            append_json_line(self.own.metrics, line)

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines of steps after ``step``, which will be done again, and damaged ones."""
        if self.own is not None:
            keep_json_lines(
                self.own.metrics,
                lambda line: isinstance(line, dict) and line.get("step", 0) <= step,
            )

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.own is not None:
            save_checkpoint(self.own.checkpoint, {"fingerprint": self.fingerprint, **state})

    def load(self) -> dict[str, Any] | None:
        """The checkpoint's state, None to start from the beginning.

        A damaged checkpoint is set aside: seeds decide everything, so that the beginning leads to
        the same end.

        Raises:
            JobError: It was made under other settings.
        """
        if self.folder is None or not self.folder.checkpoint.exists():
            return None
        path = self.folder.checkpoint
        try:
            state = load_checkpoint(path)
            if not isinstance(state.get("fingerprint"), dict):
                raise DamagedFileError(f"{path}: not a readable checkpoint (no fingerprint)")
        except DamagedFileError as error:
            self.set_aside_checkpoint(str(error))
            return None
        check_fingerprint(path, state["fingerprint"], self.fingerprint)
        return state

    def set_aside_checkpoint(self, reason: str) -> None:
        """Rename the checkpoint, so that training starts from the beginning; say why."""
        if self.own is None:
            return
        path = self.own.checkpoint
        aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
        os.replace(path, aside)
        logger.warning(
            "%s: starting from the beginning; the checkpoint is now %s", reason, aside.name
        )

    def progress(self, title: str, total: int, done: int) -> Progress:
        """Progress of the job, shown and written by the main process."""
        file = None if self.own is None else self.own.progress
        return Progress(title, total, done, file=file, quiet=not self.world.is_main)
