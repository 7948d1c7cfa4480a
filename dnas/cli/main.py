"""``dnas``: the four scripts and the reports under one name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from dnas.errors import EXIT_USER_ERROR

#: Sub-command -> its function, and what it does. Imported only when called: status and help must
#: not wait for torch.
COMMANDS = {
    "search": ("dnas.cli.search:main", "train a supernet and sample architectures"),
    "train": ("dnas.cli.train:main", "train one sampled architecture"),
    "tune": ("dnas.cli.tune:main", "run all jobs of one tuning config"),
    "pipeline": ("dnas.cli.pipeline:main", "search, train, report"),
    "rank": ("dnas.cli.rank:main", "how well supernets order random subnets: a study"),
    "draw": ("dnas.cli.draw:main", "draw random subnets of a search space"),
    "score": ("dnas.cli.score:main", "score subnets in a trained supernet"),
    "status": ("dnas.cli.status:main", "where a run stands"),
    "cancel": ("dnas.cli.ask:cancel", "end jobs of a run"),
    "retry": ("dnas.cli.ask:retry", "queue jobs of a run again that failed"),
    "logs": ("dnas.cli.logs:main", "print a job's log"),
    "profile": ("dnas.cli.profile:main", "measure what the operators of a search space take"),
    "cost": ("dnas.cli.cost:main", "what an architecture file costs"),
    "architectures": (
        "dnas.cli.architectures:main",
        "write architecture files without a search: random or given ones",
    ),
    "report": ("dnas.cli.report:main", "tables and pictures of a run, finished or not"),
    "autoctr": ("dnas.cli.autoctr:main", "write the text files that AutoCTR and NASRec train on"),
}

#: Sub-command -> the script that does the same; its function is told under which name it is called.
SCRIPTS = {
    "search": "train_dnas.py",
    "train": "train_sampled.py",
    "tune": "tuning.py",
    "pipeline": "run_dnas_pipeline.py",
    "draw": "draw_subnets.py",
    "score": "score_subnets.py",
}


def usage() -> str:
    """The help text."""
    lines = [
        f"  {name:13} {text}" + (f" ({SCRIPTS[name]})" if name in SCRIPTS else "")
        for name, (_, text) in COMMANDS.items()
    ]
    return (
        "usage: dnas COMMAND ...\n\n" + "\n".join(lines) + "\n\ndnas COMMAND --help tells more.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the console script."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0 if words else EXIT_USER_ERROR
    if words[0] not in COMMANDS:
        sys.stderr.write(f"error: unknown command {words[0]!r}\n{usage()}")
        return EXIT_USER_ERROR
    module, _, name = COMMANDS[words[0]][0].partition(":")
    function = getattr(importlib.import_module(module), name)
    called = {"program": f"dnas {words[0]}"} if words[0] in SCRIPTS else {}
    return int(function(words[1:], **called))


if __name__ == "__main__":
    sys.exit(main())
