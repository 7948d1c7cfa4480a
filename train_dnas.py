"""Search: train a supernet and sample architectures (see --help)."""

import sys

import supernets  # noqa: F401  (registers the search spaces)
from dnas.cli.search import main

if __name__ == "__main__":
    sys.exit(main())
