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

    The operation is called on the constants: once, or with two sizes where a size isn't known. A result counts where it
    is one number at all positions, at borders too, and for both sizes.

    Args:
        call: The operation, in inference.
        channels: The channels of its input.
        shape: The shape of its input, with the batch axis.
        axis: The axis of the result along which the channels lie.
        dtype: The dtype of its input.
    """
    known = ~np.isnan(channels.constants)
    if not known.any():
        return np.full(len(channels.ids), np.nan)
    sizes = [size for size in shape[1:] if size is not None]
    if len(sizes) == len(shape) - 1:
        return np.where(known, _called(call, channels, sizes, axis, dtype), np.nan)
    try:
        found = [
            _called(call, channels, [free if size is None else size for size in shape[1:]], axis, dtype)
            for free in (FREE * FREE, FREE * FREE + 1)
        ]
    except Exception:  # the operation needs larger examples than these
        return np.full(len(channels.ids), np.nan)
    same = known & np.isclose(found[0], found[-1], rtol=1e-6, atol=0.0)
    return np.where(same, found[0], np.nan)


def _called(
    call: Callable[[Tensor], Tensor], channels: Channels, inner: Sequence[int], axis: int, dtype: str
) -> np.ndarray:
    """The constants after an operation on examples of a shape; NaN for results that aren't one number."""
    known = ~np.isnan(channels.constants)
    spread = np.ones(len(inner) + 1, dtype=int)
    spread[channels.axis] = len(channels.ids)
    values = np.where(known, channels.constants, 0.0).reshape(spread)
    inputs = ops.convert_to_tensor(np.broadcast_to(values, (1, *inner)), dtype=dtype)
    result = ops.convert_to_numpy(call(inputs))
    if not result.size:
        return np.full(len(channels.ids), np.nan)
    along = np.moveaxis(result.astype("float64"), axis, 0).reshape(result.shape[axis], -1)
    same = (along == along[:, :1]).all(axis=1) & np.isfinite(along[:, 0])
    return np.where(same, along[:, 0], np.nan)
