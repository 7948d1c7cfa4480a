"""Names of experiments, and reports at their end."""

from __future__ import annotations

import errno

import pytest

from dnas.cli.experiments import readable_id, with_report
from dnas.jobs.experiment import check_experiment_id
from dnas.jobs.outcome import Outcome


def test_a_name_of_a_file_in_any_language_is_an_experiment_id(tmp_path):
    config = tmp_path / "modèle_1"
    config.write_text("python a.py SAVE_METRICS_PARAM\nGPU_IDS:cpu\n")
    found = check_experiment_id(readable_id([config]))
    assert found.startswith("mod_le_1-")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "results.csv"), "No space left"),
        (KeyError("column"), "KeyError: 'column'"),
    ],
)
def test_a_report_that_fails_does_not_hide_what_the_jobs_came_to(error, said, tmp_path):
    def make():
        raise error

    outcome = Outcome("finished", 0, tmp_path, {"sampled": {"succeeded": 2}}, (), "")
    found = with_report(outcome, make)
    assert (found.exit_code, found.counts) == (1, outcome.counts)
    assert said in found.problems[0]
