"""Train one sampled architecture (see --help)."""

import sys

import supernets  # noqa: F401  (registers the search spaces)
from dnas.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
