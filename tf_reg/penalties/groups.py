"""A kernel as groups of weights: what belongs to one input of a layer, or to one output, or to one index you name."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import is_array, is_integer, require
from tf_reg.penalties.heads import EXAMPLE, Heads

Groups = str | Sequence[int]


class Layout(NamedTuple):
    """Where a layer type keeps the inputs and the outputs of its kernel.

    Args:
        inputs: The axes that index an input, counted from the end.
        outputs: The axes that index an output, counted from the end.
        gates: How many blocks lie side by side along the last axis; an output is made of one column of each.
    """

    inputs: tuple[int, ...] = (-2,)
    outputs: tuple[int, ...] = (-1,)
    gates: int = 1


LAYOUTS = {
    "kernel": Layout(),
    "transposed": Layout(inputs=(-1,), outputs=(-2,)),
    "depthwise": Layout(outputs=(-2, -1)),
    "lstm": Layout(gates=4),
    "gru": Layout(gates=3),
}


class Grouping(NamedTuple):
    """How a kernel falls into groups.

    Args:
        shape: The shape to see the kernel in: its own, with the gates on an axis of their own.
        axes: The axes of `shape` along which the members of one group lie, in rising order.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of weights in a group."""
        return math.prod(self.shape[axis] for axis in self.axes)

    @property
    def number(self) -> int:
        """The number of groups."""
        return math.prod(self.shape[axis] for axis in _all_but(self.axes, len(self.shape)))

    @property
    def one_each(self) -> tuple[int, ...]:
        """The shape of one number for each group, which broadcasts to `shape`: 1 along `axes`."""
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.shape))

    def view(self, x: Tensor) -> Tensor:
        """A tensor of the kernel's shape, reshaped to `shape`; a scalar, or one number for each group, as it is."""
        shape = tuple(getattr(x, "shape", ()))
        return x if shape in ((), self.shape, self.one_each) else ops.reshape(x, self.shape)

    def some(self, truth: Tensor) -> Tensor:
        """Whether a boolean of the kernel's shape is true for some member of a group: shape `(groups,)`."""
        view = self.view(truth)
        return ops.reshape(ops.any(view, axis=self.axes, keepdims=True) if self.axes else view, (self.number,))

    def norms(self, kernel: Tensor) -> Tensor:
        """The Euclidean norm of every group, along `axes` of `shape`. Its gradient at a group of zeros is zero."""
        squares = ops.sum(ops.square(ops.reshape(kernel, self.shape)), axis=self.axes)
        safe = ops.where(squares > 0, squares, 1.0)  # the root's slope at zero is infinite
        return ops.where(squares > 0, ops.sqrt(safe), squares)

    def mean_squares(self, values: np.ndarray) -> np.ndarray:
        """The mean square of every group, `(groups,)`, of an array of the kernel's shape."""
        return np.square(values.reshape(self.shape)).mean(axis=self.axes).ravel()

    def spread(self, chosen: np.ndarray) -> np.ndarray:
        """Of each weight what its group has, of the kernel's shape but for the gates, as `shape` sees it.

        Args:
            chosen: One value for each group, `(groups,)`.
        """
        return np.broadcast_to(chosen.reshape(self.one_each), self.shape)

    def root_mean_squares(self, kernel: Tensor) -> Tensor:
        """The root mean square of every group, of the shape `one_each`."""
        return ops.reshape(self.norms(kernel), self.one_each) / max(self.size, 1) ** 0.5

    def matrix(self, kernel: Tensor) -> Tensor:
        """A kernel as a matrix of the shape (groups, members)."""
        others = _all_but(self.axes, len(self.shape))
        return ops.reshape(ops.transpose(self.view(kernel), (*others, *self.axes)), (self.number, self.size))


def grouping(shape: Sequence[int], groups: Groups = "outputs", layout: str = "kernel") -> Grouping:
    """How a kernel of this shape falls into groups.

    A regularizer sees a tensor and not its layer, so the layer's type is said in one word, the layout:

    | layout | layers | shape of the kernel |
    |---|---|---|
    | `"kernel"` | Dense, Conv1D/2D/3D, SimpleRNN, the pointwise kernel of SeparableConv | `(..., inputs, outputs)` |
    | `"kernel"` | Embedding: a row (a token) is an input, a column an output | `(inputs, outputs)` |
    | `"transposed"` | Conv1D/2D/3DTranspose | `(..., outputs, inputs)` |
    | `"depthwise"` | DepthwiseConv1D/2D, the depthwise kernel of SeparableConv | `(..., inputs, multiplier)` |
    | `"lstm"` | LSTM, ConvLSTM: kernel and recurrent kernel | `(..., inputs, 4 * units)` |
    | `"gru"` | GRU: kernel and recurrent kernel | `(..., inputs, 3 * units)` |
    | `"heads=4,key_dim=8,value_dim=8"` | MultiHeadAttention of these sizes: all projections | see `heads.Heads` |

    An output of a depthwise kernel is one pair of an input and a multiple, so its group is one filter. An output of
    an LSTM or a GRU is a unit: its group has the columns of all gates. In a recurrent kernel an input is a unit's
    state of the step before. In a convolution with `groups` above 1 an input is a channel's place within its group.
    Anything else, like EinsumDense: name the axes that index the groups.

    Args:
        shape: The kernel's shape.
        groups: `"inputs"`, `"outputs"`, `"heads"`, or the axes (integers) that index the groups, whatever the layout.
        layout: A word of the table.

    Raises:
        ValueError: A word that isn't in the table, or a shape that the layout doesn't fit.

    Example:

    >>> grouping((3, 3, 16, 32), "outputs")
    Grouping(shape=(3, 3, 16, 32), axes=(0, 1, 2))
    >>> grouping((3, 3, 16, 2), "outputs", layout="depthwise").size
    9
    >>> grouping((8, 20), "outputs", layout="lstm")
    Grouping(shape=(8, 4, 5), axes=(0, 1))
    """
    check(groups, layout)
    shape = tuple(shape)
    if not isinstance(groups, str):
        return Grouping(shape, _all_but(_resolve(groups, shape), len(shape)))
    if groups == "heads":
        return Grouping(shape, _all_but((_heads(layout).axis(shape),), len(shape)))
    plan = LAYOUTS[layout]
    index = _resolve(plan.inputs if groups == "inputs" else plan.outputs, shape)
    if plan.gates == 1:
        return Grouping(shape, _all_but(index, len(shape)))
    if shape[-1] % plan.gates:
        raise ValueError(
            f"layout={layout!r} expects {plan.gates} gates side by side along the last axis. Received the shape "
            f"{shape}, whose last axis isn't a multiple of {plan.gates}. Choose the layout of the layer's type."
        )
    wide = (*shape[:-1], plan.gates, shape[-1] // plan.gates)
    index = index if groups == "inputs" else (len(shape),)
    return Grouping(wide, _all_but(index, len(wide)))


def check(groups: Groups, layout: str) -> None:
    """Raise `ValueError` for a word that `grouping` doesn't know."""
    heads = isinstance(groups, str) and groups == "heads"
    attends = Heads.parsed(layout) is not None
    known = isinstance(layout, str) and (layout in LAYOUTS or attends)
    words = f"{', '.join(map(repr, LAYOUTS))}, or for groups='heads' like {EXAMPLE!r}"
    require(known and (heads or not attends), f"layout must be one of {words}", "layout", layout)
    if heads:
        require(layout == "kernel" or attends, f"groups='heads' takes a layout like {EXAMPLE!r}", "layout", layout)
        return
    if isinstance(groups, str) and groups in ("inputs", "outputs"):
        return
    listed = isinstance(groups, Collection) and not isinstance(groups, (str, bytes)) and not is_array(groups)
    require(
        listed and bool(groups) and all(map(is_integer, groups)),
        "groups must be 'inputs', 'outputs', 'heads', or the axes that index the groups, like (0,) or (1, 2)",
        "groups",
        groups,
    )


def _heads(layout: str) -> Heads:
    heads = Heads.parsed(layout)
    if heads is None:
        raise ValueError(
            f"groups='heads' needs the sizes of its MultiHeadAttention. Received: layout={layout!r}. Put the "
            f"regularizer on with tf_reg.regularize, which says them, or say them, like layout={EXAMPLE!r}."
        )
    return heads


def as_matrix(kernel: Tensor, groups: Groups = "outputs", layout: str = "kernel") -> Tensor:
    """A kernel as a matrix of the shape (groups, members).

    Args:
        kernel: A tensor, a Keras variable or an array.
        groups: As in `grouping`.
        layout: As in `grouping`.

    Example:

    >>> tuple(as_matrix(keras.ops.zeros((3, 3, 16, 32)), "outputs").shape)
    (32, 144)
    """
    return grouping(kernel.shape, groups, layout).matrix(kernel)


def layout_of(layer: keras.Layer, name: str = "kernel") -> str:
    """The layout of a layer's variable, from the layer's type.

    Args:
        layer: A layer whose kernel `grouping` knows.
        name: The variable's name: `"kernel"`, `"recurrent_kernel"`, `"embeddings"`, `"depthwise_kernel"` or
            `"pointwise_kernel"`.

    Raises:
        ValueError: A layer or a variable that has no inputs and outputs in this sense (EinsumDense, a bias).

    Example:

    >>> layout_of(keras.layers.SeparableConv2D(8, 3), "depthwise_kernel")
    'depthwise'
    """
    for classes, layouts in _LAYERS:
        if isinstance(layer, classes) and name in layouts:
            return layouts[name]
    raise ValueError(
        "layout_of knows the kernels of Dense, Embedding, convolutions (transposed, depthwise, separable) and "
        f"recurrent layers. Received: the variable {name!r} of a {type(layer).__name__}. "
        "Name the axes that index the groups instead, like groups=(1,)."
    )


def _layers(*names: str) -> tuple[Any, ...]:
    return tuple(getattr(keras.layers, name) for name in names)


def _recurrent(layout: str) -> dict[str, str]:
    return {"kernel": layout, "recurrent_kernel": layout}


_LAYERS = [
    (_layers("DepthwiseConv1D", "DepthwiseConv2D"), {"kernel": "depthwise"}),
    (
        _layers("SeparableConv1D", "SeparableConv2D"),
        {"depthwise_kernel": "depthwise", "pointwise_kernel": "kernel"},
    ),
    (_layers("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), {"kernel": "transposed"}),
    (_layers("LSTM", "LSTMCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _recurrent("lstm")),
    (_layers("GRU", "GRUCell"), _recurrent("gru")),
    (_layers("SimpleRNN", "SimpleRNNCell"), _recurrent("kernel")),
    (_layers("Dense", "Conv1D", "Conv2D", "Conv3D"), {"kernel": "kernel"}),
    (_layers("Embedding"), {"embeddings": "kernel"}),
]


def _resolve(axes: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes counted from the front, each once."""
    rank = len(shape)
    if not all(-rank <= axis < rank for axis in axes):
        raise ValueError(
            f"The groups lie along the axes {tuple(axes)}, which a weight of the shape {shape} hasn't got. "
            "A kernel with inputs has 2 axes or more; for a bias or a scale use groups='outputs'."
        )
    return tuple(sorted({axis % rank for axis in axes}))


def _all_but(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(rank) if axis not in axes)
