"""The proximal operators of the penalties, applied to the weights after an optimizer's own update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor, is_known, without_gradients
from tf_reg._xla import update
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.ownership import Claim
from tf_reg.penalties.group_lasso import is_elementwise

Mask = Tensor | None


def zeros_to_keep(claims: Sequence[Claim], frozen: keras.Variable) -> list[Mask]:
    """Return, for every claim, a mask of the weights that must stay zero; None where no weight must.

    Args:
        claims: The penalties of the step.
        frozen: Whether zeros stay zero. A scalar.
    """
    if not claims:
        return []
    if is_known(frozen.value) and not bool(frozen.value):
        return [None] * len(claims)
    values = [ops.stop_gradient(claim.variable) for claim in claims]
    return ops.cond(
        frozen.value,
        lambda: [ops.equal(value, 0) for value in values],
        lambda: [ops.zeros(value.shape, dtype="bool") for value in values],
    )


def apply_maps(
    optimizer: keras.optimizers.Optimizer,
    claims: Sequence[Claim],
    zeros: Sequence[Mask],
    amount: Tensor,
    due: Tensor | bool,
    compiled: bool,
) -> None:
    """Set every claimed variable to the proximal operator of its penalty at the variable.

    Args:
        optimizer: The inner optimizer, which has made its update.
        claims: The penalties of the step.
        zeros: The masks of `zeros_to_keep`, from before the update.
        amount: The step size, without the preconditioner and with the strength. A scalar.
        due: Whether to do it; True where that is known when the step is compiled.
        compiled: Whether XLA compiles the whole training step.
    """
    if not claims:
        return
    # Within one compiled kernel, an elementwise operator with a step size of 0 takes less time than a branch.
    if compiled and all(is_elementwise(claim.stand_in.regularizer) for claim in claims):
        due = True

    def mapped() -> list[Tensor]:
        return [_mapped(optimizer, claim, zero, amount) for claim, zero in zip(claims, zeros, strict=True)]

    with without_gradients():
        update([claim.variable for claim in claims], mapped, due)


def _mapped(optimizer: keras.optimizers.Optimizer, claim: Claim, zero: Mask, amount: Tensor) -> Tensor:
    value = ops.convert_to_tensor(claim.variable)
    if zero is not None:
        value = ops.where(zero, ops.zeros_like(value), value)
    factor = preconditioner.factor(optimizer, claim.variable)
    mapped = claim.map(value, amount if factor is None else _as(amount, factor.dtype) * factor)
    if mapped is None:
        raise ValueError(
            f"A proximal map returns the new weights. Received None from that of {claim.stand_in.regularizer!r}: "
            "look at the function that was given to tf_reg.register_prox."
        )
    value = _as(mapped, value.dtype)
    return value if claim.variable.constraint is None else claim.variable.constraint(value)


def _as(value: Tensor, dtype: Any) -> Tensor:
    """Return a tensor in a dtype. `ops.cast` takes time on torch even if there is nothing to do."""
    return value if value.dtype == dtype else ops.cast(value, dtype)
