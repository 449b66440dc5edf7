"""What can be removed from a model: a table for people."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import keras

from tf_reg._graph import as_graph
from tf_reg._text_table import aligned
from tf_reg.compaction import (
    attention,
    channelwise,
    einsum,
    merging,
    moves,
    normalizations,
    operations,
    recurrent,
    rules,
    wrappers,
)
from tf_reg.compaction.analysis import INPUT, Analysis
from tf_reg.compaction.removal import Removal, find

_MODULES = (rules, channelwise, einsum, recurrent, attention, normalizations, moves, merging, operations, wrappers)
RULES = {kind: rule for module in _MODULES for kind, rule in module.RULES.items()}


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """A layer that makes channels.

    Args:
        name: The name of the layer.
        before: How many channels it makes.
        after: How many it makes after compaction.
        parameters: How many numbers its variables have, before and after.
    """

    name: str
    before: int
    after: int
    parameters: tuple[int, int]


@dataclasses.dataclass(frozen=True, repr=False)
class CompactionPlan:
    """What `tf_reg.compact` would do to a model. Printed, it is a table.

    Attributes:
        layers: The layers that make channels, in the order of the model.
        held: How many channels have no effect and stay all the same, by what holds them.
        removal: What is removed, for `tf_reg.compact`.
    """

    layers: tuple[LayerPlan, ...]
    held: dict[str, int]
    removal: Removal

    def __repr__(self) -> str:
        rows = [["layer", "channels", "parameters"]]
        for layer in self.layers:
            sizes = f"{layer.before}" if layer.before == layer.after else f"{layer.before} -> {layer.after}"
            rows.append([layer.name, sizes, f"{layer.parameters[0]:,} -> {layer.parameters[1]:,}"])
        lines = aligned(rows)
        lines += [f"{count} channels without effect stay: {reason}" for reason, count in self.held.items()]
        return "\n".join(lines)


def plan_compaction(model: keras.Model) -> CompactionPlan:
    """Find out what can be removed from a model without a change of its outputs in inference.

    A unit or filter can go if all weights that read it are zero, or if its value is the same for every input: then the
    biases of the layers that read it take the value over. Channels that an addition, a multiplication or a depthwise
    convolution ties together go together or stay. A layer of a class that isn't known is a barrier: all channels around
    it stay.

    Args:
        model: A built functional or sequential model, of `keras.layers` and `keras.ops`; models within it too.

    Raises:
        ValueError: Another model, or one that isn't built.

    Example:

    >>> first, last = keras.layers.Dense(4, name="first"), keras.layers.Dense(2, name="last")
    >>> model = keras.Sequential([keras.Input((3,)), first, last])
    >>> kernel, bias = last.get_weights()
    >>> last.set_weights([kernel * [[1.0], [0.0], [1.0], [0.0]], bias])
    >>> print(tf_reg.plan_compaction(model))
    layer  channels  parameters
    first    4 -> 2     16 -> 8
    last          2     10 -> 6
    """
    graph = as_graph(model) if isinstance(model, keras.Model) else None
    if graph is None:
        raise ValueError(
            "Compaction takes a functional or sequential model that is built, without a `call` of its own. Received: "
            f"{model!r}. Compact the functional models inside of it one by one."
        )
    removal = find(Analysis(graph, RULES))
    return CompactionPlan(tuple(_layers(removal)), _held(removal), removal)


def _layers(removal: Removal) -> list[LayerPlan]:
    analysis, seen, found = removal.analysis, set[int](), []
    for graph in (analysis.graph, *analysis.graphs.values()):
        for call in graph.calls:
            layer = call.operation
            widths = analysis.widths.get(id(layer))
            if widths is None or id(layer) in seen:
                continue
            seen.add(id(layer))
            ids = next(iter(widths.values()))
            sizes = _parameters(removal, layer)
            found.append(LayerPlan(layer.name, len(ids), int(removal.kept(ids).sum()), sizes))
    return found


def _parameters(removal: Removal, layer: Any) -> tuple[int, int]:
    variables = layer.variables
    return sum(math.prod(v.shape) for v in variables), sum(math.prod(removal.shape(v)) for v in variables)


def _held(removal: Removal) -> dict[str, int]:
    """How many channels are read by kernels and needed by none, by the reason why they stay."""
    analysis, read, needed = removal.analysis, set[int](), set[int]()
    for one in analysis.reads:
        roots = analysis.labels.roots(one.channels.ids)
        read |= set(roots.tolist())
        needed |= set(roots[~removal.unread[one.place]].tolist())
    held = [reason for root, reason in analysis.reasons.items() if root in read - needed and reason != INPUT]
    return dict(Counter(held))
