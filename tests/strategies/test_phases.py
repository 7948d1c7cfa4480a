"""Algorithm 1 as a table of phases."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.core.schedules import temperature
from dnas.errors import ConfigError
from dnas.strategies.phases import THETA, WEIGHTS, exact, parse_sampling, plan_phases

W, M = WEIGHTS, THETA


def plan(total, warmup, alternate, sampling=None, w=10, m=4):
    return plan_phases(
        total_epochs=total,
        warmup_epochs=warmup,
        alternate_epochs=alternate,
        w_steps_per_epoch=w,
        m_steps_per_epoch=m,
        arch_sampling=sampling or {},
    )


def table(phases):
    return [
        (p.kind, p.start, p.stop, float(p.epoch), float(p.epochs_done), p.samples) for p in phases
    ]


def test_the_papers_schedule():
    """5 epochs, 1 of warm-up, alternation every epoch, 4 architectures after 4 theta epochs."""
    assert table(plan(5, 1, 1, {4: 4})) == [
        (W, 0, 10, 0, 1, 0),
        (W, 10, 20, 1, 2, 0), (M, 0, 4, 1, 1, 0),
        (W, 20, 30, 2, 3, 0), (M, 4, 8, 2, 2, 0),
        (W, 30, 40, 3, 4, 0), (M, 8, 12, 3, 3, 0),
        (W, 40, 50, 4, 5, 0), (M, 12, 16, 4, 4, 4),
    ]  # fmt: skip


def test_temperatures_of_the_papers_schedule():
    """tau = T_0 exp(-eta * epoch) by the epoch counter, warm-up included, constant in a phase."""
    taus = [temperature(1.0, 0.1, p.epoch_at(p.start)) for p in plan(5, 1, 1, {4: 4})]
    by_epoch = [math.exp(-0.1 * epoch) for epoch in (0, 1, 1, 2, 2, 3, 3, 4, 4)]
    assert taus == pytest.approx(by_epoch)
    assert taus[-1] == pytest.approx(0.670320046)


def test_without_warmup_and_with_a_fractional_alternation():
    assert table(plan("0.5", 0, "0.25", {"0.25": 1, 0.5: 2}, w=8, m=4)) == [
        (W, 0, 2, 0, 0.25, 0), (M, 0, 1, 0, 0.25, 1),
        (W, 2, 4, 0.25, 0.5, 0), (M, 1, 2, 0.25, 0.5, 2),
    ]  # fmt: skip


def test_ends_are_cut_at_the_total_and_at_the_warmup():
    assert table(plan(2, "0.5", 1, {1.5: 1}, w=10, m=10)) == [
        (W, 0, 5, 0, 0.5, 0),
        (W, 5, 15, 0.5, 1.5, 0), (M, 0, 10, 0.5, 1, 0),
        (W, 15, 20, 1.5, 2, 0), (M, 10, 15, 1.5, 1.5, 1),
    ]  # fmt: skip


def test_warmup_alternates_too():
    kinds = [(p.kind, p.start, p.stop) for p in plan(3, 2, 1)]
    assert kinds[:2] == [(W, 0, 10), (W, 10, 20)]


def test_tenths_do_not_drift():
    phases = plan(2, 1, 0.1, {0.3: 1, 0.5: 2, 0.8: 3}, w=10, m=10)
    theta = [p for p in phases if p.kind == M]
    assert [(p.start, p.stop) for p in theta] == [(i, i + 1) for i in range(10)]
    assert {i + 1: p.samples for i, p in enumerate(theta) if p.samples} == {3: 1, 5: 2, 8: 3}
    assert max(p.stop for p in phases if p.kind == W) == 20


def test_the_epoch_inside_a_phase():
    phase = plan(2, 1, "0.5")[2]
    assert (phase.kind, phase.start, phase.stop, phase.steps) == (W, 10, 15, 5)
    assert [phase.epoch_at(step) for step in (10, 11, 15)] == pytest.approx([1.0, 1.1, 1.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 1, 0), "n_alt_train_amt must be positive, but got 0"),
        ((2, 1, -1), "n_alt_train_amt must be positive"),
        (
            (2, 2, 1),
            r"num_warmup_epochs must be in \[0, n_total.*but got 2 of 2; theta would never",
        ),
        ((2, -1, 1), "num_warmup_epochs must be in"),
        (("two", 1, 1), "n_total_s_net_training_epochs must be a number, but got 'two'"),
        ((float("inf"), 1, 1), "n_total_s_net_training_epochs must be a number"),
        ((2, float("nan"), 1), "num_warmup_epochs must be a number"),
        ((2, 1, "0.01"), "0.01 is less than one step: the weights loader has 10 steps an epoch"),
        ((2, 1, 1, {0.7: 1}), "no theta phase ends at 0.7 theta epochs; they end at 1$"),
        ((3, 1, "0.5", {9: 1}), "at 9 theta epochs; they end at 0.5, 1, 1.5, 2$"),
        ((2, 1, 1, {1: 0}), "arch_sampling: 1:0 must sample at least one"),
        ((2, 1, 1, {1: 1.5}), "arch_sampling: 1:1.5 must sample at least one"),
        ((3, 1, "0.3", {0.9: 1, 1.1: 2}), "no theta phase ends at 1.1 "),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan(*arguments)


def test_a_phase_of_one_step_that_begins_at_half_a_step():
    phases = plan(1.05, 0.15, 0.1, w=10, m=10)
    assert [p.steps for p in phases if p.kind == M] == [1] * 9
    assert [p.steps for p in phases if p.kind == W] == [1] * 11


def test_a_theta_phase_without_a_step_names_the_theta_loader():
    with pytest.raises(ConfigError, match="the theta loader has 4 steps an epoch"):
        plan(2, 1, "0.1")


def test_sampling_text():
    assert parse_sampling("4:4") == {4: 4}
    assert parse_sampling("0.1:2, 4:4") == {Fraction(1, 10): 2, Fraction(4): 4}
    assert exact("x", 0.1) == exact("x", "0.1") == Fraction(1, 10)


@pytest.mark.parametrize("text", ["", "4", "4:", "4:x", ":4", "4:4,", "4:-1", "4:1.5", "x:1"])
def test_sampling_text_that_is_none(text):
    with pytest.raises(ConfigError, match="sampling"):
        parse_sampling(text)


def test_sampling_twice_at_a_time_is_an_error():
    with pytest.raises(ConfigError, match=r"1\.0 occurs twice"):
        parse_sampling("1:2,1.0:3")


tenths = st.integers(1, 60).map(lambda n: Fraction(n, 20))


@settings(max_examples=150, deadline=None)
@given(
    total=tenths,
    warmup=st.integers(0, 60).map(lambda n: Fraction(n, 20)),
    alternate=tenths,
    w=st.integers(41, 97),
    m=st.integers(41, 97),
)
def test_phases_are_contiguous_and_complete(total, warmup, alternate, w, m):
    if warmup >= total:
        warmup = total / 2
    phases = plan(total, warmup, alternate, w=w, m=m)
    for kind, steps, epochs in ((W, w, total), (M, m, total - warmup)):
        own = [p for p in phases if p.kind == kind]
        assert own[0].start == 0
        assert all(a.stop == b.start for a, b in pairwise(own))
        assert all(p.steps > 0 for p in own)
        assert own[-1].stop == math.floor(epochs * steps + Fraction(1, 2))
        assert own[-1].epochs_done == epochs
    # Theta never runs ahead, and its phases follow weights phases of the same epochs.
    for before, after in pairwise(phases):
        if after.kind == M:
            assert (before.kind, before.epoch) == (W, after.epoch)
            assert before.epochs_done - warmup == after.epochs_done
