"""How much of a model is exactly zero: single weights, whole inputs and outputs of layers, and what is left."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras

from tf_reg import _walk
from tf_reg._checks import shown
from tf_reg._text_table import aligned
from tf_reg.measure.core import Answer, Core, Question
from tf_reg.measure.left import channels, left, removal_of

_Measured = tuple[Question, Answer]


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one layer, or of several layers together; add two of them for both.

    Attributes:
        weights: How many weights count: all of `parameters` but biases, shifts of normalizations and the matrices of
            LoRA. These are added to something, and begin at zero; they count where they have a regularizer.
        zeros: How many of `weights` are exactly zero.
        inputs: How many inputs it has, where its type is known to `tf_reg.penalties.groups.layout_of`; 0 elsewhere.
        dead_inputs: Inputs whose weights are all zero.
        outputs: How many outputs it has, as for `inputs`; of a normalization one for each entry of its scale.
        dead_outputs: Outputs whose weights are all zero, whatever their bias.
        parameters: How many numbers it has that are or could be trained, biases included, or their quantized form.
        live: How many of them `tf_reg.compact` leaves, with those of a bias that it makes. Where it doesn't take the
            model, how many remain when the layer's own dead inputs and outputs are cut out.
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
        compactable: Whether `tf_reg.compact` takes the model. If it doesn't, `live` looks at each layer alone.
        channels: How many channels nothing holds, as `tf_reg.channels` finds them; 0 where it doesn't take the model.
        removed_channels: How many of them `tf_reg.compact` removes.
    """

    layers: dict[str, LayerSparsity]
    compactable: bool = True
    channels: int = 0
    removed_channels: int = 0

    @classmethod
    def of(cls, model: keras.Layer, found: Sequence[tuple[Question, Answer]]) -> SparsityReport:
        """The report of weights that were measured.

        Args:
            model: The model that they are of.
            found: Each weight and its numbers, also the dead inputs and outputs where they are known.
        """
        layers: dict[str, list[_Measured]] = {}
        for question, answer in found:
            layers.setdefault(question.weight.owner, []).append((question, answer))
        removal = removal_of(model)
        sizes = None if removal is None else left(removal)
        owners = {owner: _numbers(measured, sizes) for owner, measured in layers.items()}
        return cls(owners, False) if removal is None else cls(owners, True, *channels(removal))

    @property
    def total(self) -> LayerSparsity:
        """The numbers of all layers added up."""
        return sum(self.layers.values(), LayerSparsity())

    def __str__(self) -> str:
        live = "live parameters" if self.compactable else "live parameters, each layer alone"
        head = ["layer", "weights", "zeros", "dead inputs", "dead outputs", live]
        body = [_cells(path, layer) for path, layer in self.layers.items()]
        lines = aligned([head, *body, _cells("total", self.total)])
        rule = "-" * max(map(len, lines))
        gone = f"tf_reg.compact removes {self.removed_channels:,} of {self.channels:,} channels"
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *([gone] if self.removed_channels else [])])


def sparsity(model: keras.Layer) -> SparsityReport:
    """Count the exact zeros of a model, layer by layer, and what they would save.

    The sparsity of a model is the share of exact zeros among its weights. Every weight that exists counts once:
    kernels, embeddings, scales of normalizations and vectors of other layers; frozen, shared, in nested models, with
    a regularizer or without. What is added to something else counts only where it has a regularizer: biases, shifts of
    normalizations, the matrices of LoRA. These begin at zero, and a zero there removes nothing. After `model.quantize`
    the integers count that stand for zero. `tf_reg.RegularizationLogger` logs the same number as `sparsity`.

    An input or an output of a layer is dead when all of its weights are exactly zero; an output of a normalization is
    dead when its scale is. The live parameters of a layer are those that `tf_reg.compact` leaves. They can be fewer
    than its dead inputs and outputs say: a unit that nobody reads goes too. They can be more: a dead output stays where
    something holds it, as the outputs of the model. `tf_reg.plan_compaction` says what holds it.

    A last line says how many channels `tf_reg.compact` removes, if it removes some, of all that nothing holds: see
    `tf_reg.channels`.

    `tf_reg.compact` takes functional and sequential models. For a layer alone, and for a model with a `call` of its
    own, each layer is looked at alone, and the table says so. Its live parameters are then those that remain when its
    own dead inputs and outputs are cut out. The bias of a dead output counts as dead there, although it still adds a
    constant. Kernels whose inputs and outputs aren't known are all live.

    Use it after training, with or without regularizers.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: It isn't a model, or isn't built.

    Example:
        >>> layer = keras.layers.Dense(2, name="dense")
        >>> model = keras.Sequential([keras.Input((3,)), layer])
        >>> layer.set_weights([np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]), np.zeros(2)])
        >>> print(tf_reg.sparsity(model))
        layer  weights      zeros  dead inputs  dead outputs  live parameters
        ---------------------------------------------------------------------
        dense        6  4 (66.7%)       1 of 3        1 of 2           6 of 8
        ---------------------------------------------------------------------
        total        6  4 (66.7%)       1 of 3        1 of 2           6 of 8
    """
    if not isinstance(model, keras.Layer):
        raise ValueError(f"tf_reg.sparsity expects a Keras model or layer. Received: model={shown(model)}.")
    if not model.built:
        raise ValueError(
            f"tf_reg.sparsity expects a model that has its weights. Received: {model.name!r}, which isn't built. "
            "Call it on data, or model.build(input_shape), first."
        )
    questions = [Question(weight, zeros=weight.counts, units=True) for weight in _walk.weights(model)]
    answers = Core(model, questions, compiled=False).measure()
    return SparsityReport.of(model, list(zip(questions, answers, strict=True)))


class _Cut(NamedTuple):
    """How many inputs and outputs a layer has, and how many of them are left without the dead ones."""

    inputs: int = 0
    live_inputs: int = 0
    outputs: int = 0
    live_outputs: int = 0


def _numbers(measured: Sequence[_Measured], sizes: Mapping[int, int] | None) -> LayerSparsity:
    """The numbers of one layer; `sizes` is what compaction leaves of each variable, None where that isn't known."""
    cut = _cut([(question, answer) for question, answer in measured if answer.outputs.size])
    counted = [(question.size, answer.zeros) for question, answer in measured if question.zeros]
    return LayerSparsity(
        weights=sum(size for size, _ in counted),
        zeros=sum(zeros for _, zeros in counted),
        inputs=cut.inputs,
        dead_inputs=cut.inputs - cut.live_inputs,
        outputs=cut.outputs,
        dead_outputs=cut.outputs - cut.live_outputs,
        parameters=sum(question.size for question, _ in measured),
        live=sum(_live(question, cut) if sizes is None else _left(question, sizes) for question, _ in measured),
    )


def _cut(known: Sequence[_Measured]) -> _Cut:
    """The layer's inputs are those of its first kernel, its outputs those of its last.

    A recurrent unit is alive as long as either of its layer's two kernels has a weight of it that isn't zero.
    """
    if not known:
        return _Cut()
    inputs, outputs = known[0][1].inputs, known[-1][1].outputs
    if known[-1][0].weight.variable.name == "recurrent_kernel":
        outputs = outputs | known[0][1].outputs
    return _Cut(inputs.size, int(inputs.sum()), outputs.size, int(outputs.sum()))


def _left(question: Question, sizes: Mapping[int, int]) -> int:
    """How many entries of a weight compaction leaves; of a quantized kernel, whose bytes hold several, all."""
    size = sizes.get(id(question.weight.variable), 0)
    return question.size if size and question.weight.quantized is not None else size


def _live(question: Question, cut: _Cut) -> int:
    """How many entries of a weight are left if its layer is looked at alone; all divisions are exact."""
    weight, size = question.weight, question.size
    name = weight.variable.name
    if weight.is_gate or name in ("bias", "beta"):  # an entry, or some, for each output
        return size * cut.live_outputs // cut.outputs if cut.outputs else size
    layout = weight.layout if weight.is_kernel else None
    if layout is None or not size:
        return size
    if name == "depthwise_kernel":  # of a separable convolution: the outputs are the other kernel's
        return size * cut.live_inputs // cut.inputs
    if layout == "depthwise":  # every output has one input
        return size * cut.live_outputs // cut.outputs
    if name == "recurrent_kernel":  # from units to units
        return size * cut.live_outputs**2 // cut.outputs**2
    return size * cut.live_inputs * cut.live_outputs // (cut.inputs * cut.outputs)


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
