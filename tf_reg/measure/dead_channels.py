"""Which channels of a model are dead, counted time and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg import _backend
from tf_reg._backend import Tensor
from tf_reg.compaction.coupled import ChannelGroup, Slice, channels
from tf_reg.compaction.plan import NotCompactableError
from tf_reg.penalties.groups import Grouping


def free_channels(model: keras.Layer) -> tuple[ChannelGroup, ...]:
    """Return the channels of a model that nothing holds; none where `tf_reg.channels` doesn't take the model.

    Args:
        model: A built model or layer.
    """
    try:
        return channels(model).free
    except NotCompactableError:
        return ()


class _Part(NamedTuple):
    """The slices of a group of channels, without those that say nothing of its death.

    Args:
        made: Those that make the channels and could be trained.
        read: Those that read them.
    """

    made: list[Slice]
    read: list[Slice]


class DeadChannels:
    """Finds the dead channels of a model as it is then, by one compiled function and one transfer to the host.

    It answers what `ChannelGroup.dead` does, which reads all weights on the host.

    Args:
        groups: Channels, of `tf_reg.channels(model)`. They are looked up once, by the caller.
    """

    def __init__(self, groups: Sequence[ChannelGroup]) -> None:
        self._groups = tuple(groups)
        self._parts = [
            _Part([one for one in group.with_role("made") if one.trains], list(group.with_role("read")))
            for group in self._groups
        ]
        slices = [one for part in self._parts for one in (*part.made, *part.read)]
        self._places = {_key(one): one for one in slices}
        self._groupings = [_along(one.variable.shape, one.axis) for one in self._places.values()]
        self._function = _backend.compile(self._some)

    @property
    def count(self) -> int:
        """How many channels there are."""
        return sum(group.size for group in self._groups)

    def find(self) -> list[np.ndarray]:
        """Return which channels of each group are dead now: boolean, of shape `(size,)` each."""
        if not self._places:
            return [np.zeros(group.size, bool) for group in self._groups]
        values = [ops.convert_to_tensor(one.variable) for one in self._places.values()]
        flat = ops.convert_to_numpy(self._function(values))
        ends = np.cumsum([grouping.number for grouping in self._groupings])
        alive = dict(zip(self._places, np.split(flat, ends[:-1]), strict=True))
        return [
            _silent(part.made, alive, group.size) | _silent(part.read, alive, group.size)
            for part, group in zip(self._parts, self._groups, strict=True)
        ]

    def measure(self) -> int:
        """Return how many channels are dead now."""
        return sum(int(dead.sum()) for dead in self.find())

    def _some(self, values: Sequence[Tensor]) -> Tensor:
        found = [plan.some(ops.not_equal(value, 0)) for plan, value in zip(self._groupings, values, strict=True)]
        return ops.concatenate(found)


def _key(one: Slice) -> tuple[int, int]:
    return id(one.variable), one.axis


def _along(shape: Sequence[int], axis: int) -> Grouping:
    """Each place along an axis as a group."""
    rank = len(shape)
    return Grouping(tuple(shape), tuple(other for other in range(rank) if other != axis % rank))


def _silent(slices: Sequence[Slice], alive: dict[Any, np.ndarray], size: int) -> np.ndarray:
    """Which channels have only zeros in some slices; none where there are no slices."""
    silent = [~alive[_key(one)][one.places].any(axis=1) for one in slices]
    return np.logical_and.reduce(silent) if silent else np.zeros(size, bool)
