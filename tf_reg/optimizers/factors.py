"""The factors by which a `Proximal` multiplies the penalty of each weight or group: its adaptive weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tf_reg import _keras
from tf_reg._backend import Tensor, without_gradients
from tf_reg._checks import shown
from tf_reg.optimizers.ownership import Claim
from tf_reg.penalties.penalty import FACTOR

LARGEST = 1e12  # a factor that no gradient overcomes, and whose product with a step is finite


class Factors:
    """A variable of factors for each claimed variable whose penalty takes them, ones at first.

    Attributes:
        used: Whether there are any.

    Args:
        used: Whether to make them.

    Raises:
        ValueError: `used` that isn't True or False.
    """

    def __init__(self, used: bool):
        if not isinstance(used, bool):
            raise ValueError(f"penalty_factors is True or False. Received: penalty_factors={shown(used)}")
        self.used = used
        self._variables: dict[int, keras.Variable] = {}  # by the id of the weight

    def build(self, optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim]) -> None:
        """Make the variables; once more after the claims have changed. A factor of the same shape keeps its value.

        They come after the optimizer's other variables, in the order of the claims, which is a part of the file format.

        Args:
            optimizer: The optimizer that they belong to.
            claims: The claims on its variables.
        """
        old, self._variables = self._variables, {}
        for variable in old.values():
            _keras.untrack(optimizer, variable)
        for claim in claims if self.used else ():
            made = _made(optimizer, claim)
            if made is None:
                continue
            before = old.get(id(claim.variable))
            if before is not None and before.shape == made.shape:
                made.assign(ops.copy(before.value))
            self._variables[id(claim.variable)] = made

    def given(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Return the claims with their factors.

        Args:
            claims: Claims.
        """
        if not self._variables:
            return claims
        return [claim._replace(factor=self._variables.get(id(claim.variable))) for claim in claims]


def _made(optimizer: keras.optimizers.Optimizer, claim: Claim) -> keras.Variable | None:
    weight = claim.variable
    shape = claim.stand_in.penalty.factor_shape(weight.shape)
    if shape is None:
        return None
    layout = _keras.device_layout(weight) if shape == tuple(weight.shape) else None
    name = f"{weight.path.replace('/', '_')}_{FACTOR}"
    dtype = "float64" if weight.dtype == "float64" else "float32"
    return optimizer.add_variable(shape, "ones", dtype, layout=layout, name=name)


def adapt(
    claim: Claim,
    weights: Mapping[int, Any] | None,
    epsilon: float,
    scale: float | None,
    gamma: float = 1.0,
) -> None:
    """Set the factors of a claim to `(size / scale + epsilon)^-gamma`, where size is that of a weight or group.

    They are at most 1e12.

    Args:
        claim: A claim with factors.
        weights: The weights that say the sizes, by the ids of the variables; None for the variables themselves.
        epsilon: See `tf_reg.Reweight`. Above zero if a size is zero.
        scale: The unit of the sizes; None for the root mean square of those that aren't zero.
        gamma: The exponent.
    """
    with without_gradients():
        value = claim.variable if weights is None else weights[id(claim.variable)]
        sizes = claim.stand_in.penalty.sizes(ops.cast(value, claim.factor.dtype), weights)
        unit = _typical(sizes) if scale is None else scale
        claim.factor.assign(ops.minimum(ops.power(sizes / unit + epsilon, -gamma), LARGEST))


def _typical(sizes: Tensor) -> Tensor:
    """The root mean square of the sizes that aren't zero; 1 where all are."""
    count = ops.cast(ops.count_nonzero(sizes), sizes.dtype)
    mean = ops.sum(ops.square(sizes)) / ops.maximum(count, ops.ones_like(count))
    return ops.where(mean > 0, ops.sqrt(mean), ops.ones_like(mean))
