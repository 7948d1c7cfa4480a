"""SearchManager: the DNAS search of arXiv:2110.14812, Algorithm 1, from start to sampled networks.

The constructor's names are those of the paper's Table I. One object runs one search::

    manager = SearchManager(super_net=net, w_dataloader=w, m_dataloader=m, ...)
    result = manager.train_dnas()

Weights and theta are trained on disjoint data by disjoint optimizers: a weights step changes no bit
of theta, a theta step no bit of the weights, and neither computes gradients for the other.

In theta steps the loss is the paper's TotalLoss. In weights steps it is the task loss alone: the
cost does not depend on the weights, so equation 6 has the same gradient there, and equation 5 would
only multiply the weights' learning rate by a number that changes as theta does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from torch import Tensor

from dnas.core.schedules import temperature
from dnas.costs import BudgetPenalty
from dnas.data.batch import Batch
from dnas.errors import Preempted
from dnas.strategies.calibration import meet_targets
from dnas.strategies.draws import Draws
from dnas.strategies.phases import THETA, WEIGHTS, Phase
from dnas.strategies.search_setup import SearchSetup
from dnas.strategies.search_state import SampledArchitecture, SearchPosition, SearchResult
from dnas.strategies.supernet_validation import validate_supernet
from dnas.strategies.watch import check_theta, expected_costs, report_targets
from dnas.training.checkpoint import random_states, restore_random_states
from dnas.training.graphs import CudaRecorder, RecordedStep
from dnas.training.logs import logging_to
from dnas.training.progress import Progress
from dnas.training.seeding import make_generator

__all__ = ["SampledArchitecture", "SearchManager", "SearchResult"]

logger = logging.getLogger(__name__)


class SearchManager(SearchSetup):
    """Trains a supernet and its theta in alternation, and samples architectures.

    The arguments are those of :class:`~dnas.strategies.search_setup.SearchSetup`.
    """

    # ------------------------------------------------------------------ public

    def train_dnas(self) -> SearchResult:
        """Run the search to its end, or on from the checkpoint in ``folder``.

        Raises:
            DivergenceError: The loss or the outputs are not finite, or the loss is absurd.
            Preempted: ``should_stop`` said so; a checkpoint is saved.
        """
        with logging_to(self.logfile), self.turns.undone():
            self._resume()
            self.world.begin(self.super_net, self.position.global_step)
            self.penalty.check(expected_costs(self.super_net))
            if self.position.global_step == 0:
                self._begin()
            total_steps = sum(phase.steps for phase in self.phases)
            done = self.position.global_step
            with self.files.progress("search", total_steps, done) as progress:
                while self.position.phase < len(self.phases):
                    self._run_phase(self.phases[self.position.phase], progress)
                    self._end_phase(self.phases[self.position.phase], progress)
            # Again: a crash may have come between the last checkpoint and this file.
            self._write_history()
            if isinstance(self.penalty, BudgetPenalty):
                report_targets(self.super_net, self.penalty, self.experiment_id)
        self._sample_random()
        return SearchResult(
            tuple(self.position.sampled), self.position.validation, self.position.global_step
        )

    def run_one_dnas_step(self, batch: Batch, kind: str, tau: float) -> Tensor:
        """One step as it is, whatever the ``step_mode``; see ``dnas.strategies.search_step``."""
        return self.one_step(batch, kind, tau)

    def sample_archs(self, count: int, phase: int) -> list[SampledArchitecture]:
        """Draw ``count`` architectures from softmax(theta), and the most likely one if asked for.

        See :meth:`dnas.strategies.draws.Draws.from_theta`.
        """
        return self._draws().from_theta(
            count, phase, self.device, most_likely=self.sample_most_likely
        )

    # ------------------------------------------------------------------ phases

    def _begin(self) -> None:
        self.history.record(0, 0.0)
        logger.info(
            "%s: %d phases, %d weights and %d theta parameters",
            self.experiment_id,
            len(self.phases),
            sum(p.numel() for p in self.optimizers[WEIGHTS].parameters()),
            sum(p.numel() for p in self.optimizers[THETA].parameters()),
        )

    def _run_phase(self, phase: Phase, progress: Progress) -> None:
        position = self.position
        position.step = max(position.step, phase.start)
        self._train_only(phase.kind)
        self.super_net.train()
        started = saved = time.monotonic()
        loader = self.loaders[phase.kind]
        shown = "warmup" if phase.epoch < self.warmup_epochs else phase.kind
        step = self._step_of(phase)
        for batch in loader.batches(position.step, phase.stop):
            if self.world.any(self.should_stop()):
                self._checkpoint()
                self.world.wait()  # nobody ends, and has the others ended, before it is written
                raise Preempted(f"{self.experiment_id}: stopped at step {position.global_step}")
            tau = self._temperature(phase, position.step)
            at = position.step if self.update_lrs_every_step else phase.start
            self.turns.set_lr(phase.kind, at / len(loader))
            loss = step(batch, tau)
            position.step += 1
            position.global_step += 1
            if phase.kind == THETA:
                position.theta_epochs = position.step / len(loader)
            self.monitors[phase.kind].update(position.global_step, loss)
            progress.advance(shown, phase.epoch_at(position.step))
            if position.step == phase.stop or position.global_step % self.log_every_steps == 0:
                mean = self._log_interval(phase, tau, time.monotonic() - started)
                progress.note(phase=phase.kind, loss=mean)
                progress.metric(f"{phase.kind} loss", mean)
                due = time.monotonic() - saved > self.checkpoint_every_s
                if due and position.step < phase.stop:
                    self._checkpoint()
                    saved = time.monotonic()

    def _step_of(self, phase: Phase) -> Callable[[Batch, float], Tensor]:
        if self.step_mode == "eager":
            return lambda batch, tau: self.run_one_dnas_step(batch, phase.kind, tau)
        tau = self._temperature(phase, phase.start)  # which is that of the whole phase
        recorded = RecordedStep(
            lambda batch: self.run_one_dnas_step(batch, phase.kind, tau),
            CudaRecorder([self.noise]),
        )
        return lambda batch, _: recorded(batch.to(self.device))

    def _end_phase(self, phase: Phase, progress: Progress) -> None:
        position = self.position
        if phase.samples and isinstance(self.penalty, BudgetPenalty):
            meet_targets(self.super_net, self.penalty.targets, at_most=self.penalty.at_most)
            self.history.record(position.global_step, position.theta_epochs)
        self._validate(phase, progress)
        if phase.samples:
            position.sampled += self.sample_archs(phase.samples, position.phase)
        position.phase += 1
        position.step = 0
        self._checkpoint()
        self._write_history()

    def _train_only(self, kind: str) -> None:
        self.turns.train_only(kind)

    def _temperature(self, phase: Phase, step: int) -> float:
        at = step if self.update_temp_every_step else phase.start
        return temperature(self.init_temp, self.temp_decay, phase.epoch_at(at), self.min_temp)

    def _log_interval(self, phase: Phase, tau: float, seconds: float) -> float | None:
        position = self.position
        mean = self.monitors[phase.kind].read(position.global_step)
        check_theta(self.super_net, position.global_step)
        self.history.record(position.global_step, position.theta_epochs)
        costs = expected_costs(self.super_net)
        self.penalty.check(costs)
        self.files.append_metrics(
            {
                "event": "interval",
                "phase": phase.kind,
                "step": position.global_step,
                "epoch": round(phase.epoch_at(position.step), 6),
                "theta_epochs": round(position.theta_epochs, 6),
                "temperature": tau,
                "task_loss": mean,
                "cost": costs,
                "entropy": self.history.moments[-1]["entropy"],
                "seconds": round(seconds, 3),
            }
        )
        return mean

    def _validate(self, phase: Phase, progress: Progress) -> None:
        if self.valid_loader is None or self.make_metrics is None:
            return
        position = self.position
        metrics = validate_supernet(
            self.super_net,
            self.valid_loader,
            self.make_metrics,
            temperature=self._temperature(phase, phase.stop),
            generator=make_generator(self.device, self.seed, "validation", position.phase),
            step=position.global_step,
            world=self.world,
        )
        position.validation = found = metrics["most_likely"]
        self.files.append_metrics(
            {"event": "validation", "step": position.global_step, "phase": phase.kind, **metrics}
        )
        logger.info(
            "%s: phase %d/%d (%s) done, most likely architecture: %s",
            self.experiment_id,
            position.phase + 1,
            len(self.phases),
            phase.kind,
            ", ".join(f"{k} {v:.5f}" for k, v in found.items() if v is not None),
        )
        name = next(iter(found))
        progress.metric(f"validation {name}", found[name])

    # ------------------------------------------------------------------ architectures

    def _draws(self) -> Draws:
        position = self.position
        return Draws(self.super_net, self.seed, position.global_step, position.theta_epochs)

    def _sample_random(self) -> None:
        found = self.position.sampled
        if any(sampled.kind == "random" for sampled in found):
            return  # the search had ended before
        known = {self.super_net.canonical(s.architecture).id for s in found}
        wanted = self.num_random_archs if self.num_random_archs >= 0 else len(known)
        found += self._draws().at_random(wanted, self.prior)

    # ------------------------------------------------------------------ files

    def _write_history(self) -> None:
        if self.files.own is not None:
            self.history.write(self.files.own.theta)

    def _checkpoint(self) -> None:
        self.files.save(
            {
                "super_net": self.super_net.state_dict(),
                "optimizers": {kind: o.state_dict() for kind, o in self.optimizers.items()},
                "monitors": {kind: m.state_dict() for kind, m in self.monitors.items()},
                "penalty": self.penalty.state_dict(),
                "noise": self.noise.get_state(),
                "random": random_states(self.device),
                "history": self.history.state_dict(),
                "position": self.position.state_dict(),
            }
        )

    def _resume(self) -> None:
        with self.world.main_first():
            state = self.files.load()
        if state is not None:
            self.super_net.load_state_dict(state["super_net"])
            for kind in (WEIGHTS, THETA):
                self.optimizers[kind].load_state_dict(state["optimizers"][kind])
                self.monitors[kind].load_state_dict(state["monitors"][kind])
            self.penalty.load_state_dict(state["penalty"])
            self.noise.set_state(state["noise"])
            restore_random_states(state["random"], self.device)
            self.history.load_state_dict(state["history"])
            self.position = SearchPosition.from_state(state["position"])
            logger.info("%s: going on from step %d", self.experiment_id, self.position.global_step)
        self.files.rewind_metrics(self.position.global_step)
