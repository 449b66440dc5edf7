"""What can be removed from a model: a table for people."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from tf_reg._checks import is_integer, require, shown
from tf_reg._graph import as_graph
from tf_reg._keras import sublayers
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
from tf_reg.compaction.cost import multiply_adds, total
from tf_reg.compaction.objects import config_of
from tf_reg.compaction.removal import Removal, find, rounded

_MODULES = (rules, channelwise, einsum, recurrent, attention, normalizations, moves, merging, operations, wrappers)
RULES = {kind: rule for module in _MODULES for kind, rule in module.RULES.items()}


BeforeAfter = tuple[int, int]


class NotCompactableError(ValueError):
    """A model that compaction doesn't take."""


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """A layer that makes channels.

    Args:
        name: The name of the layer.
        before: How many channels it makes.
        after: How many it makes after compaction.
        inputs: How many numbers it reads at each place, before and after; None for an embedding.
        parameters: How many numbers its variables have, before and after.
        multiply_adds: How many multiply-adds it takes for one example, before and after; None where the size of an axis
            isn't known.
    """

    name: str
    before: int
    after: int
    inputs: BeforeAfter | None
    parameters: BeforeAfter
    multiply_adds: BeforeAfter | None


@dataclasses.dataclass(frozen=True, repr=False)
class CompactionPlan:
    """What `tf_reg.compact` would do to a model. Printed, it is a table.

    Attributes:
        layers: The layers that make channels, in the order of the model.
        parameters: How many numbers all variables of the model have, before and after.
        multiply_adds: How many multiply-adds of kernels it takes for one example, before and after; None where the size
            of an axis isn't known.
        held: How many channels have no effect and stay all the same, by what holds them.
        removal: What is removed, for `tf_reg.compact`.
    """

    layers: tuple[LayerPlan, ...]
    parameters: BeforeAfter
    multiply_adds: BeforeAfter | None
    held: dict[str, int]
    removal: Removal

    def __repr__(self) -> str:
        rows = [["layer", "inputs", "channels", "parameters", "multiply-adds"]]
        for one in self.layers:
            sizes = (one.inputs, (one.before, one.after), one.parameters, one.multiply_adds)
            rows.append([one.name, *map(_arrow, sizes)])
        rows.append(["model", "", "", _arrow(self.parameters), _arrow(self.multiply_adds)])
        lines = aligned(rows)
        lines += [f"{count} channels without effect stay: {reason}" for reason, count in self.held.items()]
        return "\n".join(lines)


def _arrow(sizes: BeforeAfter | None) -> str:
    """How a number changes, in words."""
    if sizes is None:
        return "-"
    return f"{sizes[0]:,}" if sizes[0] == sizes[1] else f"{sizes[0]:,} -> {sizes[1]:,}"


def plan_compaction(model: keras.Model, round_to: int | None = None) -> CompactionPlan:
    """Find out what can be removed from a model without a change of its outputs in inference.

    A unit or filter can go if all weights that read it are zero, or if its value is the same for every input: then the
    biases of the layers that read it take the value over. Channels that an addition, a multiplication or a depthwise
    convolution ties together go together or stay. A layer of a class that isn't known is a barrier: all channels around
    it stay.

    Args:
        model: A built functional or sequential model, of `keras.layers` and `keras.ops`; models within it too.
        round_to: A whole number such as 8. Some of the channels without effect stay, as zeros, so that the width of
            each layer is a multiple of it, or what it was. Many processors compute such widths faster. None keeps none.

    Raises:
        ValueError: Another model, or one that isn't built, or another `round_to`.

    Example:

    >>> first, last = keras.layers.Dense(4, name="first"), keras.layers.Dense(2, name="last")
    >>> model = keras.Sequential([keras.Input((3,)), first, last])
    >>> kernel, bias = last.get_weights()
    >>> last.set_weights([kernel * [[1.0], [0.0], [1.0], [0.0]], bias])
    >>> print(tf_reg.plan_compaction(model))
    layer  inputs  channels  parameters  multiply-adds
    first       3    4 -> 2     16 -> 8        12 -> 6
    last   4 -> 2         2     10 -> 6         8 -> 4
    model                      26 -> 14       20 -> 10
    """
    multiple = 1 if round_to is None else round_to
    expected = "round_to is a whole number above zero, or None"
    require(is_integer(multiple) and multiple > 0, expected, "round_to", round_to)
    removal = rounded(find(analysed(model)), int(multiple))  # not one of NumPy's, which has no -1
    costs = [multiply_adds(removal.analysis, shape) for shape in (lambda one: one.shape, _after(removal))]
    return CompactionPlan(
        tuple(_layers(removal, costs)),
        _parameters(removal, removal.analysis.graph.model.weights, removal.analysis.layers),
        _both([total(cost.values()) for cost in costs]),
        _held(removal),
        removal,
    )


def _after(removal: Removal) -> Callable[[Any], Sequence[Any]]:
    """What returns the shapes of variables and symbolic tensors after compaction."""

    def shape(one: Any) -> Sequence[Any]:
        if isinstance(one, keras.KerasTensor):
            return removal.shape_of(one, removal.analysis.of(one))
        return removal.shape(one)

    return shape


def analysed(model: keras.Model) -> Analysis:
    """Return the channels of a model.

    Args:
        model: A built functional or sequential model.

    Raises:
        ValueError: Another model, or one that isn't built.
    """
    graph = as_graph(model) if isinstance(model, keras.Model) else None
    if graph is None:
        expected = "Compaction takes a functional or sequential model that is built, without a `call` of its own"
        if not isinstance(model, keras.Model):
            way = "Give it the whole model."
        elif isinstance(model, keras.Sequential) and not model.built:
            way = "Give the model a keras.Input as its first layer, or call its build."
        else:
            way = "Compact the functional models inside of it one by one."
        raise NotCompactableError(f"{expected}. Received: {shown(model)}. {way}")
    analysis = Analysis(graph, RULES)
    _refuse_ties(analysis)
    return analysis


def _refuse_ties(analysis: Analysis) -> None:
    """Layers are made anew one by one, so that a layer within two of them would become two layers."""
    places: dict[int, Any] = {}
    for layer in analysis.layers:
        for inner in sublayers(layer):
            other = places.setdefault(id(inner), layer)
            if other is not layer and inner.variables:
                raise NotCompactableError(
                    f"Compaction takes models in which each layer has one place. Received: {inner.name!r}, whose "
                    f"weights are used by {other.name!r} and by {layer.name!r}. Call one layer twice, without another "
                    "one around it, or keep the model as it is."
                )


def _layers(removal: Removal, costs: Sequence[dict[int, int | None]]) -> Iterator[LayerPlan]:
    analysis, seen = removal.analysis, set[int]()
    for graph in (analysis.graph, *analysis.graphs.values()):
        for call in graph.calls:
            layer = call.operation
            widths = analysis.widths.get(id(layer))
            if widths is None or id(layer) in seen:
                continue
            seen.add(id(layer))
            ids = next(iter(widths.values()))
            reads = analysis.reads_of(layer)
            inputs = (len(reads[0].channels.ids), int(removal.rows(reads[0]).sum())) if reads else None
            yield LayerPlan(
                layer.name,
                before=len(ids),
                after=int(removal.kept(ids).sum()),
                inputs=inputs,
                parameters=_parameters(removal, layer.weights, [layer]),
                multiply_adds=_both([cost[id(layer)] for cost in costs]),
            )


def _both(numbers: Sequence[int | None]) -> BeforeAfter | None:
    before, after = numbers
    return None if before is None or after is None else (before, after)


def _parameters(removal: Removal, weights: Sequence[keras.Variable], layers: Sequence[Any]) -> BeforeAfter:
    """How many numbers the weights of layers have, before and after, with the biases that are made."""
    before = sum(math.prod(weight.shape) for weight in weights)
    after = sum(math.prod(removal.shape(weight)) for weight in weights)
    return before, after + sum(size for layer in layers for _, size in made_biases(removal, layer))


def made_biases(removal: Removal, layer: Any) -> Iterator[tuple[keras.Variable, int]]:
    """Yield the kernels of a layer, and of those inside it, for which a bias is made, and how many numbers it has."""
    for inner in removal.analysis.inside.get(id(layer), {}).values():
        yield from made_biases(removal, inner)
    for read in removal.analysis.reads_of(layer):
        if read.bias is not None and removal.makes_bias(read, config_of(layer)):
            kernel = removal.shape(read.kernel)
            size = math.prod(kernel[axis] for axis in read.bias.axes if axis is not None)
            yield read.kernel, size * (read.bias.parts or 1)
            return


def _held(removal: Removal) -> dict[str, int]:
    """How many channels are read by kernels and needed by none, by the reason why they stay."""
    analysis, read, needed = removal.analysis, set[int](), set[int]()
    for one in analysis.reads:
        roots = analysis.labels.roots(one.channels.ids)
        read |= set(roots.tolist())
        needed |= set(roots[~removal.unread[one.place]].tolist())
    idle = read - needed
    held = [reason for root, reason in analysis.reasons.items() if root in idle and reason != INPUT]
    return dict(Counter(held))
