"""Does compaction understand a network? Kill channels of a copy, cut them out and compare."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import keras
import numpy as np

from tf_reg._checks import is_integer, number, require
from tf_reg._text_table import aligned
from tf_reg.compaction.check import Difference, compare
from tf_reg.compaction.copies import copied
from tf_reg.compaction.coupled import ChannelGroup, ChannelReport, channels, set_to_zero, short_name
from tf_reg.compaction.plan import plan_compaction
from tf_reg.compaction.rebuild import Rebuilt
from tf_reg.compaction.removal import Removal


@dataclasses.dataclass(frozen=True)
class GroupCheck:
    """What became of the channels of a group.

    Attributes:
        name: The names of the layers that make them, of many the first two.
        before: How many there are.
        killed: How many were killed.
        removed: How many were cut out: those that were killed, and others without effect.
        left: How many of those that were killed stay: they are a constant that nothing can take over.
    """

    name: str
    before: int
    killed: int
    removed: int
    left: int


@dataclasses.dataclass(frozen=True)
class SelfCheck:
    """What compaction makes of a network with dead channels; print it for a table.

    Attributes:
        groups: The channels that can be removed.
        held: How many channels stay whatever their weights are, by what holds them.
        parameters: How many parameters the network has, before and after.
        difference: How far the compacted network is from the other one.
    """

    groups: tuple[GroupCheck, ...]
    held: dict[str, int]
    parameters: tuple[int, int]
    difference: Difference

    @property
    def passed(self) -> bool:
        """Whether the two compute the same, and a check could tell."""
        return self.difference.within_rounding and self.difference.checks > 0

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if not self.difference.within_rounding:
            return "Fault: the compacted network computes something else. Please report it to tf_reg."
        if not self.difference.checks:
            return f"Not checked: {self.difference.reasons}. Give it some inputs: self_check(model, examples=...)."
        killed, left = (sum(getattr(group, name) for group in self.groups) for name in ("killed", "left"))
        return f"Passed: {killed - left:,} of {killed:,} killed channels are cut out, and the outputs are the same." + (
            f" {left:,} stay: they are a constant that isn't zero before zero padding." if left else ""
        )

    def __str__(self) -> str:
        rows = [["channels", "before", "killed", "removed", "after"]]
        for group in self.groups:
            counts = (group.before, group.killed, group.removed, group.before - group.removed)
            rows.append([group.name, *(f"{count:,}" for count in counts)])
        lines = aligned(rows) + [f"{count:,} channels are held: {reason}" for reason, count in self.held.items()]
        sizes = "parameters: {:,} -> {:,}".format(*self.parameters)
        return "\n".join([*lines, sizes, str(self.difference), self.verdict])


def self_check(model: keras.Model, share: float = 0.3, seed: int = 0, examples: Any = None) -> SelfCheck:
    """Find out what compaction can do for a network, before it is trained for that.

    A copy of the model is made. Random channels of it are killed: of one half the numbers that read them become zero,
    of the other half the numbers that make them. The copy is compacted and compared with what it was. The model itself
    stays as it is.

    Args:
        model: A built functional or sequential model.
        share: The share of the channels that are killed in each group, above 0 and below 1. One of a group stays alive
            at least.
        seed: The seed of the random choice and of the random inputs, zero or above.
        examples: Inputs of the model, in the structure that it takes, with a batch axis, to compare with as well.

    Returns:
        A report to print: for each group of channels how many there were, were killed, were removed and are left; what
        holds the others; the parameters before and after; the largest difference of the outputs; and a verdict.

    Raises:
        ValueError: A model that isn't built, or isn't functional or sequential; another `share` or `seed`; examples
            that the model doesn't take.

    Example:

    >>> stack = [keras.layers.Dense(10, "relu", name="first"), keras.layers.Dense(2, name="last")]
    >>> report = tf_reg.self_check(keras.Sequential([keras.Input((3,)), *stack]))
    >>> print(report)
    channels  before  killed  removed  after
    first         10       3        3      7
    2 channels are held: output of the model
    parameters: 62 -> 44
    6 of 6 checks count ...
    Passed: 3 of 3 killed channels are cut out, and the outputs are the same.
    """
    require(0 < number(share) < 1, "share is a number above 0 and below 1", "share", share)
    require(is_integer(seed) and seed >= 0, "seed is a whole number of zero or above", "seed", seed)
    random, dying = np.random.default_rng(seed), copied(model)
    report = channels(dying)
    killed = [_killed(group, number(share), random) for group in report.free]
    removal = plan_compaction(dying).removal
    small = Rebuilt(removal).model
    groups = tuple(_checked(*pair, removal) for pair in zip(report.free, killed, strict=True))
    parameters = dying.count_params(), small.count_params()
    return SelfCheck(groups, _held(report), parameters, compare(dying, small, examples, seed))


def _killed(group: ChannelGroup, share: float, random: np.random.Generator) -> np.ndarray:
    """Kill some channels of a group; return which: boolean of shape `(channels,)`."""
    count = min(max(round(share * group.size), 1), group.size - 1)
    order = random.permutation(group.size)
    unread = np.isin(np.arange(group.size), order[: count // 2])
    silent = np.isin(np.arange(group.size), order[count // 2 : count])
    set_to_zero((one, unread) for one in group.with_role("read"))
    set_to_zero((one, silent) for one in group.with_role("made") if one.trains)
    return unread | silent


def _checked(group: ChannelGroup, killed: np.ndarray, removal: Removal) -> GroupCheck:
    made = group.with_role("made")[0]
    gone = ~removal.along(made.variable)[made.axis][made.places[:, 0]]
    return GroupCheck(
        short_name(group.producers), group.size, int(killed.sum()), int(gone.sum()), int((killed & ~gone).sum())
    )


def _held(report: ChannelReport) -> dict[str, int]:
    held: Counter[str] = Counter()
    for group in report.groups:
        held.update({group.held: group.size} if group.held else {})
    return dict(held)
