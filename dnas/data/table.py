"""Any CSV, TSV or Parquet file, described by a JSON schema file.

::

    {"label": "click",
     "dense": ["depth", "position"],
     "categorical": ["ad_id", "query_id"],
     "dense_transform": "log1p",                      optional, default "none"
     "separator": ",",                                optional, default tab for .tsv, else comma
     "quote": "\\"",                                    optional, null: quotes are plain characters
     "columns": ["click", "depth", ...],              optional: names of a file without header
     "missing": ["", "?"],                            optional; an empty field is always missing
     "split": {"rule": "random"}}                     optional; or chronological, stratified, or
              {"column": "part", "train": ["a"], "validation": ["b"], "test": ["c"]}

The label column has 0 or 1 (true or false in Parquet). Spaces around values are no part of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from dnas.data.config import DataConfig, DenseTransform, SplitRule
from dnas.data.file_source import BLOCK_BYTES, FileSource
from dnas.data.layout import DenseRule, Layout, id_rule
from dnas.data.raw_files import resolve
from dnas.data.store import PART_CODES
from dnas.errors import DataError, DnasError
from dnas.files import read_json

_KEYS = (
    "label",
    "dense",
    "categorical",
    "dense_transform",
    "separator",
    "quote",
    "columns",
    "missing",
    "split",
)
_RULES = ("random", "chronological", "stratified")
_SPLIT_KEYS = ("rule", "column", *PART_CODES)


@dataclass(frozen=True)
class Schema:
    """A checked schema file. ``parts`` maps the texts of ``part`` to codes of ``PART_CODES``."""

    label: str
    dense: tuple[str, ...]
    categorical: tuple[str, ...]
    dense_transform: DenseTransform
    separator: str | None
    quote: str | None
    columns: tuple[str, ...] | None
    missing: tuple[str, ...]
    split_rule: SplitRule
    part: str | None
    parts: dict[str, int]


def read_schema(path: str | Path) -> Schema:
    """Read a schema file.

    Raises:
        DataError: It is missing, not JSON, or a key or value is wrong; the message names file, key,
            value and what is accepted.
    """
    try:
        value = read_json(path)
    except DnasError as error:
        raise DataError(f"{error}; see --schema") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: must be a JSON object with the keys {', '.join(_KEYS)}")
    _check_keys(path, "", value, _KEYS)
    if "label" not in value:
        raise DataError(f"{path}: the key label is missing: the column with 0 and 1")
    label = value["label"]
    if not isinstance(label, str) or not label:
        raise DataError(f"{path}: label={label!r}: must be the name of a column")
    dense = _texts(path, "dense", value.get("dense", []))
    categorical = _texts(path, "categorical", value.get("categorical", []))
    if not dense and not categorical:
        raise DataError(f"{path}: dense and categorical are both empty: no features")
    features = dense + categorical
    for name in features:
        if features.count(name) > 1:
            raise DataError(f"{path}: the column {name!r} is listed more than once as a feature")
    if label in features:
        raise DataError(f"{path}: label={label!r} is also listed as a feature")
    transform = value.get("dense_transform", "none")
    if transform not in ("none", "log1p"):
        raise DataError(f"{path}: dense_transform={transform!r}: must be none or log1p")
    rule, part, parts = _split(path, value.get("split", {"rule": "random"}))
    if part is not None and part in (label, *features):
        raise DataError(f"{path}: split.column={part!r} is also the label or a feature")
    columns = _texts(path, "columns", value["columns"]) if "columns" in value else None
    return Schema(
        label=label,
        dense=dense,
        categorical=categorical,
        dense_transform=cast(DenseTransform, transform),
        separator=_character(path, "separator", value.get("separator")),
        quote=_character(path, "quote", value.get("quote", '"')),
        columns=columns,
        missing=_texts(path, "missing", value.get("missing", [""])),
        split_rule=rule,
        part=part,
        parts=parts,
    )


def table_source(
    config: DataConfig, schema: Schema, *, block_bytes: int = BLOCK_BYTES
) -> FileSource:
    """The raw files of ``--data_set=table``.

    Raises:
        DataError: A file is missing, or text and Parquet are mixed.
    """
    assert config.raw_data is not None
    files = resolve(config.raw_data)
    transform: Literal["log1p", "none"] = config.dense_transform or schema.dense_transform
    tabs = ".tsv" in [suffix.lower() for suffix in files[0].suffixes]
    return FileSource(
        data_set="table",
        files=tuple(files),
        layout=Layout(
            label=schema.label,
            positive=("1", "1.0", "true"),
            negative=("0", "0.0", "false"),
            dense=schema.dense,
            sparse=schema.categorical,
            missing=tuple(text for text in schema.missing if text),
            part=schema.part,
            parts=schema.parts or None,
        ),
        rule=DenseRule(transform, config.dense_missing),
        ids=id_rule(config),
        separator=schema.separator or ("\t" if tabs else ","),
        quote=schema.quote,
        names=schema.columns,
        on_bad_row=config.on_bad_row,
        block_bytes=block_bytes,
    )


def _check_keys(
    path: str | Path, where: str, value: dict[str, Any], valid: tuple[str, ...]
) -> None:
    for key in value:
        if key not in valid:
            raise DataError(
                f"{path}: unknown key {where}{key} (value {value[key]!r}); "
                f"the keys are {', '.join(valid)}"
            )


def _texts(path: str | Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or any(not isinstance(item, str) for item in value):
        raise DataError(f"{path}: {key}={value!r}: must be a list of texts")
    return tuple(value)


def _character(path: str | Path, key: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in "\r\n":
        raise DataError(f"{path}: {key}={value!r}: must be one ASCII character")
    return value


def _split(path: str | Path, value: Any) -> tuple[SplitRule, str | None, dict[str, int]]:
    if not isinstance(value, dict) or ("rule" in value) == ("column" in value):
        raise DataError(
            f'{path}: split={value!r}: must be {{"rule": ...}} or {{"column": ..., "train": [...], '
            '"validation": [...], "test": [...]}'
        )
    _check_keys(path, "split.", value, _SPLIT_KEYS)
    if "rule" in value:
        if value["rule"] not in _RULES:
            raise DataError(
                f"{path}: split.rule={value['rule']!r}: must be one of {', '.join(_RULES)}"
            )
        if len(value) > 1:
            raise DataError(f"{path}: split has a rule, so it takes no other key: {value!r}")
        return value["rule"], None, {}
    column = value["column"]
    if not isinstance(column, str) or not column:
        raise DataError(f"{path}: split.column={column!r}: must be the name of a column")
    parts: dict[str, int] = {}
    for name, code in PART_CODES.items():
        items = value.get(name, [])
        if not isinstance(items, list) or any(isinstance(item, list | dict) for item in items):
            raise DataError(f"{path}: split.{name}={items!r}: must be a list of values")
        for item in items:
            text = str(item).lower() if isinstance(item, bool) else str(item).strip()
            if text in parts:
                raise DataError(f"{path}: split.{name}: the value {item!r} is in two lists")
            parts[text] = code
        if name != "validation" and not items:
            raise DataError(f"{path}: split.{name} is missing or empty")
    return "column", column, parts
