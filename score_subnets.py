"""Score architectures with the weights of a trained supernet (see --help)."""

import sys

import supernets  # noqa: F401  (registers the search spaces)
from dnas.cli.score import main

if __name__ == "__main__":
    sys.exit(main())
