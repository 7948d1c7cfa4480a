"""``--sample_extremes``: both ends of the space beside what any search has found."""

from __future__ import annotations

import json

import pytest

ONE_SHOT = (
    "--search_algorithm=random_search", "--search_space=emb_card", "--batch_size=64",
    "--population=3", "--children=2", "--n_iterations=1", "--top_k=2", "--sample_extremes",
    "--embedding_dimension=4", "--arch_mlp_bot=6", "--arch_mlp_top=6",
)  # fmt: skip


def files(scripts, name="s"):
    folder = scripts.folder / name / "architectures"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def ends(records):
    found = [r for r in records if r["provenance"]["kind"] in ("smallest", "largest")]
    return {r["provenance"]["kind"]: r for r in found}


def test_of_the_first_targets_cost(scripts):
    flags = ("--cost_target=embedding_params=300", "--sample_extremes", "--num_random_archs=2")
    assert scripts.search(*flags) == 0
    records = files(scripts)
    assert [r["provenance"]["kind"] for r in records] == [
        "most_likely", "draw", "draw", "random", "random", "smallest", "largest",
    ]  # fmt: skip
    found = ends(records)
    assert found["smallest"]["provenance"]["cost"] == "embedding_params"
    costs = [r["costs"]["embedding_params"] for r in records]
    assert costs[-2] == min(costs)
    # Three features of 40 values each and 4 dimensions: all rows are kept.
    assert costs[-1] == max(costs) == 3 * 40 * 4
    assert set(found["largest"]["decisions"].values()) == {40}


def test_without_the_flag_there_are_none(searched):
    assert not ends(files(searched))


@pytest.mark.parametrize("limit", [(), ("--cost_limit=params=1e6",)])
def test_of_a_one_shot_search(scripts, limit):
    from dnas.cli import search

    assert search.main([*ONE_SHOT, *limit, *scripts.data, *scripts.job("e")]) == 0
    found = ends(files(scripts, "e"))
    cost = "params" if limit else "embedding_rows"
    assert {r["provenance"]["cost"] for r in found.values()} == {cost}
    assert found["smallest"]["costs"][cost] < found["largest"]["costs"][cost]
