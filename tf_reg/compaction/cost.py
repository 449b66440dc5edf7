"""How many multiply-adds the layers of a model take for one example."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
from keras import layers

from tf_reg._keras import Call
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.reads import Graph

Shape = Callable[[Any], Sequence[Any]]  # of a variable or a symbolic tensor
CONVOLUTIONS: Any = tuple(getattr(layers, f"Conv{rank}D") for rank in (1, 2, 3)) + tuple(
    getattr(layers, f"{name}Conv{rank}D") for name in ("Depthwise", "Separable") for rank in (1, 2)
)
TRANSPOSED: Any = tuple(getattr(layers, f"Conv{rank}DTranspose") for rank in (1, 2, 3))
RECURRENT = (layers.SimpleRNN, layers.LSTM, layers.GRU)


def multiply_adds(analysis: Analysis, shape: Shape) -> dict[int, int | None]:
    """Return the multiply-adds of each layer for one example, by the layer's id, over all of its calls.

    Counted are the kernels of dense layers, convolutions, recurrent layers and attention: the number of their weights
    times the number of places at which they are applied. Of attention, the products of queries, keys and values count
    too. Everything else counts as 0, as is usual. None where the size of an axis isn't known.

    Args:
        analysis: What is known of the model.
        shape: Returns the shape of a variable or a symbolic tensor, before or after compaction.
    """
    found: dict[int, int | None] = defaultdict(int)
    for call in _all_calls(analysis, analysis.graph):
        if isinstance(call.operation, keras.Layer):
            found[id(call.operation)] = total([found[id(call.operation)], *_terms(call, shape)])
    return dict(found)


def total(sizes: Iterable[int | None]) -> int | None:
    """Add numbers up. One that isn't known makes the sum unknown."""
    found = list(sizes)
    known = [size for size in found if size is not None]
    return sum(known) if len(known) == len(found) else None


def _all_calls(analysis: Analysis, graph: Graph) -> Iterator[Call]:
    """All calls of layers, those within a nested model once for each call of the model."""
    for call in graph.calls:
        inner = analysis.inner_graph(call.operation)
        if inner is None:
            yield call
        else:
            yield from _all_calls(analysis, analysis.graphs[id(inner)])


def _terms(call: Call, shape: Shape) -> Iterator[int | None]:
    """The multiply-adds of each kernel of a layer in one call."""
    layer: Any = call.operation
    if isinstance(layer, layers.Bidirectional):
        for inner in (layer.forward_layer, layer.backward_layer):
            yield from _terms(call._replace(operation=inner), shape)
    elif isinstance(layer, RECURRENT):
        for kernel in (layer.cell.kernel, layer.cell.recurrent_kernel):
            yield _times(shape(kernel), [shape(call.inputs[0])[1]])
    elif isinstance(layer, layers.MultiHeadAttention):
        yield from _attention(call, shape)
    elif isinstance(layer, layers.EinsumDense):
        yield _einsum(layer.equation, shape(layer.kernel), shape(call.outputs[0]))
    elif isinstance(layer, layers.Dense):
        yield _times(shape(layer.kernel), shape(call.outputs[0])[1:-1])
    elif type(layer) in (*CONVOLUTIONS, *TRANSPOSED):
        places = shape((call.inputs if type(layer) in TRANSPOSED else call.outputs)[0])[1:]
        places = places[:-1] if layer.data_format == "channels_last" else places[1:]
        for variable in layer.variables:
            if len(variable.shape) > 1:
                yield _times(shape(variable), places)


def _times(kernel: Sequence[int], places: Sequence[int | None]) -> int | None:
    known = [size for size in places if size is not None]
    return math.prod((*kernel, *known)) if len(known) == len(places) else None


def _einsum(equation: str, kernel: Sequence[int], output: Sequence[int | None]) -> int | None:
    """A kernel is applied once for each place along the axes of the output that it doesn't have itself."""
    names, result = equation.replace(" ", "").split(",")[1].split("->")
    if result.startswith("..."):
        result = "." * (len(output) - len(result) + 3) + result[3:]
    elif result.endswith("..."):
        result += "." * (len(output) - len(result))
    return _times(kernel, [size for name, size in list(zip(result, output, strict=False))[1:] if name not in names])


def _attention(call: Call, shape: Shape) -> Iterator[int | None]:
    """Each of three kernels is applied at each place of its input, the last one at each place of the queries."""
    layer = call.operation
    query, value = (shape(tensor)[1:-1] for tensor in (call.inputs[0], call.inputs[min(1, len(call.inputs) - 1)]))
    for dense, places in (
        (layer.query_dense, query),
        (layer.key_dense, value),
        (layer.value_dense, value),
        (layer.output_dense, query),
    ):
        yield _times(shape(dense.kernel), places)
    for dense in (layer.query_dense, layer.value_dense):  # scores of all pairs, and the sums that they weigh
        yield _times(shape(dense.kernel)[1:], (*query, *value))
