"""Draw random subnets of a search space (see --help)."""

import sys

import supernets  # noqa: F401  (registers the search spaces)
from dnas.cli.draw import main

if __name__ == "__main__":
    sys.exit(main())
