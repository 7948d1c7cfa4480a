"""What do slices save? Training paths and scoring candidates of a NASRec supernet.

*Masked* is the usual way to run a path in a supernet: its operators at the largest width, on the
concatenation of all sources, of which those that are not connected are zeros; outputs are
multiplied by a prefix mask; blocks that do not reach the logit run too. *Sliced* is what this
library does. Both train the same paths with the same
optimizer on the same batches, in turns; ratios are medians over pairs of neighbours.

    python benchmarks/nasrec_speed.py --batch 256 --threads 1 --json FILE
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.data.batch import ClickBatch
from dnas.files import write_json
from dnas.training.allocator import keep_freed_memory
from dnas.training.clipping import clip_grad_norm
from dnas.training.optim import OptimizerSet, sparse_parameter_ids
from supernets.nasrec import NASRecConfig, NASRecSuperNet
from supernets.nasrec.genome import Block, Genome, everything
from supernets.nasrec.liveness import all_live
from supernets.nasrec.model import parameter_name
from supernets.nasrec.network import BlockNetwork, Network
from supernets.nasrec.path_step import SlicedPathStep
from supernets.nasrec.prior import NASRecPrior
from supernets.nasrec.released import RELEASED_DENSE_DIMS, RELEASED_SPARSE_DIMS
from supernets.nasrec.shape import DENSE_OPERATORS, SPARSE_OPERATORS
from supernets.nasrec.site import Inputs

NUM_DENSE, NUM_SPARSE = 13, 26
LR, EPS, CLIP = 0.04, 1e-2, 5.0
LOSS = F.binary_cross_entropy_with_logits
#: NASRec-Full in three forms: as the paper says; with the option lists and source counts of the
#: authors' code, where the supernet is wider and paths hardly so; all as in that code.
SPACES = {
    "paper": NASRecConfig(),
    "paper's operators, the code's lists": NASRecConfig(
        dense_dims=RELEASED_DENSE_DIMS,
        sparse_dims=RELEASED_SPARSE_DIMS,
        max_inputs=4,
        connection_counts="binomial",
    ),
    "released": NASRecConfig(variant="released"),
}


class MaskedNetwork:
    """A path at full width: chosen operators, all inputs, masked outputs.

    Norms are over the full width and masks come after them, as usual where slices are not used, so
    that its outputs are not those of the network on its own.
    """

    def __init__(self, net: NASRecSuperNet, genome: Genome) -> None:
        shape = net.shape
        self.genome = genome
        wide = tuple(
            replace(full, dense_ops=block.dense_ops, sparse_ops=block.sparse_ops)
            for full, block in zip(everything(shape), genome, strict=True)
        )
        self.network = Network(shape, wide, all_live(wide), whole=True)
        self.masks = [
            (
                _prefix(block.dense_dim, shape.dense_dims[-1]),
                torch.cat(
                    [
                        _prefix(block.sparse_dim, shape.sparse_dims[-1]),
                        torch.full((shape.interact_rows,), float(block.interact)),
                    ]
                ),
            )
            for block in genome
        ]

    def __call__(self, weights: dict[str, Tensor], dense: Tensor, sparse: Tensor) -> Tensor:
        dense_outputs, sparse_outputs = [dense], [sparse]
        for number, block in self.network.blocks.items():
            genes = self.genome[number - 1]
            new_dense, new_sparse = _masked_block(
                block, genes, weights, dense_outputs, sparse_outputs
            )
            dense_mask, sparse_mask = self.masks[number - 1]
            dense_outputs.append(new_dense * dense_mask)
            sparse_outputs.append(new_sparse * sparse_mask)
        features = torch.cat([dense_outputs[-1], sparse_outputs[-1].flatten(1)], dim=1)
        head = self.network.head_weight(weights)
        return F.linear(features, head, weights["head.bias"]).squeeze(1)


def _prefix(length: int, width: int) -> Tensor:
    return (torch.arange(width) < length).float()


def _masked_block(
    block: BlockNetwork,
    genes: Block,
    weights: dict[str, Tensor],
    dense: list[Tensor],
    sparse: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """The block's operators on inputs of which some sources are zeros."""

    def chosen(outputs: list[Tensor], sources: Sequence[int]) -> list[Tensor]:
        return [o if s in sources else torch.zeros_like(o) for s, o in enumerate(outputs)]

    inputs = Inputs(
        dense=torch.cat(chosen(dense, genes.dense_in), dim=1),
        sparse=torch.cat(chosen(sparse, genes.sparse_in), dim=2),
        left=chosen(dense, genes.left),
        right=chosen(dense, genes.right),
    )
    # Paths have one operator in each branch.
    dense_out, sparse_out = block.dense[0](weights, inputs), block.sparse[0](weights, inputs)
    assert block.interact is not None
    rows = block.interact.of(weights, dense_out)
    if block.fm is not None and genes.fm:
        dense_out = dense_out + block.fm.of(weights, sparse_out)
    return dense_out, torch.cat([sparse_out, rows], dim=2)


class MaskedStep:
    """Trains paths at full width; only what a path uses has a gradient and is updated."""

    def __init__(self, net: NASRecSuperNet) -> None:
        self.net = net
        self.optimizer = OptimizerSet(
            torch.optim.Adagrad,
            [{"params": net.weight_parameters()}],
            [LR],
            init_params={"eps": EPS},
            sparse=sparse_parameter_ids(net),
        )

    def __call__(self, batch: ClickBatch, genome: Genome) -> Tensor:
        self.optimizer.zero_grad()
        dense, ids = batch.inputs
        network = MaskedNetwork(self.net, genome)
        weights = {
            w.name: self.net.weights[parameter_name(w.name)] for w in network.network.weights
        }
        loss = LOSS(network(weights, dense, self.net.embed(ids)), batch.labels)
        loss.backward()
        clip_grad_norm(self.optimizer.parameters(), CLIP)
        self.optimizer.step()
        return loss.detach()


@dataclass(frozen=True)
class Case:
    """What is measured."""

    config: NASRecConfig
    batch: int
    rows: int

    def supernet(self) -> NASRecSuperNet:
        """Freshly initialised, always alike."""
        torch.manual_seed(0)
        shape = self.config.shape(NUM_DENSE, NUM_SPARSE, (*DENSE_OPERATORS, *SPARSE_OPERATORS))
        return NASRecSuperNet(shape, (self.rows,) * NUM_SPARSE)

    def prior(self, net: NASRecSuperNet) -> NASRecPrior:
        """Draws of its space."""
        return NASRecPrior(
            net, input_limit=self.config.input_limit(), binomial_paths=self.config.binomial_paths()
        )

    def batches(self, count: int = 8) -> list[ClickBatch]:
        """Random rows."""
        generator = torch.Generator().manual_seed(1)
        return [
            ClickBatch(
                torch.randn(self.batch, NUM_DENSE, generator=generator),
                torch.randint(self.rows, (self.batch, NUM_SPARSE), generator=generator),
                (torch.rand(self.batch, generator=generator) < 0.3).float(),
            )
            for _ in range(count)
        ]


def seconds(work: Callable[[], object]) -> float:
    """One run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def training(case: Case, steps: int) -> dict[str, float]:
    """Samples per second of both ways, over the same paths."""
    nets = [case.supernet() for _ in range(2)]
    sliced = SlicedPathStep(
        nets[0], torch.optim.Adagrad, LR, {"eps": EPS}, CLIP, LOSS, torch.device("cpu")
    )
    masked = MaskedStep(nets[1])
    prior, generator = case.prior(nets[0]), torch.Generator().manual_seed(2)
    batches = case.batches()
    genomes = [prior.path_genome("", generator) for _ in range(steps + 3)]
    taken: dict[str, list[float]] = {"sliced": [], "masked": []}
    macs: dict[str, list[float]] = {"sliced": [], "masked": []}
    for number, genome in enumerate(genomes):
        path = nets[0].architecture(genome)
        batch = batches[number % len(batches)]
        times = {
            "sliced": seconds(partial(sliced, batch, path)),
            "masked": seconds(partial(masked, batch, genome)),
        }
        if number < 3:
            continue  # warming up
        for name, value in times.items():
            taken[name].append(value)
        macs["sliced"].append(nets[0].network(path).costs().flops / 2)
        wide = MaskedNetwork(nets[1], genome).network
        macs["masked"].append(wide.costs().flops / 2)
    total = {name: sum(values) for name, values in taken.items()}
    ratios = [m / s for m, s in zip(taken["masked"], taken["sliced"], strict=True)]
    return {
        "ratio": total["masked"] / total["sliced"],
        "ratio_median": statistics.median(ratios),
        "macs_ratio_median": statistics.median(macs["masked"]) / statistics.median(macs["sliced"]),
        "sliced_samples_s": case.batch * steps / total["sliced"],
        "masked_samples_s": case.batch * steps / total["masked"],
    }


def scoring(case: Case, candidates: int) -> dict[str, float]:
    """Forward passes of candidates: in the supernet, and of the models built from them."""
    net = case.supernet().eval()
    prior, generator = case.prior(net), torch.Generator().manual_seed(3)
    dense, ids = case.batches(1)[0].inputs
    ratios, inside_ms, alone_ms = [], [], []
    for _ in range(candidates):
        candidate = prior.candidate(generator)
        model = net.build(candidate, inherit_weights=True).eval()
        sample = net.one_hot_sample(candidate)
        with torch.no_grad():
            pairs = []
            for _ in range(6):
                inside = seconds(partial(net, dense, ids, sample=sample))
                alone = seconds(partial(model, dense, ids))
                pairs.append((inside, alone))
        inside, alone = (statistics.median(values) for values in zip(*pairs[1:], strict=True))
        ratios.append(inside / alone)
        inside_ms.append(1e3 * inside)
        alone_ms.append(1e3 * alone)
    return {
        "ratio": statistics.median(ratios),
        "inside_ms": statistics.median(inside_ms),
        "alone_ms": statistics.median(alone_ms),
    }


def main() -> None:
    """Two tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rows", type=int, default=1_000, help="of every feature's table")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40, help="training steps that count")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    keep_freed_memory()  # as every job does
    results = {}
    sys.stdout.write(
        "| space | training: masked / sliced | median of steps | MACs masked / sliced | samples/s "
        "sliced | masked | scoring: inside / alone | inside ms | alone ms |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    for name, config in SPACES.items():
        case = Case(config, settings.batch, settings.rows)
        trained = training(case, settings.steps)
        scored = scoring(case, settings.candidates)
        results[name] = {"training": trained, "scoring": scored}
        sys.stdout.write(
            f"| {name} | {trained['ratio']:.1f} | {trained['ratio_median']:.1f} "
            f"| {trained['macs_ratio_median']:.1f} | {trained['sliced_samples_s']:.0f} "
            f"| {trained['masked_samples_s']:.0f} | {scored['ratio']:.3f} "
            f"| {scored['inside_ms']:.1f} | {scored['alone_ms']:.1f} |\n"
        )
        sys.stdout.flush()
    if settings.json is not None:
        write_json(settings.json, results)


if __name__ == "__main__":
    main()
