"""Networks of `keras.applications` in which some channels are dead."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

import tf_reg
from tf_reg.compaction.coupled import ChannelGroup, ChannelReport


def network(name: str, size: int, **options: Any) -> keras.Model:
    """Return a network of `keras.applications` with random weights.

    Args:
        name: Its name.
        size: The pixels of a side of its images.
        **options: More arguments of the network.
    """
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)


def kill(model: keras.Model, share: float, seed: int) -> tuple[ChannelReport, list[np.ndarray]]:
    """Set the weights of all kernels that read some channels to zero.

    Args:
        model: The network.
        share: Which share of the channels of each group that nothing holds: with all that is coupled, through
            residual additions and depthwise convolutions.
        seed: Which channels.

    Returns:
        The channels of the model, and for each group that nothing holds which of its channels are dead now.
    """
    random, report, dead = np.random.default_rng(seed), tf_reg.channels(model), []
    values = {id(variable): ops.convert_to_numpy(variable.value).copy() for variable in model.variables}
    for group in report.free:
        chosen = np.zeros(group.size, bool)
        chosen[random.permutation(group.size)[: int(share * group.size)]] = True
        dead.append(chosen)
        for one in group.with_role("read"):
            np.moveaxis(values[id(one.variable)], one.axis, 0)[one.places[chosen].ravel()] = 0
    for variable in model.variables:
        variable.assign(values[id(variable)])
    return report, dead


def parameters_at(model: keras.Model, groups: tuple[ChannelGroup, ...], dead: list[np.ndarray]) -> int:
    """Return how many parameters the network has if it is built without the dead channels."""
    gone: dict[int, dict[int, int]] = {}
    for group, chosen in zip(groups, dead, strict=True):
        for one in group.slices:
            axes = gone.setdefault(id(one.variable), {})
            axes[one.axis] = axes.get(one.axis, 0) + one.places[chosen].size
    shapes = (
        [size - gone.get(id(weight), {}).get(axis, 0) for axis, size in enumerate(weight.shape)]
        for weight in model.weights
    )
    return sum(math.prod(shape) for shape in shapes)
