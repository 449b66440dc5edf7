"""Which channels of which tensors must be removed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

FREE = 3  # stands for a size that isn't known, such as that of an image


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channels of a symbolic tensor.

    Args:
        axis: The axis along which they lie, 1 or above.
        ids: The number of each channel's label, of shape `(size of the axis,)`. Channels with one label, of this tensor
            or another one, are removed together.
        constants: The value that each channel has for all examples and at all positions, in inference; NaN where it
            has no such value. Float64, of the shape of `ids`.
    """

    axis: int
    ids: np.ndarray
    constants: np.ndarray

    def with_constants(self, constants: np.ndarray) -> Channels:
        """Return the same channels with other values."""
        return dataclasses.replace(self, constants=constants)


class Labels:
    """Sets of labels that are one label (union and find).

    Example:

    >>> labels = Labels()
    >>> first, second = labels.new(2), labels.new(2)
    >>> labels.join(first, second)
    >>> labels.roots(second).tolist()
    [0, 1]
    """

    def __init__(self) -> None:
        self._parents = np.zeros(0, dtype=int)  # never above the label itself

    def __len__(self) -> int:
        return len(self._parents)

    def new(self, count: int) -> np.ndarray:
        """Return labels that no channel has yet, of shape `(count,)`."""
        ids = np.arange(len(self._parents), len(self._parents) + count)
        self._parents = np.concatenate([self._parents, ids])
        return ids

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Make each label of one array the label at the same place of the other array, of the same shape."""
        if first.shape != second.shape:
            raise ValueError(f"labels are joined one to one. Received: {first.shape} and {second.shape}")
        while ((one := self.roots(first)) != (other := self.roots(second))).any():
            np.minimum.at(self._parents, np.maximum(one, other), np.minimum(one, other))

    def roots(self, ids: np.ndarray) -> np.ndarray:
        """Return the one label that stands for each label, of the shape of `ids`: the least of its set."""
        found = self._parents[ids]
        while ((above := self._parents[found]) != found).any():
            found = above
        self._parents[ids] = found
        return found


def moved(channels: Channels, shape: Sequence[int | None], move: Callable[[np.ndarray], np.ndarray]) -> Channels | None:
    """Return the channels of a tensor after an operation that only moves its numbers; None if they lie along no axis.

    Args:
        channels: The channels of the tensor.
        shape: The shape of the tensor, with its batch axis.
        move: What the operation does to an array of the shape of one example. Numbers that it makes up are -1.
    """
    inner = [FREE if size is None else size for size in shape[1:]]
    spread = np.ones(len(inner), dtype=int)
    spread[channels.axis - 1] = inner[channels.axis - 1]
    places = np.broadcast_to(np.arange(len(channels.ids)).reshape(spread), inner)
    result = move(places)
    axes = list(reversed(range(result.ndim)))
    if len(channels.ids) == 1:  # it lies along each axis, and one of its own size is right
        axes.sort(key=lambda axis: result.shape[axis] != 1)
    for axis in axes:
        along = np.moveaxis(result, axis, 0).reshape(result.shape[axis], -1)
        if (along == along[:, :1]).all():
            chosen = along[:, 0]
            return Channels(axis + 1, channels.ids[chosen], channels.constants[chosen]) if (chosen >= 0).all() else None
    return None
