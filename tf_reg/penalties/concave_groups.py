"""Proximal operators of whole groups for concave penalties of their norms, as pure functions.

The penalty is `sum_g p(||w_g||)`, where p rises from zero and gets flatter.

With one step size for a group the result has the direction of the group, and its norm is what the operator of single
weights makes of the group's norm. With a step size per weight it is `w_i = v_i * r / (r + s_i * p'(r))`, where r is the
norm of the result: a root of `sum_i (v_i / (r + s_i * p'(r)))^2 = 1`. There may be no root or several. The result is
the lowest of three: the group of zeros, the group as it is, and the group of the root that is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from keras import ops

from tf_reg._backend import Tensor
from tf_reg.penalties.proximal_operators import FLOOR, at_least, mean_bound, one_per_group, soft_bound, widen

EQUAL = 1e-6  # heights that differ by less, relatively, are equal up to rounding: the group is zero then
STEPS = 24  # of Newton's method and halvings at most
CHANGE = 1e-6  # they stop after a relative change below it
TINY = 1e-37  # replaces a step size of zero


class Curve(NamedTuple):
    """A concave penalty p of a size x, which is zero or above.

    Args:
        height: Returns `p(x)`.
        slopes: Returns `p'(x)` and `p''(x)`.
        threshold: The proximal operator of p for single weights: a function of weights and step sizes.
        start: `p'(0)`.
        flat: The size from which on p is constant; None where there is none. If there is one, p' must be concave up to
            it, as that of MCP and SCAD.
    """

    height: Callable[[Tensor], Tensor]
    slopes: Callable[[Tensor], tuple[Tensor, Tensor]]
    threshold: Callable[[Tensor, Tensor], Tensor]
    start: float
    flat: float | None = None


def block(value: Tensor, step: Tensor, axes: Sequence[int], curve: Curve, unit: float = 1.0) -> Tensor:
    """The proximal operator of `unit^2 * sum_g p(||w_g|| / unit)`.

    For MCP and SCAD it is the global minimum, for every step size. So it is for the log-sum with one step size for a
    group. With step sizes that differ by orders of magnitude within a group, the log-sum may have more than one minimum
    beside zero. Then it is one of them, and not above the value and zero.

    Args:
        value: Weights, of any shape.
        step: The step size, not negative: a scalar, or a shape that broadcasts to `value`. Where its size along all of
            `axes` is 1, the closed form is used.
        axes: The axes along which the members of a group lie. Every index of the other axes is a group.
        curve: The penalty p.
        unit: The unit of norms: 1, or the square root of the number of members, with which p takes the root mean
            square of the weights.

    Example:

    >>> from tf_reg.penalties.mcp import MCP
    >>> kernel = ops.array([[3.0, 4.0], [0.3, 0.4]])
    >>> ops.convert_to_numpy(block(kernel, 1.0, [1], MCP(1.0).curve)).tolist()
    [[3.0, 4.0], [0.0, 0.0]]
    """
    wide, step = widen(value, step)
    part = _part_scalar if one_per_group(step, len(wide.shape), axes) else _part_diagonal
    return ops.cast(wide * part(wide / unit, step, tuple(axes), curve), value.dtype)


def _part_scalar(value: Tensor, step: Tensor, axes: tuple[int, ...], curve: Curve) -> Tensor:
    """What is left of every group, a number from 0 to 1."""
    norm = ops.sqrt(ops.sum(value * value, axis=axes, keepdims=True))
    stays = ops.where(step * curve.start > 0, ops.zeros_like(norm), ops.ones_like(norm))
    return ops.where(norm == 0, stays, curve.threshold(norm, step) / ops.where(norm == 0, 1.0, norm))


def _part_diagonal(value: Tensor, step: Tensor, axes: tuple[int, ...], curve: Curve) -> Tensor:
    """What is left of every weight, a number from 0 to 1."""

    def total(x: Tensor) -> Tensor:
        return ops.sum(x, axis=axes, keepdims=True)

    energy, safe = value * value, at_least(step, TINY)
    pull = ops.sqrt(total(ops.square(value / safe)))  # of the data at zero: above the slope, zero is no minimum
    root = _root(value, step, pull, curve, total)
    slope = curve.slopes(root)[0]
    part = root / (root + step * slope)
    norm = ops.sqrt(total(energy * ops.square(part)))
    moved = total(energy * step * ops.square(slope / (root + step * slope))) / 2 + curve.height(norm)
    zero, same = total(energy / safe) / 2, curve.height(ops.sqrt(total(energy)))
    dead = ops.logical_and(pull <= curve.start, zero <= ops.where(same < moved, same, moved) * (1 + EQUAL))
    return ops.where(dead, 0.0, ops.where(same < moved, ops.ones_like(part), part))


def _root(value: Tensor, step: Tensor, pull: Tensor, curve: Curve, total: Callable[[Tensor], Tensor]) -> Tensor:
    """The norm of the result, per group: a root of `1 / q(r) = 1`, where `q(r)^2 = sum (v / (r + s * p'(r)))^2`.

    Where p' is concave so is `1 / q`: Newton's steps from a lower bound stay below the first root, and a step out of
    the bounds means that there is none. For other penalties the search begins at the norm of the value. There
    `1 / q > 1`, and the first root below it is a minimum. A step out of the bounds is replaced by a halving.
    """
    whole = at_least(ops.sqrt(total(value * value)), FLOOR)
    rising = curve.flat is not None
    if curve.flat is not None:
        high = ops.where(whole > curve.flat, curve.flat, whole)
        threshold = step * curve.start
        start = at_least(mean_bound(value, threshold, total)[1], soft_bound(value, threshold, total))
        start = at_least(start, FLOOR)
        start = ops.where(start > high, high, start)
    else:
        high, start = whole, whole

    def move(root: Tensor, low: Tensor, high: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        slope, bend = curve.slopes(root)
        size = root + step * slope
        share = ops.square(value / size)
        squared, fall = total(share), total(share / size * (1 + step * bend))
        above = squared < 1
        low, high = ops.where(above, low, root), ops.where(above, root, high)
        newton = root + (ops.sqrt(squared) - 1.0) * squared / ops.where(fall == 0, 1.0, fall)
        inside = ops.logical_and(fall > 0, ops.logical_and(newton >= low, newton <= high))
        middle = (low + high) / 2
        new = ops.where(inside, newton, ops.where(above, middle, high) if rising else middle)
        new = at_least(new, FLOOR)
        dead = pull <= (curve.start if rising else curve.slopes(high)[0])
        going = ops.logical_and(ops.abs(new - root) > CHANGE * root, ops.logical_not(dead))
        return new, low, high, ops.any(going)

    state = start, ops.zeros_like(start), high, ops.any(pull > 0)
    return ops.while_loop(lambda root, low, high, moving: moving, move, state, maximum_iterations=STEPS)[0]
