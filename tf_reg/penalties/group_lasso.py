"""Regularizers for groups of weights, and the proximal map of every regularizer that has one."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
from keras import ops

from tf_reg import _xla
from tf_reg._backend import Tensor
from tf_reg.penalties import proximal_operators as prox
from tf_reg.penalties.groups import Groups, check, grouping

ProximalMap = Callable[[Tensor, Tensor], Tensor]
Method = Callable[[Any, Tensor, Tensor], Tensor]
_Method = TypeVar("_Method", bound=Method)

_MAPS: dict[type, Method] = {}


def register_prox(regularizer_class: type) -> Callable[[_Method], _Method]:
    """Give a class of regularizers its proximal map, for optimizers that apply it instead of a gradient.

    The map of the penalty R returns the minimiser over w of `sum (w - value)^2 / (2 step) + R(w)`. `step` is a scalar
    or a tensor of the shape of `value`, and not negative; where it is zero the map returns `value`. It holds for
    exactly this class: a subclass may mean another penalty, and registers its own.

    Args:
        regularizer_class: A subclass of `keras.Regularizer`. Registering it again replaces the map.

    Raises:
        ValueError: Something that isn't a class.

    Example:

    >>> class NonNegative(keras.Regularizer):
    ...     def __call__(self, x):
    ...         return 0.0 * keras.ops.sum(x)
    >>> @tf_reg.register_prox(NonNegative)
    ... def project(regularizer, value, step):
    ...     return keras.ops.relu(value)
    >>> bool(tf_reg.proximal_map(NonNegative())(keras.ops.array([-1.0]), 0.1)[0] == 0)
    True
    """
    if not isinstance(regularizer_class, type):
        raise ValueError(
            f"register_prox expects a class. Received: {regularizer_class!r}. Write @register_prox(TheClass)."
        )

    def register(method: _Method) -> _Method:
        _MAPS[regularizer_class] = method
        return method

    return register


def proximal_map(regularizer: Any) -> ProximalMap | None:
    """The proximal map of a regularizer as a function of a value and a step; None where it has none.

    Args:
        regularizer: A regularizer of a layer: `keras.regularizers.L1`, `L2`, `L1L2`, `GroupLasso`, `SparseGroupLasso`,
            or of a class given to `register_prox`. For anything else, None too, the answer is None.

    Example:

    >>> shrink = tf_reg.proximal_map(keras.regularizers.L1(0.5))
    >>> keras.ops.convert_to_numpy(shrink(keras.ops.array([3.0, -0.5]), 2.0)).tolist()
    [2.0, 0.0]
    >>> tf_reg.proximal_map(keras.regularizers.OrthogonalRegularizer()) is None
    True
    """
    method = _MAPS.get(type(regularizer))
    if method is None:
        return None
    return lambda value, step: method(regularizer, value, step)


def gives_zeros(regularizer: Any) -> bool:
    """Whether a regularizer's proximal map makes weights zero; one of a user's own is taken to do so.

    Args:
        regularizer: A regularizer, or None.

    Example:

    >>> gives_zeros(keras.regularizers.L1(0.5)), gives_zeros(keras.regularizers.L2(0.5)), gives_zeros(None)
    (True, False, False)
    """
    if is_elementwise(regularizer):
        return number(getattr(regularizer, "l1", 0.0)) > 0
    return proximal_map(regularizer) is not None


def penalty(regularizer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A regularizer's penalty as a number to report: its gradient is not to be relied on.

    Where XLA computes it on TensorFlow, that of Keras' own `L1`, `L2` and `L1L2` is added up by columns: XLA adds the
    numbers of one sum one after the other, and those of many sums side by side.

    Args:
        regularizer: A regularizer.
        x: A kernel.

    Example:

    >>> float(penalty(keras.regularizers.L1(0.5), keras.ops.array([[3.0, -1.0]])))
    2.0
    """
    l1, l2 = (number(getattr(regularizer, name, 0.0)) for name in ("l1", "l2"))
    if not is_elementwise(regularizer) or len(x.shape) < 2 or l1 + l2 == 0 or not _xla.compiles(math.prod(x.shape)):
        return regularizer(x)
    return _xla.fused(lambda: _by_columns(x, l1, l2))


def is_elementwise(regularizer: Any) -> bool:
    """Whether a regularizer is Keras' own `L1`, `L2` or `L1L2`, whose map takes each weight by itself.

    Args:
        regularizer: A regularizer.

    Example:

    >>> is_elementwise(keras.regularizers.L1(0.5)), is_elementwise(tf_reg.GroupLasso(0.5))
    (True, False)
    """
    return type(regularizer) in (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


def _by_columns(x: Tensor, l1: float, l2: float) -> Tensor:
    """`l1 * sum |w| + l2 * sum w^2` in one pass.

    The strength is multiplied in between the two sums, or XLA makes one of them.
    """
    size, strength = ops.abs(x), l1 + l2
    columns = ops.sum(size * (l1 / strength + l2 / strength * size), axis=tuple(range(len(x.shape) - 1)))
    return ops.sum(strength * columns)


@register_prox(keras.regularizers.L1)
@register_prox(keras.regularizers.L2)
@register_prox(keras.regularizers.L1L2)
def _keras_prox(regularizer: Any, value: Tensor, step: Tensor) -> Tensor:
    l1, l2 = getattr(regularizer, "l1", 0.0), getattr(regularizer, "l2", 0.0)
    return prox.elastic_net(value, step, number(l1), number(l2))


@keras.saving.register_keras_serializable(package="tf_reg")
class GroupLasso(keras.regularizers.Regularizer):
    """A penalty under which whole inputs or outputs of a layer become zero together.

    `l * sum_g sqrt(|g|) * ||w_g||_2`: the sum over the groups of a kernel of each group's Euclidean norm, times the
    square root of its number of weights (see `size_weights`), times `l`.

    Use it to make a network smaller and not just sparse: a unit whose group is zero can be cut out. In the loss alone,
    as in plain Keras, groups come near zero; with the proximal map they reach it.

    Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables"; for networks: Scardapane
    et al. 2017, "Group sparse regularization for deep neural networks".

    Args:
        l: Strength, not negative.
        groups: What a group is: `"outputs"` (all weights into one unit or filter), `"inputs"` (all weights out of one
            input), or the axes that index the groups, as in `(1,)`.
        size_weights: Whether a group's norm counts `sqrt(|g|)` times, so that layers with groups of different sizes
            can share a strength. If not, every norm counts once.
        layout: Where the kernel keeps its inputs and outputs: `"kernel"` (Dense, Conv, Embedding, SimpleRNN),
            `"transposed"` (ConvTranspose), `"depthwise"`, `"lstm"` or `"gru"`. A regularizer sees no layer, so for
            the last four say it; `tf_reg.penalties.groups.grouping` has the table.

    Raises:
        ValueError: A strength below zero or not finite, unknown words; when called, a shape that the layout doesn't
            fit.

    Example:

    >>> penalty = tf_reg.GroupLasso(0.1, size_weights=False)
    >>> layer = keras.layers.Dense(2, kernel_regularizer=penalty)
    >>> round(float(penalty(keras.ops.array([[3.0, 0.0], [4.0, 0.0]]))), 6)
    0.5
    """

    def __init__(
        self,
        l: float = 0.01,  # noqa: E741
        groups: Groups = "outputs",
        size_weights: bool = True,
        layout: str = "kernel",
    ):
        self.l = _strength(l, "l")
        check(groups, layout)
        self.groups = groups if isinstance(groups, str) else list(groups)
        self.size_weights = bool(size_weights)
        self.layout = layout

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, a scalar of the kernel's dtype."""
        plan = grouping(x.shape, self.groups, self.layout)
        squares = ops.sum(ops.square(ops.reshape(x, plan.shape)), axis=plan.axes)
        safe = ops.where(squares > 0, squares, 1.0)  # the root's slope at zero is infinite
        norms = ops.where(squares > 0, ops.sqrt(safe), squares)
        return ops.cast(self.strength_of(x.shape), x.dtype) * ops.sum(norms)

    def strength_of(self, shape: Sequence[int]) -> float:
        """The strength of every group's norm in a kernel of this shape: `l * sqrt(|g|)`, or `l`."""
        size = grouping(shape, self.groups, self.layout).size
        return self.l * math.sqrt(size) if self.size_weights else self.l

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal map: see `tf_reg.penalties.proximal_operators.block_soft_threshold`."""
        view, step, axes = self._in_groups(value, step)
        result = prox.block_soft_threshold(view, step * self.strength_of(value.shape), axes)
        return ops.reshape(result, value.shape)

    def _in_groups(self, value: Tensor, step: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        plan = grouping(value.shape, self.groups, self.layout)
        per_weight = len(getattr(step, "shape", ())) > 0
        return ops.reshape(value, plan.shape), ops.reshape(step, plan.shape) if per_weight else step, plan.axes

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"l": self.l, "groups": self.groups, "size_weights": self.size_weights, "layout": self.layout}


@keras.saving.register_keras_serializable(package="tf_reg")
class SparseGroupLasso(keras.regularizers.Regularizer):
    """A penalty that makes whole groups zero, and single weights within the groups that stay.

    `l1 * sum |w| + l * sum_g sqrt(|g|) * ||w_g||_2`: `keras.regularizers.L1` and `tf_reg.GroupLasso` in one.

    Use it where the groups that survive still have more weights than they need. Simon, Friedman, Hastie & Tibshirani
    2013, "A sparse-group lasso".

    Args:
        l1: Strength of `sum |w|`, not negative.
        l: Strength of the groups' norms, not negative.
        groups: As in `GroupLasso`.
        size_weights: As in `GroupLasso`.
        layout: As in `GroupLasso`.

    Raises:
        ValueError: As in `GroupLasso`.

    Example:

    >>> penalty = tf_reg.SparseGroupLasso(l1=0.1, l=1.0, groups="inputs", size_weights=False)
    >>> round(float(penalty(keras.ops.array([[3.0, 4.0], [0.0, 0.0]]))), 6)
    5.7
    """

    def __init__(
        self,
        l1: float = 0.01,
        l: float = 0.01,  # noqa: E741
        groups: Groups = "outputs",
        size_weights: bool = True,
        layout: str = "kernel",
    ):
        self.l1 = _strength(l1, "l1")
        self.group_lasso = GroupLasso(l, groups, size_weights, layout)

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a kernel, a scalar of the kernel's dtype."""
        size = x * ops.stop_gradient(ops.sign(x))  # |x| with slope 0 at zero: that of JAX's abs is 1
        return ops.cast(self.l1, x.dtype) * ops.sum(size) + self.group_lasso(x)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal map: see `tf_reg.penalties.proximal_operators.sparse_group`."""
        view, step, axes = self.group_lasso._in_groups(value, step)
        strength = self.group_lasso.strength_of(value.shape)
        return ops.reshape(prox.sparse_group(view, step * self.l1, step * strength, axes), value.shape)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"l1": self.l1, **self.group_lasso.get_config()}


register_prox(GroupLasso)(GroupLasso.prox)
register_prox(SparseGroupLasso)(SparseGroupLasso.prox)


def number(value: Any) -> float:
    """A strength as Python's number: Keras' `L1` has a tensor, and in a TensorFlow function `float` makes another one.

    Args:
        value: A number, or a tensor of shape `()` that is known.

    Example:

    >>> number(keras.regularizers.L1(0.5).l1)
    0.5
    """
    if keras.ops.is_tensor(value):
        value = value.numpy() if keras.backend.backend() == "tensorflow" else value
        return value.item()
    return float(value)


def _strength(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is a strength: a finite number, zero or above. Received: {name}={value!r}")
    return float(value)
