"""Files that are whole or absent, and what a crash may have left of them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from dnas.errors import DnasError
from dnas.files import (
    append_json_line,
    keep_json_lines,
    read_json,
    read_json_lines,
    remove_temporary_files,
    replacing,
    write_json,
)


def interrupted(path: Path, error: BaseException) -> None:
    """A write to ``path`` that ends with ``error``, which notes the temporary file's name."""
    with replacing(path) as temporary:
        temporary.write_text("half")
        error.add_note(temporary.name)
        raise error


def test_a_failed_write_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.json'"):
        interrupted(path, error)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert json.loads(path.read_text()) == 1


def test_only_temporary_files_are_removed(tmp_path):
    made = []
    for name in ("checkpoint.pt", "a.b.json", "plain"):
        with pytest.raises(KeyboardInterrupt) as caught:
            interrupted(tmp_path / name, KeyboardInterrupt())
        made += caught.value.__notes__
    kept = {
        "checkpoint.pt", ".hidden", ".a.0123456.tmp.pt", ".a.0123abcz.tmp.pt", "a.0123abcd.tmp.pt",
        ".a.0123abcd.tmp.pt.gz", ".a.0123abcd.temp.pt", "..0123abcd.tmp.pt",
    }  # fmt: skip
    for name in (*made, *kept):
        (tmp_path / name).touch()
    assert {p.name for p in remove_temporary_files(tmp_path)} == set(made)
    assert {p.name for p in tmp_path.iterdir()} == kept
    assert remove_temporary_files(tmp_path / "nowhere") == []


def test_temporary_files_of_other_files_may_be_left_alone(tmp_path):
    mine, other = tmp_path / ".a.0123abcd.tmp.json", tmp_path / ".b.0123abcd.tmp.json"
    mine.touch()
    other.touch()
    assert remove_temporary_files(tmp_path, of=[tmp_path / "a.json"]) == [mine]
    assert other.exists()


def test_temporary_files_of_safetensors_are_those_of_model_files(tmp_path):
    left, others = tmp_path / ".tmpQlIl3r", [tmp_path / ".tmp_notes", tmp_path / ".tmpabcdefg"]
    for path in (left, *others):
        path.touch()
    assert remove_temporary_files(tmp_path, of=[tmp_path / "a.json"]) == []
    assert remove_temporary_files(tmp_path, of=[tmp_path / "model.safetensors"]) == [left]
    left.touch()
    assert remove_temporary_files(tmp_path) == [left]
    assert all(path.exists() for path in others)


def test_a_torn_line_stays_a_line_of_its_own(tmp_path):
    path = tmp_path / "m.jsonl"
    append_json_line(path, {"a": 1})
    with open(path, "ab") as file:
        file.write(b'{"a": ')
    assert read_json_lines(path) == [{"a": 1}]
    append_json_line(path, {"a": 3})
    append_json_line(path, {"a": 4})
    assert path.read_bytes() == b'{"a": 1}\n{"a": \n{"a": 3}\n{"a": 4}\n'
    with pytest.raises(DnasError, match=r"m\.jsonl:2: not JSON: '\{\"a\": '"):
        read_json_lines(path)
    assert read_json_lines(path, skip_damaged=True) == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_lines_that_are_no_text_are_damaged_too(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'1\n\xff\xfe\n\x00\x00\n\n2\n"torn')
    assert read_json_lines(path, skip_damaged=True) == [1, 2]
    with pytest.raises(DnasError, match=r"m\.jsonl:2"):
        read_json_lines(path)
    keep_json_lines(path, lambda value: value > 1)
    assert path.read_text() == "2\n"


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert read_json_lines(tmp_path / "m.jsonl") == []
    keep_json_lines(tmp_path / "m.jsonl", bool)
    assert not (tmp_path / "m.jsonl").exists()


def test_a_folder_where_a_file_belongs_is_named(tmp_path):
    with pytest.raises(DnasError, match=r"cannot be read: Is a directory"):
        read_json(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DnasError, match=r"cannot be read: Not a directory"):
        read_json(tmp_path / "file" / "a.json")
