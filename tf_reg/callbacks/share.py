"""The share that `tf_reg.TargetSparsity` moves: how much of a model is zero, of what can become zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tf_reg import _walk
from tf_reg.compaction.coupled import ChannelGroup, Slice
from tf_reg.compaction.plan import plan_compaction
from tf_reg.measure.dead_channels import DeadChannels, free_channels
from tf_reg.measure.meter import Measurement, Meter
from tf_reg.measure.statistics import WeightStatistics
from tf_reg.penalties.registry import group_penalty_of, penalty_of
from tf_reg.penalties.stand_in import unwrapped

NEEDS = {
    "weights": "weights with a penalty that gives zeros",
    "groups": "kernels with a regularizer that has groups, such as tf_reg.GroupLasso",
    "channels": "channels that nothing holds, with a penalty that gives zeros on all weights that make them, or on all "
    "that read them",
    "parameters": "weights with a penalty that gives zeros",
    "flops": "weights with a penalty that gives zeros",
}


class Share(NamedTuple):
    """How much is zero.

    Args:
        zeros: How many of what is counted are zero. For numbers of parameters and multiply-adds, how many go.
        number: How many there are.
        layers: The statistics of every layer with weights whose penalty gives zeros, by its path.
        countable: Whether single ones become zero, so that half of one is how near the target can be.
    """

    zeros: int
    number: int
    layers: dict[str, WeightStatistics]
    countable: bool

    @property
    def value(self) -> float:
        """The share, from 0 to 1."""
        return self.zeros / self.number

    @property
    def half_unit(self) -> float:
        """Half of what one more changes, with a little for rounding; 0 where there is no such one."""
        return 0.5001 / self.number if self.countable else 0.0


class ShareMeter:
    """Measures the share of a model time and again.

    Args:
        model: A built model, in training.
        of: What to count: a word of `NEEDS`.

    Attributes:
        channels: The channels that are counted; empty if others are.

    Raises:
        ValueError: A model without what is counted.
    """

    def __init__(self, model: keras.Model, of: str) -> None:
        self._model, self._of = model, of
        self._meter = Meter(model, near_zero=0.0, of=gives_zeros, report=of == "parameters")
        self.channels = channels_that_can_die(model) if of == "channels" else []
        self._dead = DeadChannels(self.channels)

    def measure(self) -> Share:
        """Measure the weights as they are now."""
        measured = self._meter.measure()
        zeros, count = self._counts(measured) if measured.total.count else (0, 0)
        if not count:
            raise ValueError(
                f"TargetSparsity(of={self._of!r}) needs {NEEDS[self._of]}. Received a model without. "
                "Give its layers a kernel_regularizer, such as keras.regularizers.L1."
            )
        return Share(zeros, count, measured.layers, self._of in ("weights", "groups", "channels"))

    def _counts(self, measured: Measurement) -> tuple[int, int]:
        return _COUNTS[self._of](self, measured)

    def _weights(self, measured: Measurement) -> tuple[int, int]:
        return measured.total.zeros, measured.total.count

    def _groups(self, measured: Measurement) -> tuple[int, int]:
        return measured.total.dead_groups, measured.total.groups

    def _channels(self, measured: Measurement) -> tuple[int, int]:
        return self._dead.measure(), self._dead.count

    def _parameters(self, measured: Measurement) -> tuple[int, int]:
        total = measured.report.total
        return total.parameters - total.live, total.parameters

    def _flops(self, measured: Measurement) -> tuple[int, int]:
        found = plan_compaction(self._model).multiply_adds
        if found is None or not found[0]:
            raise ValueError(
                "TargetSparsity(of='flops') needs a model whose multiply-adds are known. Received one in which the "
                "size of an axis isn't, or that has none. Give its keras.Input a whole shape, or take of='parameters'."
            )
        return found[0] - found[1], found[0]


_COUNTS: dict[str, Callable[[ShareMeter, Measurement], tuple[int, int]]] = {
    "weights": ShareMeter._weights,
    "groups": ShareMeter._groups,
    "channels": ShareMeter._channels,
    "parameters": ShareMeter._parameters,
    "flops": ShareMeter._flops,
}


def gives_zeros(regularizer: Any) -> bool:
    """Return whether a regularizer's proximal operator makes entries exactly zero."""
    penalty = penalty_of(regularizer)
    return penalty is not None and penalty.gives_zeros


def can_be_zero(model: keras.Layer) -> list[_walk.Weight]:
    """Return the weights whose penalty gives zeros, and which stay zero once they are frozen."""
    return [weight for weight in _walk.regularized(model) if gives_zeros(unwrapped(weight.variable.regularizer))]


def channels_that_can_die(model: keras.Layer) -> list[ChannelGroup]:
    """Return the channels that nothing holds and that penalties can make dead: frozen ones aren't among them."""
    variables = {id(weight.variable) for weight in can_be_zero(model)}
    return [group for group in free_channels(model) if side_to_clear(group, variables)]


def side_to_clear(group: ChannelGroup, variables: set[int]) -> list[Slice]:
    """Return slices that penalties can make zero, and whose zeros make channels dead; none where there are none.

    Args:
        group: Channels.
        variables: The ids of the variables that can become zero.
    """
    made = [one for one in group.with_role("made") if one.trains]
    for side in (made, list(group.with_role("read"))):
        if side and all(id(one.variable) in variables and _within(one) for one in side):
            return side
    return []


def _within(one: Slice) -> bool:
    """Whether what a slice's penalty makes zero together lies within one channel."""
    shape = tuple(one.variable.shape)
    penalty = group_penalty_of(unwrapped(one.variable.regularizer))
    plan = None if penalty is None else penalty.grouping(shape)
    return plan is None or plan.shape != shape or one.axis not in plan.axes
