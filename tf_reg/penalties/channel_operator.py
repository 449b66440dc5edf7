"""The proximal operator of penalties of channels, at all weights that have numbers of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._vectors import mapped_together
from tf_reg.penalties.channel_parts import Part
from tf_reg.penalties.coupled import ChannelMember, Member


def prox_of(
    regularizers: Sequence[ChannelMember],
    values: Sequence[Tensor],
    steps: Sequence[Tensor],
    factors: Sequence[Tensor | None] | None = None,
) -> list[Tensor]:
    """The proximal operator of a channel penalty, at all weights that have numbers of its channels.

    Args:
        regularizers: The regularizers of the weights.
        values: The weights, in the same order.
        steps: The step size for each weight: a scalar, or a tensor of the weight's shape.
        factors: The factors of each weight, of its `factor_shape`; None for none.

    Returns:
        The new weights.

    Raises:
        ValueError: A weight that is trained is missing.
    """
    place = {id(one): number for number, one in enumerate(regularizers)}
    penalty, new = regularizers[0].rule.penalty, list(values)
    groups: dict[float, list[_Group]] = {}
    for group, part in {part.group: part for one in regularizers for part in one.parts}.items():
        members = next(one for one in regularizers if any(p.group == group for p in one.parts)).members(group)
        _check_trained(members, place)
        present = [(place[id(m.regularizer)], m.part) for m in members if id(m.regularizer) in place]
        step = _steps([(steps[number], p, values[number].shape) for number, p in present]) * part.factor
        factor = None if factors is None else factors[present[0][0]]
        if factor is not None:
            step = step * ops.cast(present[0][1].channel_values(factor), step.dtype)
        groups.setdefault(part.unit, []).append(_Group(present, [p.matrix(values[n]) for n, p in present], step))
    for unit, alike in groups.items():
        block = functools.partial(penalty.block, axes=(0,), unit=unit)
        mapped = mapped_together(block, [(_joined(one.rows), one.step) for one in alike])
        for one, matrix in zip(alike, mapped, strict=True):
            for (number, part), rows in zip(one.present, _parted(matrix, one.rows), strict=True):
                new[number] = ops.cast(part.put(new[number], rows), values[number].dtype)
    return new


class _Group(NamedTuple):
    """A group of channels that have the same weights.

    Args:
        present: Which of the weights, and which part of each.
        rows: The numbers of each part, of the shape `(numbers of a channel, channels)`.
        step: The step size, a scalar or for each of the numbers in one matrix.
    """

    present: Sequence[tuple[int, Part]]
    rows: Sequence[Tensor]
    step: Tensor


def _joined(rows: Sequence[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=0)


def _parted(matrix: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    ends = np.cumsum([rows.shape[0] for rows in like])[:-1].tolist()
    return ops.split(matrix, ends, axis=0) if ends else [matrix]  # TensorFlow takes no empty list of ends


def _steps(given: Sequence[tuple[Tensor, Part, Sequence[int]]]) -> Tensor:
    """The step sizes of one group: a scalar, or a matrix of the shape of its numbers."""
    if all(math.prod(step.shape) == 1 for step, *_ in given):
        return given[0][0]
    return ops.concatenate([part.matrix(ops.broadcast_to(step, shape)) for step, part, shape in given], axis=0)


def _check_trained(members: Sequence[Member], place: Mapping[int, int]) -> None:
    missing = [m for m in members if m.variable.trainable and id(m.regularizer) not in place]
    if missing:
        raise ValueError(
            "One tf_reg.Proximal must train all weights of a channel in one step. Received: a step without "
            f"{missing[0].variable.path}. Give it all trainable variables of the model, or freeze the layer "
            "(trainable = False) and compile again."
        )
