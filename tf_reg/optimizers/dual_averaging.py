"""Dual averaging: the average of the gradients so far decides which weights are zero, and not the last batch alone.

A weight at zero stays there while the gradient of the data loss is below the slope of the penalty. The gradient of one
batch is above it now and then, although the gradient of all data is below. With the learning rate `lr` (with its
momentum and preconditioner), a step of `Proximal` is `prox of lr * strength * R` at `h`, to where the inner optimizer
has moved the weights. Dual averaging adds a sum q for each weight, and a sum m of strengths:

    k <- sqrt((t - 1) / t)              in step t from 1
    m <- k * m + strength
    z <- h + lr * k * q
    w <- prox of lr * m * R at z
    q <- (z - w) / lr                   a subgradient of m * R at w

Where w is zero, q is a sum of negative gradients, and the gradient of step i counts `sqrt(i / t)`. So w is zero while
their average is below the slope. Averages of many batches hardly differ: in the end the zeros stay. Where w is not
zero, L1 makes the same step as without averages.

This is FTRL-Proximal with the weights `sqrt(t)` of RMDA and RAMDA. Those two start from the first weights in each step,
`w = prox of R at w0 - sum of gradients`, which draws all weights towards w0 by `1 / (2t)` of the distance. Here the
start is the weights of the step before, so the limit is the minimum itself.

McMahan 2011, "Follow-the-regularized-leader and mirror descent: equivalence theorems and L1 regularization"; Xiao 2010,
"Dual averaging methods for regularized stochastic learning and online optimization"; Huang & Lee 2022, "Training
structured neural networks through manifold identification and variance reduction" (RMDA); Huang & Lee 2024,
"Regularized adaptive momentum dual averaging" (RAMDA).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import require
from tf_reg._vectors import joined, parted
from tf_reg.optimizers.ownership import Claim
from tf_reg.penalties.concave import ConcavePenalty
from tf_reg.penalties.coupled import ChannelMember
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.penalty import Penalty
from tf_reg.penalties.registry import penalty_of
from tf_reg.penalties.stand_in import unwrapped

Prox = Callable[[Sequence[Tensor], Sequence[Tensor]], list[Tensor]]

RESOLVED = 1e-4  # of a weight: float32 knows a smaller difference to it with less than three digits


class Averages(NamedTuple):
    """What the averages of one step need.

    Args:
        sums: The variables q, one for each trainable variable, and by the `id` of it.
        amount: The step size, without the preconditioner and without the strength: lr. It is 0 where the inner
            optimizer has made no update.
        keep: What q of before counts: k. A scalar, as all that follow.
        mass: The sum of strengths: m.
        growth: `mass` divided by what it was before; 0 where it was 0, and in the first step.
    """

    sums: dict[int, keras.Variable]
    amount: Tensor
    keep: Tensor
    mass: Tensor
    growth: Tensor

    def of(self, claims: Sequence[Claim]) -> list[keras.Variable] | None:
        """Return the variables q of claims; None where their penalty has no averages.

        Args:
            claims: Claims with one penalty.
        """
        return [self.sums[id(claim.variable)] for claim in claims] if averages(claims[0].stand_in.penalty) else None


class DualAveraging:
    """The variables of dual averaging, which an optimizer has and saves."""

    def build(self, optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> None:
        """Make the variables. Their order is a part of the file format of saved models.

        Args:
            optimizer: The optimizer that they belong to.
            variables: The model's trainable variables. Each has a sum: it may get a penalty later.
        """
        self._count, self._mass = (
            optimizer.add_variable((), "zeros", aggregation="only_first_replica", name=name)
            for name in ("averaged_steps", "sum_of_strengths")
        )
        self._sums = {id(variable): _like(optimizer, variable) for variable in variables}

    def restart(self) -> None:
        """Begin new averages in the next step."""
        self._count.assign(0.0)

    def advance(self, amount: Tensor, strength: Tensor) -> Averages:
        """Return the averages of the next proximal step.

        Args:
            amount: As in `Averages`.
            strength: The multiplier of all penalties. A scalar.
        """
        moves = amount > 0
        count = self._count + ops.cast(moves, self._count.dtype)
        keep = ops.where(strength > 0, ops.sqrt((count - 1) / ops.maximum(count, 1)), ops.zeros_like(count))
        keep = ops.where(moves, keep, ops.ones_like(count))  # without a strength, no old slope holds a weight at zero
        mass = ops.where(moves, keep * self._mass + strength, self._mass.value)
        old = ops.where(self._mass > 0, self._mass.value, ops.ones_like(mass))
        growth = ops.where(ops.logical_and(self._mass > 0, keep > 0), mass / old, ops.zeros_like(mass))
        self._count.assign(count)
        self._mass.assign(mass)
        return Averages(self._sums, amount, keep, mass, growth)


def _like(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> keras.Variable:
    """A variable of zeros. A sum of many small numbers needs more digits than a float of 16 bits has."""
    if keras.backend.standardize_dtype(variable.dtype) in ("float32", "float64"):
        return optimizer.add_variable_from_reference(variable, name="gradient_sum")
    return optimizer.add_variable(variable.shape, "zeros", "float32", name="gradient_sum")


def averages(penalty: Penalty) -> bool:
    """Whether a penalty has averages: it gives zeros, and is not a user's own, of which nothing is known."""
    return penalty.gives_zeros and penalty.is_finite


def averaged(
    vectors: Sequence[Sequence[Claim]], values: Sequence[Tensor], sizes: Sequence[Tensor], step: Averages, prox: Prox
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the new weights of claims, and their new sums q.

    Args:
        vectors: The claims, in lists whose weights are one vector each.
        values: The weights of each list after the inner optimizer's update.
        sizes: The step size of each list without the strength, a scalar or of the same shape.
        step: The averages of the step.
        prox: The proximal operator, a function of values and step sizes.

    Returns:
        The weights of each list, and the sum of each claim.
    """
    sums = [[ops.convert_to_tensor(one) for one in step.of(claims) or []] for claims in vectors]
    totals = [joined(one) for one in sums]
    dtype = totals[0].dtype
    keep, mass, growth = (ops.cast(one, dtype) for one in step[2:])
    sizes = [ops.cast(one, dtype) for one in sizes]
    pairs = zip(values, sizes, totals, strict=True)
    starts = [ops.cast(value, dtype) + size * keep * total for value, size, total in pairs]
    new = prox(starts, [size * mass for size in sizes])
    found = []
    for start, one, size, total, parts in zip(starts, new, sizes, totals, sums, strict=True):
        moves, difference = size > 0, start - one
        resolved = ops.logical_and(moves, ops.abs(difference) >= RESOLVED * ops.abs(one))
        exact = difference / ops.where(moves, size, ops.ones_like(size))
        found += parted(ops.where(resolved, exact, growth * total), parts)
    return [ops.cast(one, value.dtype) for one, value in zip(new, values, strict=True)], found


def chosen(dual_averaging: Any) -> DualAveraging | None:
    """Return the state of dual averaging; None without it.

    Args:
        dual_averaging: As `Proximal` was given it.

    Raises:
        ValueError: Something else than a boolean.
    """
    require(isinstance(dual_averaging, bool), "dual_averaging is True or False", "dual_averaging", dual_averaging)
    return DualAveraging() if dual_averaging else None


def check_penalties(variables: Iterable[Any], new: Mapping[int, Any]) -> None:
    """Check that the penalties of variables are convex, as far as that is known.

    Args:
        variables: Keras variables with their regularizers.
        new: The regularizers that they are to have in the place of these, by the `id` of the variable.

    Raises:
        ValueError: A penalty of tf_reg that isn't convex.
    """
    for variable in variables:
        penalty = penalty_of(unwrapped(new.get(id(variable), getattr(variable, "regularizer", None))))
        penalty = penalty.rule.penalty if isinstance(penalty, ChannelMember) else penalty
        if isinstance(penalty, ConcavePenalty | Lq):
            raise ValueError(
                "dual_averaging=True needs convex penalties, such as L1 and GroupLasso: an average of gradients says "
                f"nothing of a slope that changes with the weight. Received: {type(penalty).__name__} on "
                f"{variable.path}. Use L1 or GroupLasso there, or dual_averaging=False."
            )
