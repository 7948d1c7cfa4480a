"""``dnas autoctr``: raw files to the text files that AutoCTR and NASRec train on."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dnas.cli.run import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files of one data set; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="dnas autoctr",
        description="Write train.txt, val.txt and test.txt of a data set as the scripts released "
        "with AutoCTR and NASRec do, and print the MD5 of each beside the published one. Training "
        "with this framework needs none of them: see --split=autoctr of the training scripts.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data_set", required=True, choices=("criteo_kaggle", "avazu", "kdd2012_track2")
    )
    parser.add_argument("--raw_data", required=True, help="train.txt, train.csv or training.txt")
    parser.add_argument("--user_profile", help="userid_profile.txt of kdd2012_track2")
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    parser.add_argument("--trainval", action="store_true", help="write trainval.txt, too")
    parser.add_argument(
        "--released_off_by_one",
        action="store_true",
        help="with the mistake of the released scripts for criteo_kaggle and kdd2012_track2, which "
        "the published MD5s have: the first row is lost, every other one goes where the row before "
        "it belongs",
    )
    options = parser.parse_args(argv)
    return guarded(lambda: _write(options))


def _write(options: argparse.Namespace) -> int:
    # Here, so that `dnas --help` does not wait for polars and torch.
    from dnas.data import DataConfig
    from dnas.data.autoctr_files import PUBLISHED_MD5, write_autoctr_files
    from dnas.data.file_source import FileSource
    from dnas.data.prepare import make_source

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    config = DataConfig(
        data_set=options.data_set,
        raw_data=options.raw_data,
        user_profile=options.user_profile,
        split="autoctr",
        released_off_by_one=options.released_off_by_one,
    )
    source, _ = make_source(config)
    assert isinstance(source, FileSource)
    written = write_autoctr_files(
        source, options.out, off_by_one=options.released_off_by_one, trainval=options.trainval
    )
    for name, (rows, md5) in written.items():
        published = PUBLISHED_MD5[options.data_set][name]
        verdict = "as published" if md5 == published else f"published: {published}"
        sys.stdout.write(f"{options.out / name}  {rows:,} rows  md5 {md5}  ({verdict})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
