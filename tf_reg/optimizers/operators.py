"""The proximal operators of penalties that are handled together, with their factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._vectors import held, joined
from tf_reg.optimizers.ownership import Claim
from tf_reg.penalties.channel_operator import prox_of
from tf_reg.penalties.coupled import ChannelMember


def prox(vectors: Sequence[Sequence[Claim]], values: Sequence[Tensor], sizes: Sequence[Tensor]) -> list[Tensor]:
    """Return the proximal operators of penalties.

    Args:
        vectors: The claims. Those of a penalty of channels are a list each. Of other claims there is one list, and
            their weights are one vector if they are several.
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
    if factors[0] is None:
        wide = values[0].dtype if keras.backend.standardize_dtype(values[0].dtype) == "float64" else sizes[0].dtype
        mapped = first.map(values[0], sizes[0] if sizes[0].dtype == wide else ops.cast(sizes[0], wide))
    else:
        mapped = first.stand_in.penalty.weighted_prox(values[0], sizes[0], ops.cast(factors[0], sizes[0].dtype))
    wanted, received = tuple(values[0].shape), None if mapped is None else tuple(mapped.shape)
    if received != wanted:
        raise ValueError(
            f"A proximal operator returns the new weights, of the shape {wanted} here. Received {received} for "
            f"{first.stand_in.regularizer!r}: look at the function that was given to tf_reg.register_prox."
        )
    return [mapped if mapped.dtype == values[0].dtype else ops.cast(mapped, values[0].dtype)]
