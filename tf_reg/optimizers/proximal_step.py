"""The proximal operators of the penalties, applied to the weights after an optimizer's own update."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import keras
from keras import ops

from tf_reg._backend import Tensor, is_known, without_gradients
from tf_reg._vectors import SMALL, assign_all, held, in_dtype, joined, parted, stacks
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.dual_averaging import Averages, averaged
from tf_reg.optimizers.dual_averaging import averages as averages_of
from tf_reg.optimizers.operators import prox
from tf_reg.optimizers.ownership import Claim
from tf_reg.penalties.coupled import ChannelMember


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
        due: Whether the inner optimizer makes an update, so that there is a step; True where that is known when the
            step is compiled.
        averages: What dual averaging needs; None without it.
    """

    amount: Tensor
    reach: Tensor | None
    due: Tensor | bool
    averages: Averages | None = None


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
    return [ops.logical_and(keep, ops.equal(ops.stop_gradient(claim.variable), 0)) for claim in claims]


def make_step(
    optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], before: Sequence[Before], step: Step
) -> None:
    """Set every claimed variable to the proximal operator of its penalty at the variable.

    Args:
        optimizer: The inner optimizer, which has made its update.
        claims: The penalties of the step.
        before: What `before_update` returned.
        step: The size of the step.
    """
    if not claims:
        return
    variables = [claim.variable for claim in claims]
    sums: dict[int, keras.Variable] = {}
    for position, claim in enumerate(claims):
        for variable in (step.averages.of([claim]) or []) if step.averages is not None else []:
            sums[position] = variable

    def mapped() -> list[Tensor]:
        values: list[Tensor] = [None] * len(claims)
        new_sums: dict[int, Tensor] = {}
        for positions in together(claims):
            chosen = [claims[position] for position in positions]
            new, found = _mapped(optimizer, chosen, [before[position] for position in positions], step)
            for position, value in zip(positions, new, strict=True):
                values[position] = value
            new_sums.update(zip(positions, found, strict=False))
        return [*values, *(new_sums[position] for position in sums)]

    changed = [*variables, *sums.values()]
    with without_gradients():
        assign_all(changed, mapped() if step.due is True else ops.cond(step.due, mapped, lambda: _values(changed)))


def _values(variables: Sequence[keras.Variable]) -> list[Tensor]:
    return [ops.stop_gradient(variable) for variable in variables]


def together(claims: Sequence[Claim]) -> list[list[int]]:
    """Return which claims may be handled as one vector: a list of positions for each vector.

    Those of channels that share weights are together. On torch, so are those of small weights with an equal penalty
    that works entry by entry. Other backends compile a step. On JAX's accelerators, all those of an equal penalty of
    channels are together, and those of an equal penalty of groups of weights of one shape. Every other claim is alone.

    Args:
        claims: The penalties of a step.
    """
    found: dict[Hashable, list[int]] = {}
    for position, claim in enumerate(claims):
        key = _key(claim)
        found.setdefault(position if key is None else key, []).append(position)
    return list(found.values())


def _key(claim: Claim) -> Hashable:
    """What two claims must have in common; None where a claim must be alone."""
    penalty = claim.stand_in.penalty
    if isinstance(penalty, ChannelMember):
        return (penalty.key, str(penalty.rule.get_config())) if stacks() else penalty.family
    parameters = penalty.parameters if penalty.is_finite else None
    if parameters is None:
        return None
    shape, value = tuple(claim.variable.shape), claim.variable.value
    if stacks() and penalty.grouping(shape) is not None:
        return type(penalty), parameters, claim.factor is None, value.dtype, shape
    if keras.backend.backend() != "torch" or not penalty.elementwise or math.prod(shape) > SMALL:
        return None
    return type(penalty), parameters, claim.factor is None, value.dtype, value.device


def _mapped(
    optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], before: Sequence[Before], step: Step
) -> tuple[list[Tensor], list[Tensor]]:
    """The new values of the claimed variables that are in one list of `_together`.

    With dual averaging, the new sums of gradients as well.
    """
    penalty, sums = claims[0].stand_in.penalty, list[Tensor]()
    old = held([claim.variable for claim in claims])
    joins = keras.backend.backend() == "torch" and not penalty.coupled
    parts = [list(range(len(claims)))] if joins else [[number] for number in range(len(claims))]
    vectors = [[claims[number] for number in part] for part in parts]
    zeros = [_joined([before[number].zero for number in part]) for part in parts]
    values = [_without(joined([old[number] for number in part]), zero) for part, zero in zip(parts, zeros, strict=True)]
    averages = step.averages if step.averages is not None and averages_of(penalty) else None
    amount = step.amount if averages is None else averages.amount
    sizes = [_step_size(optimizer, vector, amount) for vector in vectors]
    apply = functools.partial(prox, vectors)
    if averages is None:
        mapped = apply(values, sizes)
    else:
        mapped, sums = averaged(vectors, values, sizes, averages, apply)
        mapped = [_without(new, zero) for new, zero in zip(mapped, zeros, strict=True)]
    if step.reach is not None and penalty.is_finite:
        starts = [_joined([before[number].value for number in part]) for part in parts]
        moves = zip(values, mapped, starts, strict=True)
        mapped = [_within_reach(value, new, start, in_dtype(step.reach, value.dtype)) for value, new, start in moves]
    new = [one for part, vector in zip(parts, mapped, strict=True) for one in parted(vector, [old[n] for n in part])]
    constraints = [claim.variable.constraint for claim in claims]
    return [v if limit is None else limit(v) for v, limit in zip(new, constraints, strict=True)], sums


def _joined(tensors: Sequence[Tensor | None]) -> Tensor | None:
    return None if tensors[0] is None else joined(tensors)


def _without(value: Tensor, zero: Tensor | None) -> Tensor:
    """A weight that is zero where it must be."""
    return value if zero is None else ops.where(zero, ops.zeros_like(value), value)


def _step_size(optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], amount: Tensor) -> Tensor:
    """The step size of every weight, of its shape, or one for all, a scalar.

    In an adaptive optimizer it has no bound where there was no gradient yet. A penalty of a user's own may be a
    constraint, whose operator mustn't stop halfway. It waits for the first gradient there: the step size is 0.
    """
    factor = preconditioner.factor(optimizer, *(claim.variable for claim in claims))
    if factor is None:
        return amount
    size = in_dtype(amount, factor.dtype) * factor
    if claims[0].stand_in.penalty.is_finite:
        return size
    return ops.where(preconditioner.had_gradient(optimizer, claims[0].variable), size, ops.zeros_like(size))


def _within_reach(value: Tensor, mapped: Tensor, before: Tensor | None, reach: Tensor) -> Tensor:
    """Move a weight from `value` to `mapped`, but no farther than the optimizer itself could have moved it.

    Where a training has come to an end, the optimizer's own move and that of the proximal operator cancel, so the
    operator's move is within this distance there: the limit changes no minimum.
    """
    if before is not None:
        reach = ops.maximum(reach, 2 * ops.abs(value - before))
    move = mapped - value
    return ops.where(ops.abs(move) <= reach, mapped, value + ops.sign(move) * reach)
