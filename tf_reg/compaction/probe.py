"""What a layer makes of channels that are constant: found by calling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg.compaction.channels import FREE, Channels


def constants_after(
    call: Callable[[Tensor], Tensor], channels: Channels, shape: Sequence[int | None], axis: int, dtype: str
) -> np.ndarray:
    """Return the constants after an operation that makes each channel from the channel of the same number.

    The operation is called once on the constants. A result counts where it is one number at all positions, at borders
    too.

    Args:
        call: The operation, in inference.
        channels: The channels of its input.
        shape: The shape of its input, with the batch axis.
        axis: The axis of the result along which the channels lie.
        dtype: The dtype of its input.
    """
    known = ~np.isnan(channels.constants)
    unknown = np.full(len(channels.ids), np.nan)
    if not known.any():
        return unknown
    inner = [FREE * FREE if size is None else size for size in shape[1:]]
    spread = np.ones(len(inner) + 1, dtype=int)
    spread[channels.axis] = len(channels.ids)
    values = np.where(known, channels.constants, 0.0).reshape(spread)
    inputs = ops.convert_to_tensor(np.broadcast_to(values, (1, *inner)), dtype=dtype)
    result = ops.convert_to_numpy(call(inputs))
    along = np.moveaxis(result.astype("float64"), axis, 0).reshape(result.shape[axis], -1)
    same = known & (along == along[:, :1]).all(axis=1) & np.isfinite(along[:, 0])
    return np.where(same, along[:, 0], unknown)
