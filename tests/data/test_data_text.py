"""Records of delimited text: agreement with the csv module, line numbers, quotes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnas.data import text as text_module
from dnas.data.records import TextFormat
from dnas.data.text import read_header, read_records
from dnas.errors import DataError

COMMA = TextFormat(",", '"', fields=3, header=False)


def read(path: Path, text: TextFormat, block_bytes: int = 1 << 20) -> tuple[list, list, list]:
    """Rows (as the csv module reads the good records), their lines, and the bad rows."""
    data, lines, bad = b"", [], []
    for records in read_records(path, text, block_bytes=block_bytes):
        data += records.data
        lines += records.lines.tolist()
        bad += records.bad
    rows = list(
        csv.reader(
            io.StringIO(data.decode(), newline=""), delimiter=text.separator, quotechar=text.quote
        )
    )
    return rows, lines, bad


fields = st.text(st.sampled_from('ab",\n é'), max_size=5)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(fields, fields, fields), min_size=1, max_size=12), st.integers(1, 80))
def test_quoted_text_reads_as_the_csv_module_wrote_it(
    tmp_path: Path, rows: list[tuple[str, str, str]], block_bytes: int
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    lines = []
    for row in rows:
        lines.append(out.getvalue().count("\n") + 1)
        writer.writerow(row)
    path = tmp_path / "a.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    found, found_lines, bad = read(path, COMMA, block_bytes)
    assert bad == []
    assert found == [list(row) for row in rows]
    assert found_lines == lines


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(st.sampled_from('a",'), max_size=9), max_size=10), st.integers(1, 40))
def test_every_line_is_a_row_or_a_bad_row_whatever_it_holds(
    tmp_path: Path, lines: list[str], block_bytes: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("".join(line + "\n" for line in lines), newline="")
    rows, starts, bad = read(path, COMMA, block_bytes)
    again = read(path, COMMA)
    assert (rows, starts) == again[:2]
    assert sorted(bad) == sorted(again[2])
    assert len(rows) == len(starts)
    numbers = sorted(starts + [row.line for row in bad])
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number <= len(lines) for number in numbers)
    unquoted = [i for i, line in enumerate(lines, 1) if '"' not in "".join(lines) and line]
    assert set(unquoted) <= set(numbers)


def test_without_quoting_a_quote_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('1,5" pipe,x\n"2,y,z\n')
    plain = TextFormat(",", None, fields=3, header=False)
    records = list(read_records(path, plain, block_bytes=1 << 20))
    assert records[0].data == b'1,5" pipe,x\n"2,y,z\n'
    assert not records[0].bad


@pytest.mark.parametrize("block_bytes", [3, 20, 1 << 20])
def test_stray_and_unclosed_quotes_are_one_bad_line_each(tmp_path: Path, block_bytes: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b,c\n1,5" pipe,x\n"q,\n1",2,3\n7,"never,9\n4,5,6\n', newline="")
    rows, lines, bad = read(path, COMMA, block_bytes)
    assert rows == [["a", "b", "c"], ["q,\n1", "2", "3"], ["4", "5", "6"]]
    assert lines == [1, 3, 6]
    assert [row.line for row in bad] == [2, 5]
    assert "quote" in bad[0].reason


def test_byte_order_mark_and_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"x",y , z\r\n1,2,3\r\n')
    form = TextFormat(",", '"', fields=3, header=True)
    assert read_header(path, form) == ["x", "y", "z"]
    for block_bytes in (1, 5, 100):
        rows, lines, bad = read(path, form, block_bytes)
        assert (rows, lines, bad) == ([["1", "2", "3"]], [2], [])


def test_a_file_without_line_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "RECORD_BYTES", 1000)
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match="no line end"):
        list(read_records(path, TextFormat("\t", None, 2, False), block_bytes=100))
