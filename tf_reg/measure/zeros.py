"""How much of a model is exactly zero: single weights, whole inputs and outputs of layers, and what is left."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg import _backend, _keras, _walk
from tf_reg._backend import Tensor
from tf_reg._text_table import aligned
from tf_reg.penalties import groups


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one layer, or of several layers together; add two of them for both.

    Attributes:
        weights: How many weights its kernels have: trainable variables of two axes or more.
        zeros: How many of them are exactly zero.
        inputs: How many inputs it has, where its type is known to `tf_reg.penalties.groups.layout_of`; 0 elsewhere.
        dead_inputs: Inputs whose weights are all zero.
        outputs: How many outputs it has, as for `inputs`.
        dead_outputs: Outputs whose weights are all zero, whatever their bias.
        parameters: How many trainable weights it has, biases included.
        live: How many of them are left when its own dead inputs and outputs are cut out.
    """

    weights: int = 0
    zeros: int = 0
    inputs: int = 0
    dead_inputs: int = 0
    outputs: int = 0
    dead_outputs: int = 0
    parameters: int = 0
    live: int = 0

    def __add__(self, other: LayerSparsity) -> LayerSparsity:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return LayerSparsity(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def sparsity(self) -> float:
        """The share of exact zeros among `weights`, from 0 to 1; NaN where there are none."""
        return self.zeros / self.weights if self.weights else math.nan


@dataclasses.dataclass(frozen=True)
class SparsityReport:
    """What `tf_reg.sparsity` found; print it for a table.

    Attributes:
        layers: The numbers of every layer that has trainable weights of its own, by its path.
    """

    layers: dict[str, LayerSparsity]

    @property
    def total(self) -> LayerSparsity:
        """The numbers of all layers added up."""
        return sum(self.layers.values(), LayerSparsity())

    def __str__(self) -> str:
        head = ["layer", "weights", "zeros", "dead inputs", "dead outputs", "live parameters"]
        body = [_cells(path, layer) for path, layer in self.layers.items()]
        lines = aligned([head, *body, _cells("total", self.total)])
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def sparsity(model: keras.Layer) -> SparsityReport:
    """Count the exact zeros of a model, layer by layer, and what they would save.

    An input or an output of a layer is dead when all of its weights are exactly zero. The live parameters of a layer
    are those left when its own dead inputs and outputs are cut out of its kernels and biases. This looks at each layer
    alone: that an input can go as well because the layer before it has a dead output isn't counted, nor that the bias
    of a dead output still adds a constant. Weights in no kernel (normalisations, biases of other layers), and kernels
    whose inputs and outputs aren't known (EinsumDense), are all live.

    Use it after training, with or without regularizers, to see what training left.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: The model isn't built.

    Example:
        >>> layer = keras.layers.Dense(2, name="dense")
        >>> model = keras.Sequential([keras.Input((3,)), layer])
        >>> layer.set_weights([np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]), np.zeros(2)])
        >>> print(tf_reg.sparsity(model))
        layer  weights      zeros  dead inputs  dead outputs  live parameters
        ---------------------------------------------------------------------
        dense        6  4 (66.7%)       1 of 3        1 of 2           3 of 8
        ---------------------------------------------------------------------
        total        6  4 (66.7%)       1 of 3        1 of 2           3 of 8
    """
    return Probe(model, compiled=False).measure()


class Probe:
    """Makes the report of one model time and again, by one compiled function and one transfer to the host.

    Args:
        model: A built Keras model or layer. Its weights are looked up once, here.
        compiled: Whether to compile, which is too slow for a single report.

    Raises:
        ValueError: The model isn't built.
    """

    def __init__(self, model: keras.Layer, compiled: bool = True) -> None:
        if not model.built:
            raise ValueError(
                f"tf_reg.sparsity expects a model that has its weights. Received: {model.name!r}, which isn't built. "
                "Call it on data, or model.build(input_shape), first."
            )
        self._owners = _owners(model)
        self._kernels = [kernel for kernels, _ in self._owners.values() for kernel in kernels]
        function = _zeros_function([kernel.layout for kernel in self._kernels])
        self._function = _backend.compile(function) if compiled else function

    def measure(self) -> SparsityReport:
        """Return the report of the weights as they are now."""
        found = iter(self._found())
        return SparsityReport(
            {
                path: _numbers(kernels, [next(found) for _ in kernels], others)
                for path, (kernels, others) in self._owners.items()
            }
        )

    def _found(self) -> list[_Found]:
        if not self._kernels:
            return []
        values = [ops.convert_to_tensor(kernel.variable) for kernel in self._kernels]
        numbers = ops.convert_to_numpy(self._function(values))
        lengths = [length for kernel in self._kernels for length in (1, kernel.inputs, kernel.outputs)]
        parts = np.split(numbers, np.cumsum(lengths)[:-1])
        return [_Found(int(parts[i][0]), parts[i + 1] > 0, parts[i + 2] > 0) for i in range(0, len(parts), 3)]


class _Kernel(NamedTuple):
    """A kernel, its size, and how many inputs and outputs it has; without a layout these aren't known."""

    variable: keras.Variable
    layout: str | None
    size: int
    inputs: int
    outputs: int


class _Found(NamedTuple):
    """What is in a kernel: how many zeros, and which inputs and outputs have a weight that isn't zero."""

    zeros: int
    inputs: np.ndarray
    outputs: np.ndarray


def _owners(model: keras.Layer) -> dict[str, tuple[list[_Kernel], list[keras.Variable]]]:
    """The kernels and the other weights of every layer that has some of its own, by the layer's path."""
    owners: dict[str, tuple[list[_Kernel], list[keras.Variable]]] = {}
    seen: set[int] = set()
    walk = [*_walk.layer_paths(model), (model.name, model)]
    around = {id(layer.cell): layer for _, layer in walk if hasattr(layer, "cell")}  # a cell has the layer's weights
    for path, layer in walk:
        own = [
            variable for variable in _keras.own_trainable_variables(layer) if id(variable) not in seen
        ]  # a frozen layer's too
        seen.update(map(id, own))
        wide = [len(variable.shape) > 1 and variable.name != "bias" for variable in own]  # a GRU's bias has two axes
        if own:
            both = layer, around.get(id(layer), layer)
            kernels = [_kernel(both, variable) for variable, is_wide in zip(own, wide, strict=True) if is_wide]
            others = [variable for variable, is_wide in zip(own, wide, strict=True) if not is_wide]
            owners[f"{path} (itself)" if path in owners else path] = kernels, others  # a model named like its layer
    return owners


def _kernel(owners: Iterable[keras.Layer], variable: keras.Variable) -> _Kernel:
    """A kernel, in the layout that the first of its owners with a known type has for it."""
    shape = tuple(variable.shape)
    size = math.prod(shape)
    for layer in owners:
        with contextlib.suppress(ValueError):
            layout = groups.layout_of(layer, variable.name)
            counts = [size // groups.grouping(shape, which, layout).size for which in ("inputs", "outputs")]
            return _Kernel(variable, layout, size, *counts)
    return _Kernel(variable, None, size, 0, 0)


def _zeros_function(layouts: Sequence[str | None]) -> Callable[[Sequence[Tensor]], Tensor]:
    """Kernels in, a vector out: for each kernel its zeros, then 1 for each input and output that isn't dead."""

    def zeros(values: Sequence[Tensor]) -> Tensor:
        parts = []
        for value, layout in zip(values, layouts, strict=True):
            alive = ops.not_equal(value, 0)
            parts.append(ops.reshape(ops.sum(ops.cast(ops.logical_not(alive), "int32")), (1,)))
            if layout is not None:
                matrices = [groups.as_matrix(alive, which, layout) for which in ("inputs", "outputs")]
                parts += [ops.cast(ops.any(matrix, axis=1), "int32") for matrix in matrices]
        return ops.concatenate([ops.cast(part, "int32") for part in parts])

    return zeros


class _Cut(NamedTuple):
    """How many inputs and outputs a layer has, and how many of them are left without the dead ones."""

    inputs: int = 0
    live_inputs: int = 0
    outputs: int = 0
    live_outputs: int = 0


def _numbers(kernels: Sequence[_Kernel], found: Sequence[_Found], others: Sequence[keras.Variable]) -> LayerSparsity:
    """The numbers of one layer."""
    cut = _cut(kernels, found)
    sizes = [(variable.name, math.prod(variable.shape)) for variable in others]
    weights = sum(kernel.size for kernel in kernels)
    live = sum(_live(kernel, cut) for kernel in kernels)
    for name, size in sizes:
        live += size * cut.live_outputs // cut.outputs if name == "bias" and cut.outputs else size
    return LayerSparsity(
        weights=weights,
        zeros=sum(one.zeros for one in found),
        inputs=cut.inputs,
        dead_inputs=cut.inputs - cut.live_inputs,
        outputs=cut.outputs,
        dead_outputs=cut.outputs - cut.live_outputs,
        parameters=weights + sum(size for _, size in sizes),
        live=live,
    )


def _cut(kernels: Sequence[_Kernel], found: Sequence[_Found]) -> _Cut:
    """The layer's inputs are those of its first kernel, its outputs those of its last.

    A recurrent unit is alive as long as either of its layer's two kernels keeps it so.
    """
    known = [(kernel, one) for kernel, one in zip(kernels, found, strict=True) if kernel.layout is not None]
    if not known:
        return _Cut()
    inputs, outputs = known[0][1].inputs, known[-1][1].outputs
    if known[-1][0].variable.name == "recurrent_kernel":
        outputs = outputs | known[0][1].outputs
    return _Cut(inputs.size, int(inputs.sum()), outputs.size, int(outputs.sum()))


def _live(kernel: _Kernel, cut: _Cut) -> int:
    """How many weights of a kernel are left; all divisions are exact."""
    if kernel.layout is None or not kernel.size:
        return kernel.size
    if kernel.variable.name == "depthwise_kernel":  # of a separable convolution: the outputs are the other kernel's
        return kernel.size * cut.live_inputs // cut.inputs
    if kernel.layout == "depthwise":  # every output has one input
        return kernel.size * cut.live_outputs // cut.outputs
    if kernel.variable.name == "recurrent_kernel":  # from units to units
        return kernel.size * cut.live_outputs**2 // cut.outputs**2
    return kernel.size * cut.live_inputs * cut.live_outputs // (cut.inputs * cut.outputs)


def _cells(path: str, layer: LayerSparsity) -> list[str]:
    """A row of the table."""
    share = f" ({layer.sparsity:.1%})" if layer.weights else ""
    dead = [(layer.dead_inputs, layer.inputs), (layer.dead_outputs, layer.outputs)]
    return [
        path,
        f"{layer.weights:,}",
        f"{layer.zeros:,}{share}",
        *(f"{count:,} of {of:,}" if of else "-" for count, of in dead),
        f"{layer.live:,} of {layer.parameters:,}",
    ]
