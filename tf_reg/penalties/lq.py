"""Powers below 1 as penalties of single weights: L0, L1/2 and L2/3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import floats, number, require
from tf_reg.penalties import concave_operators
from tf_reg.penalties.penalty import PenaltyRegularizer
from tf_reg.penalties.strengths import checked

POWERS = (0, 1 / 2, 2 / 3)


@keras.saving.register_keras_serializable(package="tf_reg")
class Lq(PenaltyRegularizer):
    """A power of the weights' sizes: `strength * sum |w|^q`, where q is 0, 1/2 or 2/3.

    With q = 0 it is the number of weights that aren't zero, times the strength.

    Use it with `tf_reg.Proximal`: the proximal operators are the hard threshold (q = 0), the half threshold and the 2/3
    threshold. In the gradient of a loss, as in plain Keras, q = 0 has no effect, and the slope of the others grows
    without bound toward zero.

    A weight at zero stays there unless one step of the optimizer brings it above the threshold, which is
    `sqrt(2 * step * strength)` for q = 0. So start from weights that aren't zero. Of two penalties with the same
    threshold, that with the lower q shrinks less what is above: nothing for q = 0.

    Xu, Chang, Xu & Zhang 2012, "L1/2 regularization: a thresholding representation theory and a fast solver"; Cao,
    Sun & Xu 2013, "Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2, 2/3)
    regularization"; Blumensath & Davies 2008, "Iterative thresholding for sparse approximations" (q = 0).

    Args:
        strength: The multiplier, not negative.
        q: 0, 1/2 or 2/3, the powers whose proximal operator has a closed form.

    Raises:
        ValueError: A strength below zero, or another power.

    Example:

    >>> penalty = tf_reg.Lq(0.5, q=0)
    >>> float(penalty(keras.ops.array([3.0, 0.0, -4.0])))
    1.0
    >>> keras.ops.convert_to_numpy(tf_reg.proximal_map(penalty)([3.0, 0.5, -4.0], 1.0)).tolist()
    [3.0, 0.0, -4.0]
    """

    def __init__(self, strength: float = 0.01, q: float = 0.5):
        self.strength = checked(strength, "strength")
        near = [power for power in POWERS if abs(number(q) - power) < 1e-6]  # 0.6666667 is 2/3
        require(len(near) == 1, "q is 0, 1/2 or 2/3", "q", q)
        self.q = near[0]

    def __call__(self, x: Tensor) -> Tensor:
        """The penalty of a weight, a scalar of its dtype. Its gradient at zero is zero."""
        x = floats(x, "x")
        if self.q == 0:
            return ops.sum(ops.abs(ops.sign(x))) * self.strength
        size = x * ops.stop_gradient(ops.sign(x))
        safe = ops.where(size > 0, size, 1.0)  # the slope at zero is infinite
        return ops.sum(ops.where(size > 0, ops.power(safe, self.q), size)) * self.strength

    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report."""
        return self(x)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal operator: see `tf_reg.penalties.concave_operators.power`."""
        return concave_operators.power(value, step, self.strength, self.q)

    @property
    def elementwise(self) -> bool:
        """Yes."""
        return True

    @property
    def gives_zeros(self) -> bool:
        """Whether the strength is above zero."""
        return self.strength > 0

    def zero_threshold(self, gradient: Tensor) -> float:
        """0: for every multiplier above zero, w = 0 is a local minimum of data loss plus penalty."""
        return 0.0

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """0: which gradient moves a weight away from zero depends on the step size."""
        return 0.0

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"strength": self.strength, "q": self.q}
