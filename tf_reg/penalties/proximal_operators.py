"""Proximal operators as pure functions of arrays.

The proximal operator of a penalty R with the step size s is the minimiser over w of `sum (w - v)^2 / (2 s) + R(w)`.
It moves weights toward zero, and some become exactly zero. The step size is one number, or one number per weight, as
adaptive optimizers have it. A threshold is a step size times a strength. Every function here

- returns the shape and the dtype of `value` (float16 and bfloat16 are computed in float32),
- returns `value` itself where the step size is zero,
- returns NaN where a weight is NaN: for this weight, or for its whole group,
- takes empty tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras import ops
from keras.backend import standardize_dtype

from tf_reg._backend import Tensor, on_accelerator

ROOT_STEPS = 12  # Newton's steps at most. 2 to 4 are usual, 11 the most of 3 million groups of extreme thresholds.
ROOT_CHANGE = {"float32": 3e-4, "float64": 1e-7}  # Newton stops after a relative change below it
UNROLLED = 6  # of these steps that accelerators make without asking whether they are needed: the answer takes longer


def soft_threshold(value: Tensor, threshold: Tensor) -> Tensor:
    """Move every weight toward zero by `threshold`, and stop there: the proximal operator of `sum |w|`.

    `sign(v) * max(|v| - threshold, 0)`, computed as `v - clip(v, -threshold, threshold)`.

    Args:
        value: Weights, of any shape.
        threshold: `step * l1`, not negative: a scalar, or a shape that broadcasts to `value`.

    Example:

    >>> from keras import ops
    >>> ops.convert_to_numpy(soft_threshold(ops.array([3.0, -0.5, 0.0]), 1.0)).tolist()
    [2.0, 0.0, 0.0]
    """
    wide, threshold = widen(value, threshold)
    return ops.cast(soft(wide, threshold), value.dtype)


def elastic_net(value: Tensor, step: Tensor, l1: float = 0.0, l2: float = 0.0) -> Tensor:
    """Soft threshold, then shrink: the proximal operator of `l1 * sum |w| + l2 * sum w^2` (no 1/2, as in Keras).

    `soft_threshold(v, step * l1) / (1 + 2 * step * l2)`. With `l1=0` it shrinks and gives no zeros.

    Args:
        value: Weights, of any shape.
        step: The step size, not negative: a scalar, or a shape that broadcasts to `value`.
        l1: Strength of `sum |w|`, not negative.
        l2: Strength of `sum w^2`, not negative.

    Example:

    >>> from keras import ops
    >>> ops.convert_to_numpy(elastic_net(ops.array([3.0, -0.5]), step=1.0, l1=1.0, l2=0.5)).tolist()
    [1.0, 0.0]
    """
    wide, step = widen(value, step)
    result = soft(wide, step * l1) if l1 else wide
    return ops.cast(result / (1.0 + step * (2.0 * l2)) if l2 else result, value.dtype)


def block_soft_threshold(value: Tensor, threshold: Tensor, axes: Sequence[int]) -> Tensor:
    """Shorten every group of weights by `threshold`, or make it zero: the proximal operator of `sum_g ||w_g||_2`.

    With one threshold t for a group, it is `v_g * max(1 - t / ||v_g||, 0)`. With a threshold per weight there is no
    closed form. The group is zero where `||v_g / t_g|| <= 1`. Otherwise `w_i = v_i * r / (r + t_i)`. Here r is the norm
    of the result, which is the root of `sum_i (v_i / (r + t_i))^2 = 1`. Newton's method finds it from below.

    Use it where a whole unit (a row, a column, a filter) should be removed or kept. Yuan & Lin 2006, "Model selection
    and estimation in regression with grouped variables".

    Args:
        value: Weights, of any shape.
        threshold: `step * strength`, not negative: a scalar, or a shape that broadcasts to `value`. Where its size
            along all of `axes` is 1, the closed form is used.
        axes: The axes along which the members of a group lie. Every index of the other axes is a group.

    Example:

    >>> from keras import ops
    >>> kernel = ops.array([[3.0, 4.0], [0.3, 0.4]])
    >>> ops.convert_to_numpy(block_soft_threshold(kernel, 2.5, axes=[1])).tolist()
    [[1.5, 2.0], [0.0, 0.0]]
    """
    wide, threshold = widen(value, threshold)
    block = _block_scalar if one_per_group(threshold, len(wide.shape), axes) else _block_diagonal
    return ops.cast(block(wide, threshold, tuple(axes)), value.dtype)


def sparse_group(value: Tensor, l1_threshold: Tensor, threshold: Tensor, axes: Sequence[int]) -> Tensor:
    """Soft threshold, then block soft threshold: the proximal operator of `l1 * sum |w| + l * sum_g ||w_g||_2`.

    The composition is exact, for one step size and for a step size per weight. The reason: the optimum obeys
    `w_i * (1 + s_i * l / ||w||) = soft_threshold(v_i, s_i * l1)`. This is the optimum of the group penalty alone at the
    thresholded weights. Simon et al. 2013, "A sparse-group lasso".

    Args:
        value: Weights, of any shape.
        l1_threshold: `step * l1`, not negative: a scalar, or a shape that broadcasts to `value`.
        threshold: `step * l`, likewise.
        axes: The axes along which the members of a group lie.

    Example:

    >>> from keras import ops
    >>> ops.convert_to_numpy(sparse_group(ops.array([[4.0, 5.0, 0.5]]), 1.0, 2.5, axes=[1])).tolist()
    [[1.5, 2.0, 0.0]]
    """
    wide, l1_threshold = widen(value, l1_threshold)
    return ops.cast(block_soft_threshold(soft(wide, l1_threshold), threshold, axes), value.dtype)


def widen(value: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64 if `value` is, otherwise in float32."""
    dtype = "float64" if standardize_dtype(value.dtype) == "float64" else "float32"
    return ops.convert_to_tensor(value, dtype=dtype), ops.convert_to_tensor(other, dtype=dtype)


def soft(value: Tensor, threshold: Tensor) -> Tensor:
    """Return `soft_threshold` of tensors of one dtype."""
    return value - ops.clip(value, -threshold, threshold)


def one_per_group(threshold: Tensor, rank: int, axes: Sequence[int]) -> bool:
    """Return whether a threshold that broadcasts to `rank` axes is constant along `axes`."""
    shape = (1,) * (rank - len(threshold.shape)) + tuple(threshold.shape)
    return all(shape[axis] == 1 for axis in axes)


def _block_scalar(value: Tensor, threshold: Tensor, axes: tuple[int, ...]) -> Tensor:
    norm = ops.sqrt(ops.sum(value * value, axis=axes, keepdims=True))
    dead = ops.logical_and(norm <= threshold, threshold > 0)
    return value * ops.where(dead, 0.0, 1.0 - threshold / ops.where(norm == 0, 1.0, norm))


def _block_diagonal(value: Tensor, threshold: Tensor, axes: tuple[int, ...]) -> Tensor:
    def total(x: Tensor) -> Tensor:
        return ops.sum(x, axis=axes, keepdims=True)

    norm = _root(value, threshold, total)
    dead = ops.logical_and(norm <= FLOOR, threshold > 0)
    return ops.where(dead, 0.0, value * (norm / (norm + threshold)))


FLOOR = 2.0**-60  # the smallest norm of a group, a float of every dtype: squares of less are lost in float32
SURE = 1e-5  # a bound above this part of a group's norm is not a rounding error of zero


def _root(value: Tensor, threshold: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """The norm of the result, per group: the root of `1 / q(r) = 1`, where `q(r)^2 = sum (v / (r + t))^2`.

    It is `FLOOR` where there is no root: where the group is zero.

    `1 / q` is increasing and concave, so Newton's steps from a lower bound increase and stay below the root. A step
    with the relative change e ends within about `1.5 e^2` of the root, however far it began. The reason: let d be the
    distance before the step relative to the root, and weight the terms of `q^2` at the root. Then `q^2` and its slope
    are means of functions of `a = r / (r + t)`, which is between 0 and 1, and the worst a gives `e >= d - d^2 / 2`.
    What is left is `d - e (1 - d)`, which is then `1.5 d^2` at most.
    """
    change = ROOT_CHANGE[standardize_dtype(value.dtype)]

    def newton(root: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        size = root + threshold
        share = ops.square(value / size)
        squared, slope = total(share), total(share / size)
        new = root + (ops.sqrt(squared) - 1.0) * squared / ops.where(slope == 0, 1.0, slope)
        new = at_least(new, FLOOR)
        return new, ops.any(ops.abs(new - root) > change * root)

    state = _start(value, threshold, total), ops.convert_to_tensor(True)
    first = UNROLLED if on_accelerator() else 0
    for _ in range(first):
        state = newton(*state)
    return ops.while_loop(lambda root, moving: moving, newton, state, maximum_iterations=ROOT_STEPS - first)[0]


def _start(value: Tensor, threshold: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """A lower bound on the root.

    Where no group is near zero one bound is enough. Where one is, the other bound saves a step, and keeps
    `v / (r + t)` below the largest float where t is tiny.
    """
    norm, bound = mean_bound(value, threshold, total)
    sure = bound > SURE * norm
    start = ops.where(sure, bound, FLOOR)

    def larger() -> Tensor:
        return at_least(start, soft_bound(value, threshold, total))

    return larger() if on_accelerator() else ops.cond(ops.all(sure), lambda: start, larger)


def at_least(value: Tensor, floor: Tensor | float) -> Tensor:
    """Return `ops.maximum`, which in Keras on torch gives float32 for float64."""
    return ops.where(value < floor, floor, value)


def mean_bound(value: Tensor, threshold: Tensor, total: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the norm of each group, and a lower bound on the root: the norm minus the mean threshold.

    It is one by Jensen's inequality. Where there is no root it isn't above zero.
    """
    square = value * value
    energy = total(square)
    norm = ops.sqrt(energy)
    return norm, norm - total(square * threshold) / ops.where(energy == 0, 1.0, energy)


def soft_bound(value: Tensor, threshold: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a lower bound on the root: `||soft(v, t)||`, since no weight moves farther than its threshold."""
    return ops.sqrt(total(ops.square(soft(value, threshold))))
