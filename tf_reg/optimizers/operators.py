"""The proximal operators of penalties that are handled together, with their factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._vectors import held, in_dtype, joined, mapped_together
from tf_reg.optimizers.ownership import Claim
from tf_reg.penalties.channel_operator import prox_of
from tf_reg.penalties.coupled import ChannelMember


def prox(vectors: Sequence[Sequence[Claim]], values: Sequence[Tensor], sizes: Sequence[Tensor]) -> list[Tensor]:
    """Return the proximal operators of penalties.

    Args:
        vectors: The claims, in lists whose weights are one vector each. Lists that are several have one penalty: one of
            channels, or an equal one of weights of one shape.
        values: The weights of each list.
        sizes: The step size of each list, with the strength: a scalar, or of the shape of the weights.

    Raises:
        ValueError: An operator of a user's own that returns None, or weights of another shape.
    """
    factors = [None if one[0].factor is None else joined(held([claim.factor for claim in one])) for one in vectors]
    first = vectors[0][0]
    if first.stand_in.penalty.coupled:
        regularizers = [cast(ChannelMember, one[0].stand_in.penalty) for one in vectors]
        return prox_of(regularizers, values, sizes, factors)
    if factors[0] is not None:
        weighted = first.stand_in.penalty.weighted_prox
        given = [(v, s, ops.cast(f, s.dtype)) for v, s, f in zip(values, sizes, factors, strict=True)]
        return [in_dtype(new, v.dtype) for new, v in zip(mapped_together(weighted, given), values, strict=True)]
    wide = values[0].dtype if keras.backend.standardize_dtype(values[0].dtype) == "float64" else sizes[0].dtype
    steps = [in_dtype(size, wide) for size in sizes]
    return mapped_together(lambda value, step: _mapped(first, value, step), list(zip(values, steps, strict=True)))


def _mapped(claim: Claim, value: Tensor, step: Tensor) -> Tensor:
    """The proximal operator of a claim's penalty, which may be a function of the user's."""
    mapped = claim.map(value, step)
    wanted, received = tuple(value.shape), None if mapped is None else tuple(mapped.shape)
    if received != wanted:
        raise ValueError(
            f"A proximal operator returns the new weights, of the shape {wanted} here. Received {received} for "
            f"{claim.stand_in.regularizer!r}: look at the function that was given to tf_reg.register_prox."
        )
    return in_dtype(mapped, value.dtype)
