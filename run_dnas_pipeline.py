"""Search, train what was sampled, report: ``python run_dnas_pipeline.py`` runs the quick start."""

import sys

from dnas.cli.pipeline import main

if __name__ == "__main__":
    sys.exit(main())
