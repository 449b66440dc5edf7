"""Make as many channels of a model zero as it takes, the least important ones first."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from tf_reg.compaction.coupled import ChannelGroup, set_to_zero
from tf_reg.measure.dead_channels import free_channels
from tf_reg.selection.frontier import size_of

STAYS = 0.25  # of the channels that belong together, at least: a group without channels would cut the model in two


def make_zero(model: keras.Model, goal: float) -> None:
    """Make the smallest sufficient number of channels zero.

    Args:
        model: A built functional or sequential model.
        goal: The multiply-adds (or parameters) that compaction shall leave at most. Where that can't be, as little as
            can be.
    """
    groups = free_channels(model)
    ranked = _ranked(groups)
    variables = list({id(one.variable): one.variable for group in groups for one in group.slices}.values())
    values = [ops.convert_to_numpy(variable.value) for variable in variables]

    def leaves(count: int) -> bool:
        """Whether so many channels are enough; they are zero then."""
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        for number, group in enumerate(groups):
            chosen = np.zeros(group.size, bool)
            chosen[[place for which, place in ranked[:count] if which == number]] = True
            set_to_zero((one, chosen) for one in group.slices)
        return size_of(model, compacted=True).cost <= goal

    few, many = 0, len(ranked)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if leaves(middle) else (middle, many)
    leaves(many)


def _ranked(groups: tuple[ChannelGroup, ...]) -> list[tuple[int, int]]:
    """The channels that may go, as numbers of the group and the channel, the least important one first."""
    found = []
    for number, group in enumerate(groups):
        sizes = importance(group)
        order = np.argsort(sizes, kind="stable")[: group.size - math.ceil(STAYS * group.size)]
        found += [(float(sizes[place]), number, int(place)) for place in order]
    return [(number, place) for _, number, place in sorted(found)]


def importance(group: ChannelGroup) -> np.ndarray:
    """How large each channel is beside the others of its group, `(channels,)`, 1 on average.

    It is the mean of the root mean square of its numbers in each weight, divided by the average of the group there.

    Args:
        group: Channels.
    """
    sizes = []
    for one in group.slices:
        if one.role == "read" or one.trains:
            size = np.sqrt(np.square(one.numbers().astype("float64")).mean(axis=1))
            if size.any():  # biases may all be zero still
                sizes.append(size / size.mean())
    return np.mean(sizes, axis=0) if sizes else np.zeros(group.size)
