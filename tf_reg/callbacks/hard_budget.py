"""A hard budget: sets all but the largest weights, groups or channels of a model to zero."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg import _walk
from tf_reg._checks import is_integer, require
from tf_reg.callbacks.keep_largest import blocks, largest, reachable
from tf_reg.callbacks.share import can_be_zero, side_to_clear
from tf_reg.compaction.coupled import ChannelGroup, Slice, set_to_zero
from tf_reg.penalties.groups import Grouping
from tf_reg.penalties.registry import group_penalty_of
from tf_reg.penalties.stand_in import unwrapped

BUDGETS = ("weights", "groups", "channels")


def check_budget(exact: bool, of: str, round_to: int | None) -> None:
    """Check the arguments of `tf_reg.TargetSparsity` that ask for a budget.

    Raises:
        ValueError: They are out of their ranges, or don't go together.
    """
    require(isinstance(exact, bool), "exact is True or False", "exact", exact)
    require(not exact or of in BUDGETS, f"exact=True takes {', '.join(map(repr, BUDGETS))}", "of", of)
    whole = round_to is None or (is_integer(round_to) and round_to >= 1)
    require(whole, "round_to is a number of 1 or above, or None", "round_to", round_to)
    takes = round_to is None or (exact and of != "weights")
    require(takes, "round_to takes exact=True, and of='groups' or of='channels'", "round_to", round_to)


class Part(abc.ABC):
    """A part of a model whose members become zero one by one: the groups of a kernel, for instance.

    Abstract. A subclass says how large its members are.

    Args:
        name: What a message calls it.
        guarded: Whether it must not become zero as a whole.
    """

    def __init__(self, name: str, guarded: bool) -> None:
        self.name = name
        self.guarded = guarded

    @abc.abstractmethod
    def sizes(self) -> np.ndarray:
        """Return the mean square of each member as it is now, float64 of shape `(members,)`; 0 for what is dead."""

    @abc.abstractmethod
    def clear(self, chosen: np.ndarray) -> None:
        """Set members to zero.

        Args:
            chosen: Which ones, boolean of shape `(members,)`.
        """


class _Groups(Part):
    """The groups of one weight, or its single entries."""

    def __init__(self, weight: _walk.Weight, plan: Grouping) -> None:
        super().__init__(weight.path, not weight.is_added)
        self._variable, self._plan = weight.variable, plan

    def sizes(self) -> np.ndarray:
        return self._plan.mean_squares(ops.convert_to_numpy(self._variable.value).astype("float64"))

    def clear(self, chosen: np.ndarray) -> None:
        value = ops.convert_to_numpy(self._variable.value)
        dead = self._plan.spread(chosen).reshape(value.shape)
        self._variable.assign(np.where(dead, np.zeros_like(value), value))


class _Channels(Part):
    """Channels with slices of the same variables."""

    def __init__(self, group: ChannelGroup, slices: Sequence[Slice]) -> None:
        super().__init__(group.name, True)
        self._group, self._slices = group, slices

    def sizes(self) -> np.ndarray:
        numbers = np.concatenate([one.numbers().astype("float64") for one in self._slices], axis=1)
        return np.where(self._group.dead(), 0.0, np.square(numbers).mean(axis=1))

    def clear(self, chosen: np.ndarray) -> None:
        set_to_zero((one, chosen) for one in self._slices)


class HardBudget:
    """Keeps an exact number of weights, groups or channels.

    Args:
        model: A built model, in training.
        of: `"weights"`, `"groups"` or `"channels"`.
        channels: The channels that are counted, for the last of these.
        target: The wanted share of zeros.
        round_to: What stays of each part is a multiple of this number, or the whole part; 1 for any number.

    Attributes:
        count: How many there are.
        keep: How many are to stay: the nearest number, or the nearest below that whole blocks can make.

    Raises:
        ValueError: A target with which nothing would stay.
    """

    def __init__(
        self, model: keras.Model, of: str, channels: Sequence[ChannelGroup], target: float, round_to: int
    ) -> None:
        self._of, self._round_to = of, round_to
        weights = can_be_zero(model)
        self._variables: list[Any] = [weight.variable for weight in weights]
        self._parts = list(_parts(of, channels, weights))
        self._guarded = [part.guarded for part in self._parts]
        all_alive = [np.ones(len(size)) for size in self._sizes()]
        self.count = sum(map(len, all_alive))
        wanted = self.keep = round((1 - target) * self.count)
        if round_to > 1:
            self.keep = _total(blocks(all_alive, wanted, round_to, self._guarded))
        if not self.keep:
            none = f"{wanted}, which is less than a block of round_to={round_to}," if wanted else "0"
            raise ValueError(
                f"TargetSparsity(exact=True) must leave something. Received: target={target:g}, with which {none} of "
                f"{self.count:,} {of} would stay. Choose a lower target."
            )

    def alive(self) -> int:
        """Return how many could stay: those that aren't zero, in whole blocks."""
        return reachable(self._sizes(), self._round_to)

    def apply(self, fewer: bool) -> int | None:
        """Set all but the largest to zero.

        A channel can die because another one does that alone reads it. Then it is no candidate, and the choice is made
        again.

        Args:
            fewer: Whether fewer than `keep` may stay, where the parts that are alive make no more in whole blocks.

        Returns:
            How many stay; None where there aren't enough, and nothing has changed.
        """
        before = [ops.convert_to_numpy(variable.value) for variable in self._variables]
        sizes = self._sizes()
        while reachable(sizes, self._round_to) >= (1 if fewer and self._round_to > 1 else self.keep):
            stays = self._choose(sizes)
            if not _total(stays) or (_total(stays) < self.keep and not fewer):
                return None
            for part, one in zip(self._parts, stays, strict=True):
                part.clear(~one)
            lost = [one & (size == 0) for one, size in zip(stays, self._sizes(), strict=True)]
            if not any(one.any() for one in lost):
                self._warn_of_dead(stays)
                return _total(stays)
            for variable, value in zip(self._variables, before, strict=True):
                variable.assign(value)
            sizes = [np.where(one, 0.0, size) for one, size in zip(lost, sizes, strict=True)]
        return None

    def _sizes(self) -> list[np.ndarray]:
        return [part.sizes() for part in self._parts]

    def _choose(self, sizes: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self._round_to == 1:
            return largest(sizes, self.keep, self._guarded)
        return blocks(sizes, self.keep, self._round_to, self._guarded)

    def _warn_of_dead(self, stays: Sequence[np.ndarray]) -> None:
        parts = zip(self._parts, stays, strict=True)
        dead = [part.name for part, one in parts if part.guarded and one.size and not one.any()]
        if dead:
            warnings.warn(
                f"TargetSparsity(exact=True) kept {_total(stays):,} of {self.count:,} {self._of}, and none in "
                f"{', '.join(dead)}. Choose a lower target, or take the penalty there away.",
                stacklevel=2,
            )


def _total(stays: Sequence[np.ndarray]) -> int:
    return sum(int(np.count_nonzero(one)) for one in stays)


def _parts(of: str, channels: Sequence[ChannelGroup], weights: Sequence[_walk.Weight]) -> Iterator[Part]:
    """The parts of a model that a budget counts together."""
    variables = {id(weight.variable) for weight in weights}
    yield from (_Channels(group, side_to_clear(group, variables)) for group in channels)
    for weight in weights if of != "channels" else ():
        shape = tuple(weight.variable.shape)
        penalty = group_penalty_of(unwrapped(weight.variable.regularizer))
        plan = Grouping(shape, ()) if of == "weights" else None if penalty is None else penalty.grouping(shape)
        if plan is not None:
            yield _Groups(weight, plan)
