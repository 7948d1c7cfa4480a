"""Small raw files of Avazu and KDD Cup 2012, and what the published preprocessing makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.data.raw_rows import write_lines

AVAZU_HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,"
    "device_id,device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
#: The first row of the published file.
AVAZU_ROW = (
    "1000009418151094273,0,14102100,1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,"
    "a99f214a,ddd2926e,44956a24,1,2,15706,320,50,1722,0,35,-1,79"
)


def avazu_line(label: str = "0", identity: str = "7", **values: str) -> str:
    """A line; columns that are not given are as in :data:`AVAZU_ROW`."""
    row = dict(zip(AVAZU_HEADER.split(","), AVAZU_ROW.split(","), strict=True))
    return ",".join({**row, "click": label, "id": identity, **values}.values())


def write_avazu(path: Path, lines: Sequence[str]) -> Path:
    return write_lines(path, [AVAZU_HEADER, *lines])


KDD_URL = "4298118681424644510"


def kdd_line(clicks: int | str = 0, user: int | str = 0, *, url: str = KDD_URL) -> str:
    """A line; the impressions are one more than the clicks where these are a number."""
    shown = clicks + 1 if isinstance(clicks, int) else 1
    middle = [url, "7686695", "385", "3", "2", "1601", "5521", "7709", "576"]
    return "\t".join(map(str, [clicks, shown, *middle, user]))


def hex8(text: str) -> str:
    """As the spec of the preprocessing has it."""
    try:
        value = int(text)
    except ValueError:
        value = int(text, 16)
    return f"{value % 2147483647:08x}"


def avazu_text(line: str) -> str:
    identity, label, *rest = line.split(",")
    return "\t".join([label, "-1", *map(hex8, [identity, *rest])]) + "\n"


def kdd_text(line: str, gender: str = "0", age: str = "0") -> str:
    fields = line.split("\t")
    numbers = [fields[1], fields[5], fields[6]]
    categories = [*fields[2:5], *fields[7:], gender, age]
    return "\t".join([str(int(int(fields[0]) > 0)), *numbers, *map(hex8, categories)]) + "\n"
