"""The text files of AutoCTR and NASRec: rows as the rules say, by hand, and the command."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dnas.cli import main as console
from dnas.data import autoctr_files, folds
from dnas.data.autoctr_files import hexadecimal_fields
from dnas.data.folds import stratified_folds
from tests.data.nasrec_files import (
    avazu_line,
    avazu_text,
    kdd_line,
    kdd_text,
    write_avazu,
)
from tests.data.raw_rows import criteo_line, write_lines

NAMES = ("train.txt", "val.txt", "test.txt")


def run(folder: Path, data_set: str, raw: Path, *flags: str) -> int:
    return console.main(
        ["autoctr", f"--data_set={data_set}", f"--raw_data={raw}", f"--out={folder}", *flags]
    )


def expected(lines: list[str], fold: list[int]) -> dict[str, str]:
    """The content of the files; a fold of -1 is none."""
    parts = {"train.txt": range(8), "val.txt": [8], "test.txt": [9]}
    return {
        name: "".join(line for line, f in zip(lines, fold, strict=True) if f in chosen)
        for name, chosen in parts.items()
    }


def content(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in NAMES}


def test_the_first_row_of_avazu_by_hand() -> None:
    keys = np.array([[0x07, 0x0D72E54, 2147483646], [0, 1, 0x1FBE01FE]], dtype=np.uint64)
    assert hexadecimal_fields(keys).to_list() == [
        "00000007\t00d72e54\t7ffffffe\n",
        "00000000\t00000001\t1fbe01fe\n",
    ]
    assert avazu_text(avazu_line("1")).split("\t")[:5] == [
        "1", "-1", "00000007", "00d72e54", "000003ed"
    ]  # fmt: skip


def test_criteo_lines_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lines = [criteo_line(str(i % 2), [i, "", -3], [f"{i:08x}", ""]) for i in range(43)]
    path = write_lines(tmp_path / "train.txt", lines)
    assert run(tmp_path / "out", "criteo_kaggle", path, "--trainval") == 0
    texts = ["\t".join(line) + "\n" for line in lines]
    fold = stratified_folds(np.arange(43) % 2).tolist()
    files = expected(texts, fold)
    assert content(tmp_path / "out") == files
    trainval = (tmp_path / "out" / "trainval.txt").read_text()
    assert trainval == files["train.txt"] + files["val.txt"]
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0].rsplit("/")[-1] for line in out] == [*NAMES, "trainval.txt"]
    for line, text in zip(out, [*files.values(), trainval], strict=True):
        assert hashlib.md5(text.encode()).hexdigest() in line
        assert f" {text.count(chr(10))} rows" in line
    assert "published: 4b8757a78fdb260f6ae9b72e05dca400" in out[0]
    assert not list(tmp_path.glob(".*")), "a temporary folder is left"


def test_off_by_one_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script numbers the labels from the first line, the rows from the second."""
    fold = np.array([8, 0, 9, 8, 3, 9, 5], dtype=np.uint8)
    monkeypatch.setattr(folds, "stratified_folds", lambda labels: fold)
    lines = [criteo_line("0", [i]) for i in range(7)]
    path = write_lines(tmp_path / "train.txt", lines)
    assert run(tmp_path / "right", "criteo_kaggle", path) == 0
    assert run(tmp_path / "wrong", "criteo_kaggle", path, "--released_off_by_one") == 0

    def rows(folder: str) -> list[list[int]]:
        files = content(tmp_path / folder).values()
        return [[int(line.split("\t")[1]) for line in text.splitlines()] for text in files]

    assert rows("right") == [[1, 4, 6], [0, 3], [2, 5]]
    assert rows("wrong") == [[2, 5], [1, 4], [3, 6]]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_avazu(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoctr_files, "_CHUNK_BYTES", 7)
    lines = [
        avazu_line(str(int(i % 4 == 1)), str(10**18 * (i % 19) + i), device_ip=f"{i * 977:08x}")
        for i in range(60)
    ]
    path = write_avazu(tmp_path / "train.csv", lines)
    path.write_bytes(path.read_bytes().replace(b"\n", ending.encode())[: -len(ending)])
    assert run(tmp_path / "out", "avazu", path) == 0
    fold = stratified_folds(np.arange(60) % 4 == 1).tolist()
    assert content(tmp_path / "out") == expected([avazu_text(line) for line in lines], fold)
    assert not (tmp_path / "out" / "trainval.txt").exists()


@pytest.mark.parametrize("off_by_one", [False, True])
def test_kdd_from_two_files(tmp_path: Path, off_by_one: bool) -> None:
    lines = [kdd_line(i % 3, i % 4, url=str(2**63 + i)) for i in range(50)]
    write_lines(tmp_path / "a_1.txt", lines[:20])
    write_lines(tmp_path / "a_2.txt", lines[20:])
    users = write_lines(tmp_path / "users.txt", ["1\t2\t5", "3\t1\t6"])
    flags = [f"--user_profile={users}", *(["--released_off_by_one"] if off_by_one else [])]
    assert run(tmp_path / "out", "kdd2012_track2", tmp_path / "a_*.txt", *flags) == 0
    profile = {1: ("2", "5"), 3: ("1", "6")}
    texts = [kdd_text(line, *profile.get(i % 4, ())) for i, line in enumerate(lines)]
    fold = stratified_folds(np.arange(50) % 3 > 0).tolist()
    if off_by_one:
        fold = [-1, *fold[:-1]]
    assert content(tmp_path / "out") == expected(texts, fold)


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good = [criteo_line("01"[i % 2]) for i in range(30)]
    path = write_lines(tmp_path / "train.txt", good)

    def refused(message: str, data_set: str, raw: Path, *flags: str, out: str = "out") -> None:
        assert run(tmp_path / out, data_set, raw, *flags) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "--on_bad_row" not in error, "the command has no such flag"
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".*"))

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "train.txt").write_text("precious")
    refused("not an empty folder", "criteo_kaggle", path, out="full")
    assert (tmp_path / "full" / "train.txt").read_text() == "precious"
    avazu = write_avazu(tmp_path / "a.csv", [avazu_line() for _ in range(30)])
    refused("--released_off_by_one: the released", "avazu", avazu, "--released_off_by_one")
    refused("needs --user_profile", "kdd2012_track2", path)
    short = write_lines(tmp_path / "short.txt", good[:8])
    refused("8 rows are too few: val.txt has none", "criteo_kaggle", short)
    bad = write_lines(tmp_path / "bad.txt", [*good, criteo_line("2")])
    refused("bad.txt:31: label", "criteo_kaggle", bad)
    empty = write_avazu(tmp_path / "b.csv", [avazu_line(), avazu_line(hour="")] * 20)
    refused("b.csv:3: column hour is empty", "avazu", empty)
    odd = write_avazu(tmp_path / "c.csv", [*[avazu_line()] * 20, avazu_line(C14="zz")])
    refused("c.csv:22: column C14 is 'zz'", "avazu", odd)
    refused("only text", "avazu", write_lines(tmp_path / "a.parquet", ["x"]))
    blocked = write_lines(tmp_path / "file", ["x"]) / "out"
    assert run(blocked, "criteo_kaggle", path) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [25, 35])
def test_a_file_that_changes_is_refused(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = write_lines(tmp_path / "train.txt", [criteo_line("01"[i % 2]) for i in range(30)])
    monkeypatch.setattr(autoctr_files, "_read_labels", lambda source: np.arange(rows) % 2)
    assert run(tmp_path / "out", "criteo_kaggle", path) == 2
    assert "a raw file changed while it was read" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["train.txt"]


def test_a_folder_that_is_empty_is_taken(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.txt", [criteo_line("01"[i % 2]) for i in range(30)])
    (tmp_path / "out").mkdir()
    assert run(tmp_path / "out", "criteo_kaggle", path) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(NAMES)
