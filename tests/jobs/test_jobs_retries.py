"""What follows from the end of an attempt, and when failures in a row are too many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnas.errors import ConfigError
from dnas.jobs.executors import DebugExecutor, Order
from dnas.jobs.job import State
from dnas.jobs.manager import Manager
from dnas.jobs.policy import Policy
from dnas.jobs.retries import Retries, decide
from dnas.jobs.strikes import Strikes
from dnas.jobs.verdict import Ending, Verdict
from dnas.runs import JobFolder, RunFolder
from tests.jobs.conftest import pool, specs


@pytest.mark.parametrize(
    ("ending", "limit", "last"),
    [
        (Ending.OUT_OF_MEMORY, 2, State.OUT_OF_MEMORY),
        (Ending.PREEMPTED, 100, State.FAILED),
        (Ending.LOST, 10, State.LOST),
        (Ending.DISK_FULL, 10, State.FAILED),
        (Ending.CRASHED, 0, State.FAILED),
        (Ending.TIMED_OUT, 0, State.TIMED_OUT),
        (Ending.DIVERGED, 0, State.FAILED),
        (Ending.USER_ERROR, 0, State.FAILED),
        (Ending.CANCELLED, 0, State.CANCELLED),
    ],
)
def test_each_class_has_its_limit_and_its_last_state(
    ending: Ending, limit: int, last: State
) -> None:
    verdict = Verdict(ending, "why")
    for used in {0, limit - 1} - {-1}:
        if used < limit:
            again = decide(verdict, Retries(), {ending.value: used})
            assert (again.again, again.state) == (True, State.QUEUED)
            assert again.reason.startswith(f"retry {used + 1} of {limit}")
            assert ("alone on a device" in again.reason) == (ending is Ending.OUT_OF_MEMORY)
    over = decide(verdict, Retries(), {ending.value: limit})
    assert (over.again, over.state) == (False, last)
    assert over.reason == (f"{limit + 1} times why" if limit else "why")


def test_one_class_does_not_use_up_the_retries_of_another() -> None:
    used = {"lost": 10, "crashed": 3}
    assert decide(Verdict(Ending.PREEMPTED, "x"), Retries(), used).again
    assert not decide(Verdict(Ending.LOST, "x"), Retries(), used).again


def test_the_note_of_a_retry_goes_before_the_log() -> None:
    verdict = Verdict(Ending.LOST, "killed; last lines of its log:\n  one\n  two")
    reason = decide(verdict, Retries(lost=1), {}).reason
    assert reason == "retry 1 of 1; killed; last lines of its log:\n  one\n  two"


def test_limits_as_text() -> None:
    assert Retries.parse("") == Retries()
    assert Retries.parse("lost=3, crashed = 1,") == Retries(lost=3, crashed=1)
    assert Retries.parse("lost=1,lost=2").lost == 2
    assert [Retries().limit(e) for e in (Ending.DIVERGED, Ending.USER_ERROR)] == [0, 0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("lost", "'lost'"),
        ("lost=", "'lost='"),
        ("lost=many", "'lost=many'"),
        ("lost=-1", "'lost=-1'"),
        ("lost=1.5", "'lost=1.5'"),
        ("gone=1", "'gone=1'"),
        ("diverged=1", "'diverged=1'"),
        ("crashed=1;lost=2", "'crashed=1;lost=2'"),
    ],
)
def test_what_is_wrong_in_the_text_is_named(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Retries.parse(text)
    assert str(caught.value) == (
        f"--retries {text}: {part} is not NAME=NUMBER with NAME one of "
        "out_of_memory, preempted, lost, disk_full, crashed, timed_out"
    )
    with pytest.raises(ConfigError, match="timed_out=-1 is negative"):
        Retries(timed_out=-1)


def test_retries_are_counted_over_restarts(tmp_path: Path, seen: Callable[[Path], Any]) -> None:
    attempts: list[int] = []

    def job(folder: JobFolder, order: Order) -> int:
        attempts.append(order.attempt)
        if order.attempt == 2:
            raise KeyboardInterrupt
        return 1

    def manage() -> Manager:
        manager = Manager(
            RunFolder(tmp_path / "e"), pool(supernet=("0", 1)), executor=DebugExecutor(job),
            policy=Policy(retries=Retries(crashed=2, lost=1)),
        )  # fmt: skip
        manager.add(specs("supernet", 1))
        return manager

    with pytest.raises(KeyboardInterrupt):
        manage().run()
    run = seen(tmp_path / "e")
    assert run.statuses()[0]["retries"] == {"crashed": 1}
    assert manage().run().exit_code == 1
    # The first crash still counts: two more are one too many.
    assert attempts == [1, 2, 3, 4]
    (status,) = run.statuses()
    assert (status["state"], status["retries"]) == ("failed", {"crashed": 2, "lost": 1})
    assert status["reason"].startswith("3 times exited 1")


def failures(strikes: Strikes, *causes: str, ending: Ending = Ending.CRASHED) -> list[bool]:
    return [strikes.failure(Verdict(ending, "reason", cause)) for cause in causes]


def test_strikes_in_a_row_are_counted_by_cause() -> None:
    strikes = Strikes(3)
    assert failures(strikes, "a", "a", "b", "a", "a", "a") == [False] * 5 + [True]
    assert strikes.count == 3
    strikes.success()
    assert strikes.count == 0
    assert failures(strikes, "a", "a", "a", "a") == [False, False, True, True]


def test_failures_without_a_cause_neither_count_nor_clear() -> None:
    strikes = Strikes(2)
    assert failures(strikes, "a", "", "", "a") == [False, False, False, True]


def test_refused_settings_are_two_strikes_at_most() -> None:
    assert failures(Strikes(5), "a", "a", ending=Ending.USER_ERROR) == [False, True]
    assert failures(Strikes(1), "a", ending=Ending.USER_ERROR) == [True]
    for ending in (Ending.USER_ERROR, Ending.CRASHED):
        assert not any(failures(Strikes(0), *"aaaaaaa", ending=ending))
