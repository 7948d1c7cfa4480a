"""Run every job of a tuning config: ``python tuning.py CONFIG EXPERIMENT_ID``."""

import sys

from dnas.cli.tune import main

if __name__ == "__main__":
    sys.exit(main())
