"""The proximal operators of the penalties, applied to the weights after an optimizer's own update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tf_reg._backend import Tensor, is_known, without_gradients
from tf_reg._xla import update
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.ownership import Claim


class Before(NamedTuple):
    """What a weight was before the inner optimizer's update.

    Args:
        zero: Where it must stay zero, boolean of its shape; None where it needn't anywhere.
        value: The weight, of its shape; None where nobody needs it.
    """

    zero: Tensor | None
    value: Tensor | None


class Step(NamedTuple):
    """The size of a proximal step.

    Args:
        amount: The step size, without the preconditioner and with the strength. A scalar.
        reach: The farthest that a weight may move: see `tf_reg.optimizers.preconditioner.reach`. A scalar; None for any
            distance.
        due: Whether to make the step; True where that is known when the step is compiled.
    """

    amount: Tensor
    reach: Tensor | None
    due: Tensor | bool


def before_update(optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], keep: Tensor) -> list[Before]:
    """Return what the claimed weights are now.

    Args:
        optimizer: The inner optimizer, before its update.
        claims: The penalties of the step.
        keep: Whether zeros stay zero. A boolean scalar.
    """
    if not claims:
        return []
    wanted = preconditioner.has_reach(optimizer) and not preconditioner.is_bounded(optimizer)
    copies = [ops.copy(ops.stop_gradient(claim.variable)) if wanted else None for claim in claims]
    return [Before(zero, copy) for zero, copy in zip(_zeros(claims, keep), copies, strict=True)]


def _zeros(claims: Sequence[Claim], keep: Tensor) -> Sequence[Tensor | None]:
    if is_known(keep) and not bool(keep):
        return [None] * len(claims)
    values = [ops.stop_gradient(claim.variable) for claim in claims]
    return ops.cond(
        keep,
        lambda: [ops.equal(value, 0) for value in values],
        lambda: [ops.zeros(value.shape, dtype="bool") for value in values],
    )


def make_step(
    optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], before: Sequence[Before], step: Step, compiled: bool
) -> None:
    """Set every claimed variable to the proximal operator of its penalty at the variable.

    Args:
        optimizer: The inner optimizer, which has made its update.
        claims: The penalties of the step.
        before: What `before_update` returned.
        step: The size of the step.
        compiled: Whether XLA compiles the whole training step.
    """
    if not claims:
        return
    # Within one compiled kernel, an elementwise operator with a step size of 0 takes less time than a branch.
    due = step.due
    if compiled and all(claim.stand_in.penalty.elementwise for claim in claims):
        due = True

    def mapped() -> list[Tensor]:
        return [_mapped(optimizer, claim, old, step) for claim, old in zip(claims, before, strict=True)]

    with without_gradients():
        update([claim.variable for claim in claims], mapped, due)


def _mapped(optimizer: keras.optimizers.Optimizer, claim: Claim, before: Before, step: Step) -> Tensor:
    value = ops.convert_to_tensor(claim.variable)
    if before.zero is not None:
        value = ops.where(before.zero, ops.zeros_like(value), value)
    mapped = claim.map(value, _step_size(optimizer, claim, step.amount))
    if mapped is None:
        raise ValueError(
            f"A proximal map returns the new weights. Received None from that of {claim.stand_in.regularizer!r}: "
            "look at the function that was given to tf_reg.register_prox."
        )
    mapped = _as(mapped, value.dtype)
    if step.reach is not None and claim.stand_in.penalty.is_finite:
        mapped = _within_reach(value, mapped, before.value, _as(step.reach, value.dtype))
    return mapped if claim.variable.constraint is None else claim.variable.constraint(mapped)


def _step_size(optimizer: keras.optimizers.Optimizer, claim: Claim, amount: Tensor) -> Tensor:
    """The step size of every weight, of its shape, or one for all, a scalar.

    In an adaptive optimizer it has no bound where there was no gradient yet. A penalty of a user's own may be a
    constraint, whose operator mustn't stop halfway. It waits for the first gradient there: the step size is 0.
    """
    factor = preconditioner.factor(optimizer, claim.variable)
    if factor is None:
        return amount
    size = _as(amount, factor.dtype) * factor
    if claim.stand_in.penalty.is_finite:
        return size
    return ops.where(preconditioner.had_gradient(optimizer, claim.variable), size, ops.zeros_like(size))


def _within_reach(value: Tensor, mapped: Tensor, before: Tensor | None, reach: Tensor) -> Tensor:
    """Move a weight from `value` to `mapped`, but no farther than the optimizer itself could have moved it.

    Where a training has come to an end, the optimizer's own move and that of the proximal operator cancel, so the
    operator's move is within this distance there: the limit changes no minimum.
    """
    if before is not None:
        reach = ops.maximum(reach, 2 * ops.abs(value - before))
    move = mapped - value
    return ops.where(ops.abs(move) <= reach, mapped, value + ops.sign(move) * reach)


def _as(value: Tensor, dtype: Any) -> Tensor:
    """Return a tensor in a dtype. `ops.cast` takes time on torch even if there is nothing to do."""
    return value if value.dtype == dtype else ops.cast(value, dtype)
