"""FC-of-FC: all multilayer perceptrons over a list of layer widths, arXiv:2110.14812 VI-C1, fig. 6.

The supernet is a graph of nodes: one for each layer and possible width. An edge from every node of
a layer to every node of the next is a fully connected layer of its own, followed by its activation;
an edge between nodes of equal width may also *skip* the layer. A node is the weighted sum of its
incoming edges. Activations are applied on each edge before the sum, so that a one-hot sample is
exactly a chain of layers.

Letters: L layers, S widths, B rows. ``m[o, i]`` is the weight of edge i -> o, P(o) the probability
that the chosen chain passes through node o.

What a decision means depends on whether its node is on the chain at all, so theta alone cannot be
drawn or costed. P is pushed back from the output::

    P(output) = 1;    P(i) += P(o) * m[o, i];    P(same-width node below) += P(o) * m[o, skip]

and gives the expected cost, the probability picture and (with a one-hot sample) the chain. Mass on
skip edges goes on to the layers below, which otherwise would look free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dnas.core import (
    Architecture,
    Choice,
    OperatorCounts,
    Option,
    Picture,
    Sample,
    SuperNet,
    joined,
)
from dnas.costs.formulas import linear_flops, linear_params
from dnas.errors import ArchitectureError, ConfigError
from dnas.models import MLP
from dnas.models.dense import linear_relu
from dnas.models.operators import linear_operator
from supernets.edge_layer import SKIP, EdgeLayer, LayerPlan

#: Costs of an edge, by name.
_COSTS = {"flops": linear_flops, "params": linear_params}


class MLPSuperNet(SuperNet):
    """FC-of-FC between a fixed input and a fixed output width.

    Args:
        input_dim: Width of the input.
        output_dim: Width of the output.
        size_options: Possible widths of the hidden layers.
        num_layers: Layers of the longest chain, at least 1. With 1 there is nothing to choose.
        name: Prefix of the choices' names; unique among nested supernets.
        last_activation: ReLU after the last layer too.
        fix_first: The first layer is always there. False: it may be skipped, which needs
            ``input_dim`` among the sizes.
        fix_last: The last layer is always there. False: it may be skipped, which needs
            ``output_dim`` among the sizes.

    The decision ``"{name}.layer{l}/{width}"`` says what feeds the node of that width in layer l:
    the width of a node below through a fully connected layer, or ``"skip"``.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        size_options: Sequence[int],
        num_layers: int,
        *,
        name: str = "mlp",
        last_activation: bool = True,
        fix_first: bool = True,
        fix_last: bool = True,
    ) -> None:
        super().__init__()
        sizes = tuple(dict.fromkeys(size_options))
        if num_layers < 1:
            raise ConfigError(f"{name}: num_layers must be at least 1, but got {num_layers}")
        if num_layers > 1 and (not sizes or min(sizes) < 1):
            raise ConfigError(f"{name}: size_options must be positive widths, but got {sizes}")
        for flag, fixed, width in (
            ("fix_first", fix_first, input_dim),
            ("fix_last", fix_last, output_dim),
        ):
            reachable = {*sizes, *((input_dim, output_dim) if num_layers == 1 else ())}
            if not fixed and width not in reachable:
                raise ConfigError(
                    f"{name}: {flag}=False lets a layer be skipped, for which width {width} must "
                    f"be among the sizes {sizes}"
                )
        self.name = name
        self.last_activation = last_activation
        levels = [(input_dim,), *[sizes] * (num_layers - 1), (output_dim,)]
        self.plans = tuple(
            LayerPlan(
                inputs=levels[layer],
                outputs=levels[layer + 1],
                skippable=(layer > 0 or not fix_first) and (layer < num_layers - 1 or not fix_last),
            )
            for layer in range(num_layers)
        )
        self.layers = nn.ModuleList(EdgeLayer(plan) for plan in self.plans)
        self.layer_choices = nn.ModuleDict()
        for number, plan in enumerate(self.plans):
            # Constants of the recursion; float64, in which the costs of an architecture are exact.
            for kind, table in (("costs", _cost_table(plan)), ("skips", _skip_table(plan))):
                self.register_buffer(f"_{kind}_{number}", table, persistent=False)
            options = {str(w): plan.options(o) for o, w in enumerate(plan.outputs)}
            if all(sum(o is not None for o in row) == 1 for row in options.values()):
                continue  # a single way in everywhere: nothing to decide
            self.layer_choices[str(number)] = Choice(
                f"{name}.layer{number}",
                options,
                columns=[*map(str, plan.inputs), SKIP],
                row_title="width of the layer",
                column_title="fed by width",
            )

    # ------------------------------------------------------------------ forward

    def forward(self, x: Tensor, *, sample: Sample) -> Tensor:
        """``(B, input_dim)`` to ``(B, output_dim)``; of a hard sample, just its chain."""
        if sample.architecture is not None:
            return self._forward_chain(x, sample.architecture)
        nodes: tuple[Tensor, ...] = (x,)
        for number, layer in enumerate(self.layers):
            activate = self.last_activation or number < len(self.layers) - 1
            nodes = layer(nodes, self._edge_weights(sample, number), activate)
        return nodes[0]

    def _forward_chain(self, x: Tensor, architecture: Architecture) -> Tensor:
        width = self.plans[0].inputs[0]
        for number, reached in enumerate(self.path(architecture)):
            if reached is None:
                continue
            edges = self.layers[number]
            assert isinstance(edges, EdgeLayer)
            weight, bias = edges.edge(width, reached)
            if self.last_activation or number < len(self.layers) - 1:
                x = linear_relu(x, weight, bias)
            else:
                x = nn.functional.linear(x, weight, bias)
            width = reached
        return x

    def _edge_weights(self, sample: Sample, layer: int) -> Tensor | None:
        """``(B, outputs, inputs + 1)`` of a layer, or None where nothing is decided."""
        key = str(layer)
        if key not in self.layer_choices:
            return None
        return sample[self._choice(layer)]

    def _choice(self, layer: int) -> Choice:
        choice = self.layer_choices[str(layer)]
        assert isinstance(choice, Choice)
        return choice

    # ------------------------------------------------------------------ probabilities and costs

    def _push_back(self, sample: Sample, visit: Callable[[int, Tensor, Tensor], None]) -> None:
        """Walk from the output to the input with the nodes' probabilities.

        ``visit(layer, edge_mass, skip_mass)`` gets ``(B, outputs, inputs)``, the probability that
        the chain takes each fully connected edge, and ``(B, outputs)``, that it skips there.
        """
        first = next(iter(sample.weights.values()), None)
        reference = first if first is not None else torch.ones(1)
        p = reference.new_ones((reference.shape[0], 1))  # (B, nodes above)
        for number in range(len(self.plans) - 1, -1, -1):
            plan = self.plans[number]
            weights = self._edge_weights(sample, number)
            if weights is None:
                weights = reference.new_zeros((1, len(plan.outputs), len(plan.inputs) + 1))
                weights[..., 0] = 1.0  # a single way in: from the only node below
            mass = p.unsqueeze(-1) * weights  # (B, outputs, inputs + 1)
            visit(number, mass[..., :-1], mass[..., -1])
            skips: Tensor = getattr(self, f"_skips_{number}")
            p = mass[..., :-1].sum(dim=1) + mass[..., -1] @ skips.to(mass.dtype)  # (B, inputs)

    def cost_terms(self, sample: Sample) -> dict[str, Tensor]:
        """``flops`` and ``params`` of the chain, expected under ``sample``, each ``(B,)``.

        ``sum_l sum_o P_l(o) sum_i m_l[o, i] cost(i, o)``, exact for every sample because each
        node's decision is taken independently of those above it.
        """
        parts: list[Tensor] = []

        def visit(layer: int, edges: Tensor, skips: Tensor) -> None:
            table: Tensor = getattr(self, f"_costs_{layer}")
            parts.append(edges.flatten(1) @ table.to(edges.dtype))  # (B, 2)

        self._push_back(sample, visit)
        totals = torch.stack(parts).sum(0)
        return dict(zip(_COSTS, totals.unbind(1), strict=True))

    def operator_terms(self, sample: Sample) -> OperatorCounts:
        """The fully connected layers of the chain, each as likely as the chain takes its edge."""
        parts: list[OperatorCounts] = []

        def visit(layer: int, edges: Tensor, skips: Tensor) -> None:
            plan = self.plans[layer]
            relu = self.last_activation or layer < len(self.plans) - 1
            operators = [linear_operator(i, o, relu) for o in plan.outputs for i in plan.inputs]
            parts.append(OperatorCounts(tuple(operators), edges.flatten(1)))

        self._push_back(sample, visit)
        return joined(parts, parts[0].counts)

    def pictures(self) -> dict[str, Picture]:
        """Marginal probability of each layer's width, and of the layer being skipped.

        theta of a node is conditional on the chain passing there and says little by itself; this
        is the probability under softmax(theta) that the layer is there with that width.
        """
        if not self.choices:
            return {}
        widths = sorted({w for plan in self.plans for w in plan.outputs})
        values = torch.full((len(self.plans), len(widths) + 1), float("nan"))

        def visit(layer: int, edges: Tensor, skips: Tensor) -> None:
            plan = self.plans[layer]
            for output, width in enumerate(plan.outputs):
                values[layer, widths.index(width)] = edges[0, output].sum()
            if plan.skippable:
                values[layer, -1] = skips[0].sum()

        with torch.no_grad():
            self._push_back(self.probability_sample(), visit)
        return {
            self.name: Picture(
                values=values,
                rows=tuple(f"layer {number}" for number in range(len(self.plans))),
                columns=(*map(str, widths), "skipped"),
                row_title="layer",
                column_title="width",
            )
        }

    # ------------------------------------------------------------------ chains

    def path(self, architecture: Mapping[str, Option]) -> list[int | None]:
        """The chain from input to output: for each layer its output width, None if skipped."""
        node = 0
        backwards: list[int | None] = []
        for number in range(len(self.plans) - 1, -1, -1):
            plan = self.plans[number]
            option = self._taken(architecture, number, node)
            if option == SKIP:
                backwards.append(None)
                source = plan.skip_source(node)
                assert source is not None
                node = source
            else:
                backwards.append(plan.outputs[node])
                node = plan.inputs.index(int(option))
        return backwards[::-1]

    def sizes(self, architecture: Mapping[str, Option]) -> tuple[int, ...]:
        """Widths of the chosen perceptron, input and output included."""
        return (self.plans[0].inputs[0], *(w for w in self.path(architecture) if w is not None))

    def _taken(self, architecture: Mapping[str, Option], layer: int, node: int) -> Option:
        """What feeds node number ``node`` above ``layer``."""
        plan = self.plans[layer]
        if str(layer) not in self.layer_choices:
            return plan.inputs[0]
        choice = self._choice(layer)
        key = choice.keys[node]
        if key not in architecture:
            raise ArchitectureError(f"decision {key!r} is missing")
        option = choice.options[node][choice.index(node, architecture[key])]
        assert option is not None
        return option

    def trim(self, architecture: Architecture) -> Architecture:
        """Keep the decisions of the nodes on the chain only."""
        own, others = self.own_and_others(architecture)
        if not own:
            return architecture  # a supernet around this one left it out
        on_chain = set()
        node = 0
        for number in range(len(self.plans) - 1, -1, -1):
            option = self._taken(architecture, number, node)
            if str(number) in self.layer_choices:
                on_chain.add(self._choice(number).keys[node])
            source = self.plans[number].skip_source(node) if option == SKIP else None
            node = source if source is not None else self.plans[number].inputs.index(int(option))
        return Architecture({**others, **{key: o for key, o in own.items() if key in on_chain}})

    def canonical(self, architecture: Architecture) -> Architecture:
        """The same widths with all skips as late as this space allows.

        Trained from scratch, a chain is its widths; in which layers it skips does not matter,
        except where skipping the last layer decides whether the output passes a ReLU.
        """
        own, others = self.own_and_others(architecture)
        if not own and self.layer_choices:
            return architecture  # a supernet around this one left it out
        last_skipped = self.path(architecture)[-1] is None
        decisions = self._latest_skips(self.sizes(architecture), last_skipped)
        return Architecture({**others, **decisions})

    def _latest_skips(self, sizes: tuple[int, ...], last_skipped: bool) -> dict[str, Option]:
        """Decisions of the chain of ``sizes`` that uses the earliest possible layers."""
        last = len(self.plans) - 1

        def search(layer: int, width: int, position: int) -> dict[str, Option] | None:
            if layer == len(self.plans):
                return {} if position == len(sizes) else None
            plan = self.plans[layer]
            moves: list[tuple[Option, int, int]] = []
            if position < len(sizes) and sizes[position] in plan.outputs:
                moves.append((width, sizes[position], position + 1))
            if width in plan.outputs and plan.skip_source(plan.outputs.index(width)) is not None:
                moves.append((SKIP, width, position))
            for option, reached, next_position in moves:
                if layer == last and not self.last_activation and (option == SKIP) != last_skipped:
                    continue
                rest = search(layer + 1, reached, next_position)
                if rest is not None:
                    if str(layer) in self.layer_choices:
                        node = plan.outputs.index(reached)
                        rest[self._choice(layer).keys[node]] = option
                    return rest
            return None

        found = search(0, sizes[0], 1)
        assert found is not None, f"no chain of {sizes} in this space"
        return found

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> MLP:
        """The chosen chain as an MLP."""
        module = MLP(self.sizes(architecture), last_activation=self.last_activation)
        # An MLP drops the activation after its last *executed* layer, the supernet that of the
        # last layer's edges: with a skipped last layer they differ, so that case keeps its ReLU.
        if self.path(architecture)[-1] is None and len(module.layers) > 0:
            module.last_activation = True
        if inherit_weights:
            width = self.plans[0].inputs[0]
            position = 0
            for number, reached in enumerate(self.path(architecture)):
                if reached is None:
                    continue
                edge = self.layers[number]
                linear = module.layers[position]
                assert isinstance(edge, EdgeLayer)
                assert isinstance(linear, nn.Linear)
                weight, bias = edge.edge(width, reached)
                with torch.no_grad():
                    linear.weight.copy_(weight)
                    linear.bias.copy_(bias)
                width, position = reached, position + 1
        return module


def _cost_table(plan: LayerPlan) -> Tensor:
    """``(outputs * inputs, costs)`` of the edges of a layer."""
    return torch.tensor(
        [[cost(i, o) for cost in _COSTS.values()] for o in plan.outputs for i in plan.inputs],
        dtype=torch.float64,
    )


def _skip_table(plan: LayerPlan) -> Tensor:
    """``(outputs, inputs)``: 1 where a skip leads from the node below to the node above."""
    table = torch.zeros((len(plan.outputs), len(plan.inputs)), dtype=torch.float64)
    for output in range(len(plan.outputs)):
        source = plan.skip_source(output)
        if source is not None:
            table[output, source] = 1.0
    return table
