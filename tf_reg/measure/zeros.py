"""How much of a model is exactly zero: single weights, whole inputs and outputs of layers, and what is left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import keras

from tf_reg import _walk
from tf_reg._text_table import aligned
from tf_reg.measure.core import Answer, Core, Question

_Kernel = tuple[Question, Answer]


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one layer, or of several layers together; add two of them for both.

    Attributes:
        weights: How many weights its kernels have: variables of two axes or more that are or could be trained, or their
            quantized form. Biases, and scales and shifts of norms, aren't kernels.
        zeros: How many of them are exactly zero.
        inputs: How many inputs it has, where its type is known to `tf_reg.penalties.groups.layout_of`; 0 elsewhere.
        dead_inputs: Inputs whose weights are all zero.
        outputs: How many outputs it has, as for `inputs`.
        dead_outputs: Outputs whose weights are all zero, whatever their bias.
        parameters: How many weights it has that are or could be trained, biases included, or their quantized form.
        live: How many of them remain when its own dead inputs and outputs are cut out.
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

    @classmethod
    def of(cls, found: Sequence[tuple[Question, Answer]]) -> SparsityReport:
        """The report of weights that were measured.

        Args:
            found: Each weight and its numbers; of kernels with a known layout also the dead inputs and outputs.
        """
        layers: dict[str, tuple[list[_Kernel], list[Question]]] = {}
        for question, answer in found:
            kernels, others = layers.setdefault(question.weight.owner, ([], []))
            if question.weight.is_kernel:
                kernels.append((question, answer))
            else:
                others.append(question)
        return cls({owner: _numbers(*both) for owner, both in layers.items()})

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
    are the ones that remain when its own dead inputs and outputs are cut out of its kernels and biases. Each layer is
    looked at alone: an input isn't counted as dead because the layer before it has a dead output, and the bias of a
    dead output counts as dead although it still adds a constant. Weights of normalisations, biases of other layers,
    and kernels whose inputs and outputs aren't known (EinsumDense) are all live.

    Use it after training, with or without regularizers. After `model.quantize("int8")` it counts the integer kernels.

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
    if not model.built:
        raise ValueError(
            f"tf_reg.sparsity expects a model that has its weights. Received: {model.name!r}, which isn't built. "
            "Call it on data, or model.build(input_shape), first."
        )
    questions = [Question(weight, units=weight.is_kernel) for weight in _walk.weights(model)]
    answers = Core(model, questions, compiled=False).measure()
    return SparsityReport.of(list(zip(questions, answers, strict=True)))


class _Cut(NamedTuple):
    """How many inputs and outputs a layer has, and how many of them are left without the dead ones."""

    inputs: int = 0
    live_inputs: int = 0
    outputs: int = 0
    live_outputs: int = 0


def _numbers(kernels: Sequence[_Kernel], others: Sequence[Question]) -> LayerSparsity:
    """The numbers of one layer."""
    cut = _cut(kernels)
    weights = sum(question.size for question, _ in kernels)
    live = sum(_live(question, cut) for question, _ in kernels)
    for question in others:
        is_bias = question.weight.variable.name == "bias" and cut.outputs
        live += question.size * cut.live_outputs // cut.outputs if is_bias else question.size
    return LayerSparsity(
        weights=weights,
        zeros=sum(answer.zeros for _, answer in kernels),
        inputs=cut.inputs,
        dead_inputs=cut.inputs - cut.live_inputs,
        outputs=cut.outputs,
        dead_outputs=cut.outputs - cut.live_outputs,
        parameters=weights + sum(question.size for question in others),
        live=live,
    )


def _cut(kernels: Sequence[_Kernel]) -> _Cut:
    """The layer's inputs are those of its first kernel, its outputs those of its last.

    A recurrent unit is alive as long as either of its layer's two kernels has a weight of it that isn't zero.
    """
    known = [(question.weight, answer) for question, answer in kernels if question.weight.layout is not None]
    if not known:
        return _Cut()
    inputs, outputs = known[0][1].inputs, known[-1][1].outputs
    if known[-1][0].variable.name == "recurrent_kernel":
        outputs = outputs | known[0][1].outputs
    return _Cut(inputs.size, int(inputs.sum()), outputs.size, int(outputs.sum()))


def _live(kernel: Question, cut: _Cut) -> int:
    """How many weights of a kernel are left; all divisions are exact."""
    name, layout = kernel.weight.variable.name, kernel.weight.layout
    if layout is None or not kernel.size:
        return kernel.size
    if name == "depthwise_kernel":  # of a separable convolution: the outputs are the other kernel's
        return kernel.size * cut.live_inputs // cut.inputs
    if layout == "depthwise":  # every output has one input
        return kernel.size * cut.live_outputs // cut.outputs
    if name == "recurrent_kernel":  # from units to units
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
