"""The search among candidates: its log, its processes, and going on after being killed."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from dnas.core import Architecture, UniformPrior
from dnas.errors import ConfigError, DataError, DivergenceError, JobError, Preempted
from dnas.runs import JobFolder
from dnas.strategies.candidate_log import CandidateLog
from dnas.strategies.candidate_search import CandidateSearch
from dnas.strategies.evaluation_pool import InProcess, evaluations
from dnas.strategies.evolution import EvolutionSettings, RegularizedEvolution
from dnas.strategies.reinforce import ReinforceSearch, ReinforceSettings
from dnas.training.task import CLICKS
from tests.one_shot_toys import (
    Faulty,
    Planted,
    Prefix,
    WeightsAndProcess,
    distance,
    no_evaluator,
    tuned_evaluator,
)
from tests.toys import Scales

SMALL = EvolutionSettings(
    population=8, sample_size=4, children=4, iterations=5, mutations=3, mutation_decay=2
)
#: Scales of 6 decisions; 8 + 5 * 4 candidates.
COUNT = SMALL.evaluations


def never():
    return False


class Broken(Exception):
    """Stands for a kill."""


def search(folder=None, evaluate=None, should_stop=never, seed=3, **changes):
    net = Scales(decisions=6)
    strategy = RegularizedEvolution(UniformPrior(net), net, SMALL, seed=seed)
    return CandidateSearch(
        strategy,
        InProcess(evaluate or Planted(), should_stop),
        super_net=net,
        task=CLICKS,
        folder=None if folder is None else JobFolder(folder),
        fingerprint={"rows": [1, 2]},
        top_k=5,
        **changes,
    )


def breaks_after(count):
    planted = Planted()

    def evaluate(architecture):
        if len(planted.asked) == count:
            raise Broken
        return planted(architecture)

    return evaluate


def candidates(folder):
    return (folder / "candidates.jsonl").read_bytes()


def iterations(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


# -------------------------------------------------------------------------------- results


def test_the_best_are_given(tmp_path):
    planted = Planted()
    found = search(tmp_path, planted, first_step=100).run()
    ranked = sorted(planted.asked, key=distance)  # stable: the earlier of equally good ones
    assert [f.architecture for f in found] == ranked[:5]
    best = found[0]
    assert best.provenance() == {
        "kind": "evolution",
        "rank": 1,
        "score": distance(best.architecture),
        "metrics": {"logloss": distance(best.architecture)},
        "iteration": best.candidate.iteration,
        "candidate": planted.asked.index(best.architecture),
    }
    assert best.candidate.costs == {"units": sum(map(int, best.architecture.values()))}
    lines = iterations(tmp_path)
    assert [line["evaluations"] for line in lines] == [8, 12, 16, 20, 24, 28]
    assert [line["step"] for line in lines] == [108, 112, 116, 120, 124, 128]
    first = [distance(a) for a in planted.asked[:8]]
    assert lines[0]["best_score"] == min(first)
    assert lines[0]["mean_score"] == pytest.approx(sum(first) / 8)
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert (progress["step"], progress["total_steps"], progress["phase"]) == (28, 28, "evolution")


def test_candidates_without_a_score_are_not_given_and_stay_in_the_log(tmp_path):
    def evaluate(architecture):
        return {"logloss": None if architecture["scale/d0"] == 4 else distance(architecture)}

    found = search(tmp_path, evaluate).run()
    assert all(f.architecture["scale/d0"] != 4 for f in found)
    lines = [json.loads(line) for line in candidates(tmp_path).splitlines()[1:]]
    failed = [line for line in lines if line["decisions"]["scale/d0"] == 4]
    assert failed
    assert all(line["score"] is None for line in failed)
    again = search(tmp_path, Planted())
    assert [f.architecture for f in again.run()] == [f.architecture for f in found]


def test_a_supernet_in_which_nothing_has_a_score(tmp_path):
    with pytest.raises(DivergenceError, match="none of 28 candidates has a finite logloss"):
        search(tmp_path, lambda architecture: {"logloss": None}).run()


# -------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 20, 27])
def test_a_killed_search_goes_on_to_the_same_end(tmp_path, count):
    expected = search(tmp_path / "a").run()
    with pytest.raises(Broken):
        search(tmp_path / "b", breaks_after(count)).run()
    with open(tmp_path / "b" / "candidates.jsonl", "ab") as file:
        file.write(b'{"candidate": 99, "iterat')  # cut short by the kill
    planted = Planted()
    resumed = search(tmp_path / "b", planted)
    assert resumed.run() == expected
    assert len(planted.asked) == COUNT - count  # nothing is evaluated twice
    assert candidates(tmp_path / "a") == candidates(tmp_path / "b")
    assert iterations(tmp_path / "a") == iterations(tmp_path / "b")


def test_after_a_damaged_line_all_is_evaluated_again(tmp_path):
    expected = search(tmp_path).run()
    whole = candidates(tmp_path)
    lines = whole.splitlines(keepends=True)
    lines[11] = lines[11][:40] + b"\n"
    (tmp_path / "candidates.jsonl").write_bytes(b"".join(lines))
    planted = Planted()
    assert search(tmp_path, planted).run() == expected
    assert len(planted.asked) == COUNT - 10
    assert candidates(tmp_path) == whole


def test_a_finished_search_evaluates_nothing(tmp_path):
    expected = search(tmp_path).run()
    planted = Planted()
    assert search(tmp_path, planted).run() == expected
    assert planted.asked == []


def test_stopping_on_request(tmp_path):
    answers = iter([False] * 10 + [True])
    with pytest.raises(Preempted, match="search stopped"):
        search(tmp_path, should_stop=lambda: next(answers)).run()
    assert len(candidates(tmp_path).splitlines()) == 1 + 10
    assert search(tmp_path).run() == search().run()


def test_logs_of_other_searches_are_refused(tmp_path):
    search(tmp_path).run()
    before = candidates(tmp_path)
    with pytest.raises(JobError, match=r"candidates.jsonl: .* seed=3, this run has seed=4"):
        search(tmp_path, seed=4)
    assert candidates(tmp_path) == before
    (tmp_path / "candidates.jsonl").write_text('{"no": 1}\n')
    with pytest.raises(JobError, match="does not say of which search it is"):
        search(tmp_path)


def test_equal_networks_are_evaluated_once(tmp_path, caplog):
    class Ordered(Scales):
        def canonical(self, architecture):
            ordered = sorted(map(int, architecture.values()))
            return Architecture(dict(zip(architecture, ordered, strict=True)))

    class Stubborn:
        """Asks for one network in two ways, and then for it again."""

        name, evaluations, iteration = "stubborn", 4, 0

        def ask(self):
            found = [Architecture({"scale/d0": a, "scale/d1": b}) for a, b in ((1, 2), (2, 1))]
            return found if self.iteration < 2 else []

        def tell(self, architectures, scores):
            assert scores == [1.0, 1.0]
            self.iteration += 1

        def describe(self):
            return {}

    planted = Planted()
    net = Ordered(decisions=2)
    run = CandidateSearch(
        Stubborn(),
        InProcess(planted, never),
        super_net=net,
        task=CLICKS,
        folder=JobFolder(tmp_path),
    )
    assert len(run.run()) == 1
    assert len(planted.asked) == 1
    assert [line["evaluations"] for line in iterations(tmp_path)] == [1, 1]
    assert "stubborn ended after 1 of 4 candidates" in caplog.text


@pytest.mark.parametrize("count", [1, 7, 25])
def test_a_killed_search_by_reinforce_goes_on_to_the_same_end(tmp_path, count):
    """Though it asks for networks again that it knows."""

    def begin(name, evaluate):
        net = Scales(decisions=4)
        settings = ReinforceSettings(population=8, children=6, iterations=6, lr=1.0)
        return CandidateSearch(
            ReinforceSearch(net, settings),
            InProcess(evaluate, never),
            super_net=net,
            task=CLICKS,
            folder=JobFolder(tmp_path / name),
        )

    expected = begin("a", Planted()).run()
    with pytest.raises(Broken):
        begin("b", breaks_after(count)).run()
    assert begin("b", Planted()).run() == expected
    assert candidates(tmp_path / "a") == candidates(tmp_path / "b")
    assert iterations(tmp_path / "a") == iterations(tmp_path / "b")
    lines = iterations(tmp_path / "a")
    assert len(candidates(tmp_path / "a").splitlines()) == 1 + lines[-1]["evaluations"]
    assert len(lines) > 7  # with less than six new ones in some of them
    progress = json.loads((tmp_path / "a" / "progress.json").read_text())
    assert progress["step"] == lines[-1]["evaluations"]


def test_a_log_without_a_file():
    log = CandidateLog(None, {})
    assert log.best(3) == []


def test_top_k_is_positive():
    net = Scales()
    with pytest.raises(ConfigError, match="--top_k must be at least 1"):
        CandidateSearch(
            RegularizedEvolution(UniformPrior(net), net),
            InProcess(Planted(), never),
            super_net=net,
            task=CLICKS,
            top_k=0,
        )


# -------------------------------------------------------------------------------- processes


def all_of(net):
    """Architectures of two decisions, those that begin with 4 last."""
    options = (1, 2, 4)
    return [Architecture({"scale/d0": a, "scale/d1": b}) for a in options for b in options]


def test_several_processes_give_what_one_gives(tmp_path):
    """The same bits, in the same order, by more than one process, with one copy of the weights."""
    net = Scales(decisions=2)
    wanted = all_of(net)
    make = partial(WeightsAndProcess, tmp_path)
    with evaluations(net, make) as alone:
        expected = list(alone(wanted))
    (own,) = tmp_path.iterdir()
    with evaluations(net, make, processes=2) as pool:
        assert list(pool(wanted)) == expected
        assert list(pool(wanted[:1])) == expected[:1]
        names = {path.name for path in tmp_path.iterdir()} - {own.name}
        assert 1 <= len(names) <= 2
        net.w.data.fill_(5.0)  # theirs are a copy
        assert list(pool(wanted[:2])) == expected[:2]


def test_fine_tuning_in_processes():
    net = Prefix()
    prior = UniformPrior(net)
    generator = torch.Generator().manual_seed(0)
    wanted = [prior.candidate(generator) for _ in range(5)]
    expected = [tuned_evaluator(net)(architecture) for architecture in wanted]
    with evaluations(net, tuned_evaluator, processes=2) as pool:
        assert list(pool(wanted)) == expected


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("killed", RuntimeError, r"candidate {id}: the evaluating process ended by signal 9"),
        ("user", JobError, r"candidate {id}: DataError: the file is gone"),
        ("defect", RuntimeError, r"candidate {id}: .*\n(.*\n)*ZeroDivisionError: a defect"),
    ],
)
def test_candidates_that_go_wrong_are_named(how, error, message):
    net = Scales(decisions=2)
    wanted = all_of(net)
    faulty = "|".join(architecture.id for architecture in wanted[6:])
    with evaluations(net, partial(Faulty, how), processes=2) as pool:
        workers = [worker.process for worker in pool._workers]
        with pytest.raises(error, match=message.replace("{id}", f"({faulty})")):
            list(pool(wanted))
    assert not any(process.is_alive() for process in workers)


def test_what_was_evaluated_before_a_worker_died_is_given():
    net = Scales(decisions=2)
    wanted = all_of(net)
    found = []

    def collect():
        with evaluations(net, partial(Faulty, "killed"), processes=2) as pool:
            for metrics in pool(wanted):
                found.append(metrics)

    with pytest.raises(RuntimeError, match="ended by signal 9"):
        collect()
    assert 4 <= len(found) <= 6  # one worker died, the other may have been a candidate behind
    assert found == [{"logloss": distance(a)} for a in wanted[: len(found)]]


def test_candidates_that_go_wrong_in_this_process_are_named_too():
    net = Scales(decisions=2)
    wanted = all_of(net)
    with evaluations(net, partial(Faulty, "user")) as alone, pytest.raises(DataError) as caught:
        list(alone(wanted))
    assert wanted[6].id in caught.value.__notes__[0]


def test_processes_that_cannot_begin_say_why():
    with pytest.raises(JobError, match="starting an evaluating process: DataError: there is no"):
        evaluations(Scales(), no_evaluator, processes=2)
    with pytest.raises(ConfigError, match="cannot be sent to another process"):
        evaluations(Scales(), lambda net: Planted(), processes=2)
    with pytest.raises(ConfigError, match="--eval_processes must be at least 1"):
        evaluations(Scales(), Planted, processes=0)


def test_processes_stop_on_request():
    net = Scales(decisions=2)
    answers = iter([False, False, True])
    with (
        evaluations(net, Planted, processes=2, should_stop=lambda: next(answers)) as pool,
        pytest.raises(Preempted, match="search stopped"),
    ):
        list(pool(all_of(net)))
