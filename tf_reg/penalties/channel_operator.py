"""The proximal operator of penalties of channels, at all weights that have numbers of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

from tf_reg._backend import Tensor
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
    new = list(values)
    for group, part in {part.group: part for one in regularizers for part in one.parts}.items():
        members = next(one for one in regularizers if any(p.group == group for p in one.parts)).members(group)
        _check_trained(members, place)
        present = [(place[id(m.regularizer)], m.part) for m in members if id(m.regularizer) in place]
        rows = [part.matrix(new[number]) for number, part in present]
        matrix = rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=0)
        step = _steps([(steps[number], one, new[number].shape) for number, one in present])
        factor = None if factors is None else factors[present[0][0]]
        if factor is not None:
            step = step * ops.cast(present[0][1].channel_values(factor), step.dtype)
        mapped = regularizers[0].rule.penalty.block(matrix, step * part.factor, (0,), part.unit)
        ends = np.cumsum([one.shape[0] for one in rows])[:-1].tolist()
        blocks = ops.split(mapped, ends, axis=0) if ends else [mapped]  # TensorFlow takes no empty list of ends
        for (number, one), block in zip(present, blocks, strict=True):
            new[number] = ops.cast(one.put(new[number], block), values[number].dtype)
    return new


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
