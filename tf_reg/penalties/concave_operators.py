"""Proximal operators of single weights for concave penalties, which don't shrink large weights, as pure functions.

Such an operator has two or more candidates for the minimum. Every function here returns the lowest one, for every step
size: up to some step size the operator is continuous, above it the operator jumps. They keep the rules of
`tf_reg.penalties.proximal_operators`: shape and dtype of `value`, steps of zero, NaN, empty tensors.
"""

from __future__ import annotations

from keras import ops

from tf_reg._backend import Tensor
from tf_reg.penalties.proximal_operators import soft, widen

NEWTON_STEPS = 6


def mcp(value: Tensor, step: Tensor, strength: float, gamma: float) -> Tensor:
    """The proximal operator of the minimax concave penalty.

    With a step size s below `gamma` it is the firm threshold: zero up to `s * strength`, `v` from `gamma * strength`
    on, and a line between. From `gamma` on it is the hard threshold at `strength * sqrt(gamma * s)`.

    Zhang 2010, "Nearly unbiased variable selection under minimax concave penalty"; Gao & Bruce 1997, "WaveShrink with
    firm shrinkage".

    Args:
        value: Weights, of any shape.
        step: The step size, not negative: a scalar, or a shape that broadcasts to `value`.
        strength: The slope of the penalty at zero, not negative.
        gamma: The penalty is constant from `gamma * strength` on. Above 0.

    Example:

    >>> ops.convert_to_numpy(mcp(ops.array([0.5, 1.5, 4.0]), 1.0, strength=1.0, gamma=2.0)).tolist()
    [0.0, 1.0, 4.0]
    """
    wide, step = widen(value, step)
    size, smooth = ops.abs(wide), step < gamma
    divisor = ops.where(smooth, 1.0 - step / gamma, 1.0)
    line = ops.clip(soft(wide, step * strength) / divisor, -size, size)
    firm = ops.where(size > gamma * strength, wide, line)
    hard = ops.where(size <= strength * ops.sqrt(gamma * step), ops.zeros_like(wide), wide)
    return ops.cast(ops.where(smooth, firm, hard), value.dtype)


def scad(value: Tensor, step: Tensor, strength: float, a: float) -> Tensor:
    """The proximal operator of the smoothly clipped absolute deviation.

    With a step size s below `a - 1`: the soft threshold up to `(1 + s) * strength`, `v` from `a * strength` on, and a
    line between. From `a - 1` on: the soft threshold or `v`, whichever is lower. They are equal at
    `strength * (a + 1 + s) / 2`, or where the soft threshold is zero at `strength * sqrt(s * (a + 1))`.

    Fan & Li 2001, "Variable selection via nonconcave penalized likelihood and its oracle properties".

    Args:
        value: Weights, of any shape.
        step: The step size, not negative: a scalar, or a shape that broadcasts to `value`.
        strength: The slope of the penalty at zero, not negative.
        a: The penalty is constant from `a * strength` on. Above 1.

    Example:

    >>> ops.convert_to_numpy(scad(ops.array([0.5, 1.5, 4.0]), 1.0, strength=1.0, a=3.7)).tolist()
    [0.0, 0.5, 4.0]
    """
    wide, step = widen(value, step)
    size, smooth = ops.abs(wide), step < a - 1
    shrunk = soft(wide, step * strength)
    divisor = ops.where(smooth, a - 1 - step, 1.0)
    middle = ops.clip(((a - 1) * size - step * (a * strength)) / divisor, 0.0 * size, size)
    line = ops.where(size > strength * (1 + step), ops.sign(wide) * middle, shrunk)
    below = ops.where(size > a * strength, wide, line)
    high = ops.where(step < a + 1, strength / 2 * (a + 1 + step), strength * ops.sqrt((a + 1) * step))
    return ops.cast(ops.where(smooth, below, ops.where(size > high, wide, shrunk)), value.dtype)


def log_sum(value: Tensor, step: Tensor, strength: float, epsilon: float) -> Tensor:
    """The proximal operator of `strength * epsilon * sum log(1 + |w| / epsilon)`.

    Let k be `step * strength * epsilon`. A minimum that isn't zero is the larger root of
    `(w - |v|) * (w + epsilon) + k = 0`. Up to `k = epsilon^2` the operator is continuous, and zero up to
    `step * strength`. Above it the root must be lower than zero is.

    Prater-Bennette, Shen & Tripp 2022, "The proximity operator of the log-sum penalty".

    Args:
        value: Weights, of any shape.
        step: The step size, not negative: a scalar, or a shape that broadcasts to `value`.
        strength: The slope of the penalty at zero, not negative.
        epsilon: The size at which that slope is halved. Above 0.

    Example:

    >>> ops.convert_to_numpy(log_sum(ops.array([0.5, 3.5]), 1.0, strength=2.0, epsilon=1.0)).tolist()
    [0.0, 3.0]
    """
    wide, step = widen(value, step)
    size, k = ops.abs(wide), step * (strength * epsilon)
    square = ops.square(size + epsilon) - 4 * k
    distance, width = size - epsilon, ops.sqrt(ops.where(square > 0, square, 0.0))
    other = ops.where(distance > 0, 1.0, width - distance)
    root = ops.where(distance > 0, (distance + width) / 2, 2 * (size * epsilon - k) / ops.where(other > 0, other, 1.0))
    safe = ops.where(root > 0, root, 0.0)
    gain = safe * (safe / 2 - size) + k * ops.log1p(safe / epsilon)
    jumps = k > epsilon**2
    zero = ops.logical_or(root <= 0, ops.logical_and(jumps, ops.logical_or(square < 0, gain >= 0)))
    result = ops.sign(wide) * (size - k / (epsilon + safe))  # the equation of the root, and exactly v where k = 0
    return ops.cast(ops.where(zero, ops.zeros_like(wide), result), value.dtype)


def power(value: Tensor, step: Tensor, strength: float, q: float) -> Tensor:
    """The proximal operator of `strength * sum |w|^q` for q of 0, 1/2 or 2/3: the hard, half and 2/3 threshold.

    With s the step size times the strength, a weight is zero up to

    | q | threshold |
    |---|---|
    | 0 | `(2 s)^(1/2)` |
    | 1/2 | `3/2 * s^(2/3)` |
    | 2/3 | `2 * (2/3 * s)^(3/4)` |

    Above it, it stays as it is (q = 0), or is the larger root of `w - |v| + s * q * w^(q - 1) = 0`. This root has a
    closed form, and Newton's method takes less time than its cosines and powers.

    Xu, Chang, Xu & Zhang 2012, "L1/2 regularization: a thresholding representation theory and a fast solver"; Cao,
    Sun & Xu 2013, "Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2, 2/3)
    regularization".

    Args:
        value: Weights, of any shape.
        step: The step size, not negative: a scalar, or a shape that broadcasts to `value`.
        strength: The multiplier, not negative.
        q: 0, 1/2 or 2/3.

    Example:

    >>> ops.convert_to_numpy(power(ops.array([1.0, 3.0]), 1.0, strength=2.0, q=0)).tolist()
    [0.0, 3.0]
    """
    wide, step = widen(value, step)
    size, s = ops.abs(wide), step * strength
    if q == 0:
        return ops.cast(ops.where(size <= ops.sqrt(2 * s), ops.zeros_like(wide), wide), value.dtype)
    degree, start = (3, ops.sqrt(size)) if q == 1 / 2 else (4, ops.power(size, 1 / 3))
    edge = (2 - q) / (2 - 2 * q) * (2 - 2 * q) ** (1 / (2 - q))  # the threshold of s = 1
    zero = ops.logical_and(size * start <= edge ** (2 - q) * s, s > 0)
    root = _root(size, q * s, start, degree)
    result = ops.sign(wide) * (size - q * s / ops.where(root > 0, root, 1.0))  # exactly v where s = 0
    return ops.cast(ops.where(zero, ops.zeros_like(wide), result), value.dtype)


def _root(size: Tensor, k: Tensor, start: Tensor, degree: int) -> Tensor:
    """The largest root of `t^degree - size * t + k = 0`, where t is `w^(1 - q)`.

    Newton's steps from above stay above it. At the threshold, where they need most, five reach float64.
    """
    root = start
    for _ in range(NEWTON_STEPS):
        high = ops.square(root) if degree == 3 else root * ops.square(root)
        root = root - (root * (high - size) + k) / ops.where(degree * high > size, degree * high - size, 1.0)
    return root
