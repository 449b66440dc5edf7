"""The numbers of one weight that belong to channels, as a matrix of one column for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from tf_reg._backend import Tensor


class Part(NamedTuple):
    """The numbers of one weight that belong to the channels of one group.

    Args:
        group: The number of the group.
        axis: The axis of the weight along which the channels lie.
        channels: How many channels the group has.
        places: The places of the channels along the axis: first one of each channel, then the next one of each. None
            where they are all of the axis, in order.
        unit: The unit of norms, such as the square root of how many numbers a channel has.
        factor: The multiplier of the group's penalty.
        members: How many weights have numbers of the group.
    """

    group: int
    axis: int
    channels: int
    places: Sequence[int] | None
    unit: float
    factor: float
    members: int

    def matrix(self, value: Tensor) -> Tensor:
        """The numbers, of the shape `(numbers of a channel, channels)`.

        Args:
            value: The weight.
        """
        flat = self._flat(value)
        if self.places is not None:
            flat = ops.take(flat, np.asarray(self.places, "int32"), axis=1)
        return ops.reshape(flat, (-1, self.channels))

    def put(self, value: Tensor, matrix: Tensor) -> Tensor:
        """The weight with other numbers.

        Args:
            value: The weight.
            matrix: The numbers, as `matrix` returns them.
        """
        last = len(value.shape) - 1
        shape = [size for axis, size in enumerate(value.shape) if axis != self.axis] + [value.shape[self.axis]]
        if self.places is None:
            return ops.moveaxis(ops.reshape(matrix, shape), last, self.axis)
        flat = self._flat(value)
        columns = np.arange(shape[-1], dtype="int32")
        columns[np.asarray(self.places)] = shape[-1] + np.arange(len(self.places))
        both = ops.concatenate([flat, ops.reshape(matrix, (-1, len(self.places)))], axis=1)
        return ops.moveaxis(ops.reshape(ops.take(both, columns, axis=1), shape), last, self.axis)

    def channel_values(self, vector: Tensor) -> Tensor:
        """One number for each channel, of the shape `(1, channels)`, from one for each place of the axis.

        Args:
            vector: A tensor whose other axes have the size 1.
        """
        flat = ops.reshape(vector, (1, -1))
        return (
            flat if self.places is None else ops.take(flat, np.asarray(self.places[: self.channels], "int32"), axis=1)
        )

    def cut(self, kept: np.ndarray) -> Part | None:
        """The part of a smaller weight; None where nothing is left.

        Args:
            kept: Which places of the axis stay, boolean.
        """
        places = np.arange(len(kept)) if self.places is None else np.asarray(self.places)
        places = places.reshape(-1, self.channels)
        places = (np.cumsum(kept) - 1)[places[:, kept[places].all(axis=0)]]
        if not places.size:
            return None
        whole = np.array_equal(places.ravel(), np.arange(int(kept.sum())))
        listed = None if whole and len(places) == 1 else places.ravel().tolist()
        return self._replace(channels=places.shape[1], places=listed)

    def _flat(self, value: Tensor) -> Tensor:
        """The weight of the shape `(everything else, size of the axis)`."""
        return ops.reshape(ops.moveaxis(value, self.axis, -1), (-1, value.shape[self.axis]))


def squares(matrix: Tensor) -> Tensor:
    """The sum of squares of each channel, of the shape `(channels,)`.

    Args:
        matrix: The numbers, as `Part.matrix` returns them.
    """
    return ops.sum(ops.square(matrix), axis=0)
