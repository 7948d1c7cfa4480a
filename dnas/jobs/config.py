"""Tuning configs: text to :class:`TuningConfig` to a list of jobs. The file is only ever read.

::

    # Comments have a line of their own.
    python train_dnas.py
    --search_space=emb_card --weights_lr={0.25, 0.5, 1.0} {--memory_map, }
    --host_gpu_id=GPU_ID_PARAM --save_metrics_param=SAVE_METRICS_PARAM
    GPU_IDS:0,1,2,3
    NUM_JOBS_PER_GPU:1
    EPOCH_EVAL_FREQ:5,5

First the command, then arguments on one or many lines, then the keys. Every brace is a dimension of
its own, also when two lists read the same, and the full product is run; :mod:`dnas.jobs.braces` has
the rules of words and braces. Tokens are filled in when a job starts; a token counts wherever it
stands between characters that are no letter, digit or underscore (``--x=TOKEN``, ``a/TOKEN.csv``):

``EXPERIMENT_ID``
    The experiment's id.
``GPU_ID_PARAM`` (or ``HOST_GPU_ID``)
    The device inside the job: 0, the one GPU it can see, or ``cpu``.
``SAVE_METRICS_PARAM``
    Path of the JSON result file that the job must write when it ends. Required.
``SAMPLED_ARCH_PARAM``
    Path of an architecture file; stands for every distinct one that the supernets sampled.
``BEST_ARCH_PARAM``
    Path of the architecture file that a final stage trains: the best one of those that the stage
    before has trained, or with ``NUM_BEST_ARCHS:n`` each of the n best.
``SUPERNET_PARAM``, ``ARCHITECTURES_PARAM``
    In a study of rank correlation: the folder of a trained supernet's job, and that of the
    architecture files to score with it.

``NUM_GPUS_PER_JOB:k`` starts the script with torchrun, a process on each of k devices, and
``NUM_CPUS_PER_JOB:n`` gives a job n threads. On a cluster, whose engine chooses devices, there is
no ``GPU_IDS``. ``EPOCH_EVAL_FREQ:max,freq`` is read, checked and kept, and does nothing more: in
this framework the validation cadence is the job's own affair (its flags), and its result file holds
every epoch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dnas.errors import ConfigError
from dnas.jobs.braces import Brace, GrammarError, Word, scan
from dnas.jobs.config_keys import eval_freq, gpu_ids, key_of, whole_number
from dnas.jobs.job import JobSpec
from dnas.jobs.setting_names import setting_names, setting_value
from dnas.jobs.tokens import (
    ARCHITECTURE_TOKENS,
    BEST_ARCH_PARAM,
    SAVE_METRICS_PARAM,
    check_tokens,
    has_token,
)
from dnas.runs import FINAL, SAMPLED, SUPERNET

#: More jobs than anybody would start on purpose; a slip of a brace list makes them quickly.
_MOST_JOBS = 100_000


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """A parsed tuning config."""

    path: str
    """Where it was read from, for messages."""
    words: tuple[Word, ...]
    """Command and arguments."""
    gpu_ids: tuple[str, ...]
    """Devices in the order given: GPU numbers, GPU UUIDs, or ``cpu`` for each CPU slot; empty if
    the config leaves them to a cluster's engine."""
    num_jobs_per_gpu: int
    """How many jobs share a device."""
    num_gpus_per_job: int
    """How many devices a job takes, one process on each; 0 for CPU jobs on a cluster."""
    num_cpus_per_job: int | None
    """Threads of a job, None to share this host's cores among the jobs that run at once."""
    key_lines: Mapping[str, int]
    """Key -> its line, for those that are given."""
    epoch_eval_freq: tuple[int, int] | None
    """``EPOCH_EVAL_FREQ`` as (max, freq); kept, not acted upon."""
    num_best_archs: int
    """How many architectures a final stage trains."""
    lines: tuple[tuple[int, str], ...]
    """(line number, text) of command and arguments, for comparing two versions of the file."""

    @property
    def num_jobs(self) -> int:
        """Size of the product of the brace lists."""
        return math.prod(len(b.alternatives) for word in self.words for b in word.braces)

    @property
    def wants_architecture(self) -> bool:
        """Whether its jobs train architectures of the run, which a token stands for."""
        return any(self.line_of(token) is not None for token in ARCHITECTURE_TOKENS.values())

    def line_of(self, token: str) -> int | None:
        """Line of the first place where ``token`` stands, None if there is none."""
        return next((line for line, text in _texts(self.words) if has_token(text, token)), None)

    @property
    def kind(self) -> str:
        """``FINAL`` for a command that trains the best architectures, ``SAMPLED`` for one that
        trains sampled ones, else ``SUPERNET``."""
        if self.line_of(BEST_ARCH_PARAM) is not None:
            return FINAL
        command = self.words[:4]
        names = [Path(text).stem for _, text in _texts(command)]
        return SAMPLED if self.wants_architecture or "train_sampled" in names else SUPERNET


def load_config(path: str | Path) -> TuningConfig:
    """Read and check a tuning config file.

    Raises:
        ConfigError: The file cannot be read or has a mistake.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot read this tuning config: {reason}") from None
    return parse_config(text, str(path))


def parse_config(text: str, path: str = "<config>") -> TuningConfig:
    """Parse the text of a tuning config; ``path`` is only for messages.

    Raises:
        ConfigError: A mistake; the message names file, line and token and says what is valid.
    """
    try:
        return _parse(text, path)
    except GrammarError as error:
        raise ConfigError(f"{path}:{error.line}: {error.message}") from None


def expand(config: TuningConfig, kind: str | None = None) -> list[JobSpec]:
    """The jobs of a config: the full product of its brace lists, the last list varying fastest.

    Args:
        config: A parsed config.
        kind: Of the jobs; by default :attr:`TuningConfig.kind`.

    Raises:
        ConfigError: A job has no ``SAVE_METRICS_PARAM``.
    """
    braces = [brace for word in config.words for brace in word.braces]
    names = setting_names(config.words)
    kind = kind or config.kind
    specs = []
    for choice in itertools.product(*(brace.alternatives for brace in braces)):
        remaining, argv = iter(choice), []
        for word in config.words:
            argv += word.choose(itertools.islice(remaining, len(word.braces)))
        values = [setting_value(b, words) for b, words in zip(braces, choice, strict=True)]
        specs.append(
            JobSpec(
                kind=kind,
                argv=tuple(argv),
                settings=tuple(zip(names, values, strict=True)),
            )
        )
    return specs


def template_hash(config: TuningConfig) -> str:
    """Hash of the job list: equal for configs that run the same jobs, whatever their layout."""
    words = [
        [
            part if isinstance(part, str) else [list(a) for a in part.alternatives]
            for part in w.parts
        ]
        for w in config.words
    ]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def _parse(text: str, path: str) -> TuningConfig:
    content = [
        (number, line)
        for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    lines: list[tuple[int, str]] = []
    keys: dict[str, tuple[int, str]] = {}
    for number, line in content:
        key = key_of(number, line)
        if key is None:
            if keys:
                raise GrammarError(
                    number,
                    f"{line.strip()[:60]!r} comes after the keys; arguments go before "
                    f"{next(iter(keys))}:",
                )
            lines.append((number, line))
            continue
        name, value = key
        if name in keys:
            raise GrammarError(
                number, f"key {name!r} is already given on line {keys[name][0]}; keep one"
            )
        keys[name] = (number, value)

    words = scan(lines)
    first_line = content[0][0] if content else 1
    if not words:
        raise GrammarError(
            first_line, "there is no command; the first line must be one, e.g. python train_dnas.py"
        )
    start = words[0].parts[0]
    if isinstance(start, Brace) or start.startswith("-"):
        shown = "{...}" if isinstance(start, Brace) else repr(start)
        raise GrammarError(
            words[0].line, f"{shown} is not a command; start with e.g. python train_dnas.py"
        )
    check_tokens(_texts(words))
    config = TuningConfig(
        path=path,
        words=tuple(words),
        gpu_ids=gpu_ids(*keys["GPU_IDS"]) if "GPU_IDS" in keys else (),
        num_jobs_per_gpu=whole_number("NUM_JOBS_PER_GPU", *keys.get("NUM_JOBS_PER_GPU", (0, "1"))),
        num_gpus_per_job=whole_number(
            "NUM_GPUS_PER_JOB", *keys.get("NUM_GPUS_PER_JOB", (0, "1")), least=0
        ),
        num_cpus_per_job=whole_number("NUM_CPUS_PER_JOB", *keys["NUM_CPUS_PER_JOB"])
        if "NUM_CPUS_PER_JOB" in keys
        else None,
        key_lines={name: line for name, (line, _) in keys.items()},
        epoch_eval_freq=eval_freq(*keys["EPOCH_EVAL_FREQ"]) if "EPOCH_EVAL_FREQ" in keys else None,
        num_best_archs=whole_number("NUM_BEST_ARCHS", *keys.get("NUM_BEST_ARCHS", (0, "1"))),
        lines=tuple(lines),
    )
    if config.num_jobs_per_gpu > 1 and config.num_gpus_per_job != 1:
        raise GrammarError(
            keys["NUM_GPUS_PER_JOB"][0],
            f"NUM_GPUS_PER_JOB:{config.num_gpus_per_job} and NUM_JOBS_PER_GPU:"
            f"{config.num_jobs_per_gpu} contradict each other: a job takes a part of a GPU or "
            "several; remove one of them",
        )
    if config.num_jobs > _MOST_JOBS:
        raise GrammarError(
            lines[0][0],
            f"the brace lists multiply to {config.num_jobs:,} jobs, more than {_MOST_JOBS:,}; "
            "shorten some of them",
        )
    _check_every_job_saves(config)
    return config


def _texts(words: tuple[Word, ...] | list[Word]) -> list[tuple[int, str]]:
    """(line, text) of every piece of text, alternatives included."""
    pieces: list[tuple[int, str]] = []
    for word in words:
        for part in word.parts:
            if isinstance(part, str):
                pieces.append((word.line, part))
            else:
                pieces += [(part.line, text) for words in part.alternatives for text in words]
    return pieces


def _check_every_job_saves(config: TuningConfig) -> None:
    if any(
        has_token(part, SAVE_METRICS_PARAM)
        for word in config.words
        for part in word.parts
        if isinstance(part, str)
    ):
        return
    for spec in expand(config):
        if not any(has_token(word, SAVE_METRICS_PARAM) for word in spec.argv):
            chosen = ", ".join(f"{n}={v}" for n, v in spec.settings)
            where = f"the job with {chosen}" if chosen else "the command"
            raise GrammarError(
                config.lines[-1][0],
                f"SAVE_METRICS_PARAM is missing from {where}; without a result file nobody knows "
                "how a job ended, so add e.g. --save_metrics_param=SAVE_METRICS_PARAM",
            )
