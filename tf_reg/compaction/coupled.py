"""Which channels of a model belong together, and which numbers of which weights are theirs."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import keras
import numpy as np
from keras import ops

from tf_reg import _keras
from tf_reg._text_table import aligned
from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.plan import analysed

Role = Literal["made", "read"]


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """The numbers of one variable that belong to channels.

    Attributes:
        layer: The layer that has the variable.
        variable: The variable.
        axis: The axis of the variable along which the channels lie.
        places: The places of each channel along this axis: integers of shape `(channels, places of a channel)`. A
            channel has several places after `Flatten`, for instance.
        role: `"made"` for numbers that make the channel: columns of kernels and embeddings, biases, the scales, shifts
            and statistics of batch normalization, depthwise kernels. `"read"` for rows of the kernels that read it.
    """

    layer: keras.Layer
    variable: keras.Variable
    axis: int
    places: np.ndarray
    role: Role

    def numbers(self) -> np.ndarray:
        """Return the numbers as they are now, of shape `(channels, numbers of a channel)`."""
        return self.of(ops.convert_to_numpy(self.variable.value))

    def of(self, value: np.ndarray) -> np.ndarray:
        """Return these numbers of an array of the variable's shape: `(channels, numbers of a channel)`."""
        found = np.moveaxis(value, self.axis, 0)[self.places]
        return found.reshape(len(self.places), -1)

    @property
    def trains(self) -> bool:
        """Whether the numbers could be trained: statistics of batch normalization can't, frozen weights can."""
        own = [one for part in _keras.sublayers(self.layer) for one in _keras.own_trainable_variables(part)]
        return any(self.variable is one for one in own)

    @property
    def count(self) -> int:
        """How many numbers each channel has."""
        return self.places.shape[1] * math.prod(self.variable.shape) // self.variable.shape[self.axis]


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels with slices of the same variables. Each of them can go alone, and takes all of its slices with it.

    Attributes:
        producers: The names of the layers that make the channels from others.
        readers: The names of the layers whose kernels read them.
        slices: Their numbers. The channels are in the same order in each.
        held: What holds the channels, so that they can't be removed; None if nothing does.
    """

    producers: tuple[str, ...]
    readers: tuple[str, ...]
    slices: tuple[Slice, ...]
    held: str | None

    @property
    def size(self) -> int:
        """How many channels there are."""
        return len(self.slices[0].places)

    @property
    def name(self) -> str:
        """The names of the producers: `"conv1 + conv3"`."""
        return " + ".join(self.producers)

    def with_role(self, role: Role) -> tuple[Slice, ...]:
        """Return the slices that make the channels, or those that read them."""
        return tuple(one for one in self.slices if one.role == role)

    def dead(self) -> np.ndarray:
        """Return which channels are dead now: boolean of shape `(size,)`.

        A channel is dead if all numbers that make it and could be trained are zero, or all numbers that read it. One
        that no kernel reads is dead in the first case alone. `tf_reg.compact` removes dead channels that nothing holds,
        but for those that are a constant other than zero before zero padding. It finds more of them than this: a
        channel also goes if only its readers are dead.
        """
        silent = _all_zero([one for one in self.with_role("made") if one.trains], self.size)
        return silent | _all_zero(self.with_role("read"), self.size)

    def __str__(self) -> str:
        return f"{self.name}: {self.size} channels, {self.held or 'free'}"


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelReport:
    """The channels of a model; print it for a table.

    Attributes:
        groups: Channels that belong together, in the order of the model.
    """

    groups: tuple[ChannelGroup, ...]

    @property
    def free(self) -> tuple[ChannelGroup, ...]:
        """The groups that nothing holds: `tf_reg.compact` can remove their channels."""
        return tuple(group for group in self.groups if group.held is None)

    def __str__(self) -> str:
        rows = [["made by", "held by", "channels", "producers", "readers", "numbers of each"]]
        for group in self.groups:
            counts = (group.size, len(group.producers), len(group.readers), sum(one.count for one in group.slices))
            rows.append([short_name(group.producers), group.held or "", *(f"{count:,}" for count in counts)])
        free, held = (sum(group.size for group in found) for found in (self.free, set(self.groups) - set(self.free)))
        return "\n".join([*aligned(rows, words=2), f"{free:,} channels can be removed, {held:,} are held"])


def channels(model: keras.Model) -> ChannelReport:
    """Find all channels of a model, with their numbers in every weight.

    A channel is a unit or a filter, with all that must go when it goes: the columns of the kernels that make it, its
    biases, its part of each batch normalization and depthwise kernel on its way, and the rows of the kernels that read
    it. Residual additions and multiplications couple the channels of several layers: these are one channel with several
    producers. The report puts channels together that have slices of the same variables.

    Args:
        model: A built functional or sequential model, of `keras.layers` and `keras.ops`; models within it too.

    Returns:
        A report to print. `report.groups` has the groups, `group.slices` the numbers of each, `group.held` what holds
        them, `group.dead()` which are zero now. The inputs of the model aren't among them.

    Raises:
        ValueError: Another model, or one that isn't built.

    Example:

    >>> inputs = keras.Input((8, 8, 3))
    >>> x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    >>> y = keras.layers.Conv2D(6, 3, padding="same", name="inner")(x)
    >>> y = keras.layers.Conv2D(4, 3, padding="same", name="outer")(y)
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    >>> model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    >>> print(tf_reg.channels(model))
    made by       held by              channels  producers  readers  numbers of each
    stem + outer                              4          2        2              139
    inner                                     6          1        1               73
    last          output of the model         2          1        0                5
    10 channels can be removed, 2 are held
    """
    return groups_of(analysed(model))


def groups_of(analysis: Analysis) -> ChannelReport:
    """Return the channels of a model whose calls were analysed.

    Args:
        analysis: What is known of the model.
    """
    return ChannelReport(tuple(_groups(analysis)))


def set_to_zero(parts: Iterable[tuple[Slice, np.ndarray]]) -> None:
    """Set numbers of channels to zero, each variable once.

    Args:
        parts: Slices, each with the channels whose numbers it is about: boolean of shape `(channels,)`.
    """
    by_variable: dict[int, list[tuple[Slice, np.ndarray]]] = defaultdict(list)
    for one, chosen in parts:
        if chosen.any():
            by_variable[id(one.variable)].append((one, chosen))
    for found in by_variable.values():
        variable = found[0][0].variable
        value = ops.convert_to_numpy(variable.value).copy()
        for one, chosen in found:
            np.moveaxis(value, one.axis, 0)[one.places[chosen].ravel()] = 0
        variable.assign(value)


def _groups(analysis: Analysis) -> Iterator[ChannelGroup]:
    """The groups in the order of their first variables."""
    slices = list(_slices(analysis))
    if not slices:
        return
    makers, reasons = _makers(analysis), analysis.reasons
    for roots, numbers in _together([ids for *_, ids in slices], reasons):
        found = [_slice(*slices[number], roots) for number in numbers]
        if any(one.role == "made" for one in found):
            readers = tuple(dict.fromkeys(one.layer.name for one in found if one.role == "read"))
            yield ChannelGroup(_producers(found, makers, roots[0]), readers, tuple(found), reasons.get(int(roots[0])))


def _slices(analysis: Analysis) -> Iterator[tuple[keras.Layer, keras.Variable, int, Role, np.ndarray]]:
    """Each axis of a variable that has channels, with the labels that stand for them."""
    read = {(id(one.kernel), one.inputs) for one in analysis.reads}
    seen: set[int] = set()
    for layer in analysis.layers:
        for variable in layer.variables:
            axes = {} if id(variable) in seen else analysis.slices.get(id(variable), {})
            seen.add(id(variable))
            for axis, ids in sorted(axes.items()):
                role: Role = "read" if (id(variable), axis) in read else "made"
                yield layer, variable, axis, role, analysis.labels.roots(ids)


def _together(arrays: Sequence[np.ndarray], reasons: dict[int, str]) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The labels that lie along the same arrays, as often in each, and for the same reason; and the arrays' numbers."""
    counted = [np.unique(ids, return_counts=True) for ids in arrays]
    labels, counts = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    numbers = np.repeat(np.arange(len(arrays)), [len(found) for found, _ in counted])
    order = np.lexsort((numbers, labels))
    roots, starts = np.unique(labels[order], return_index=True)
    pairs = np.split(np.stack([numbers, counts], axis=1)[order], starts[1:])
    groups: dict[tuple[bytes, str | None], list[tuple[int, np.ndarray]]] = defaultdict(list)
    for root, pair in zip(roots.tolist(), pairs, strict=True):
        groups[pair.tobytes(), reasons.get(root)].append((root, pair))
    for found in sorted(groups.values(), key=lambda group: group[0][1][:, 0].tolist()):
        yield np.array([root for root, _ in found]), found[0][1][:, 0].tolist()


def _slice(
    layer: keras.Layer, variable: keras.Variable, axis: int, role: Role, ids: np.ndarray, roots: np.ndarray
) -> Slice:
    order = np.argsort(ids, kind="stable")
    places = order[np.isin(ids[order], roots)].reshape(len(roots), -1)
    return Slice(layer, variable, axis, places, role)


def _makers(analysis: Analysis) -> dict[int, np.ndarray]:
    """The labels that layers make from others, by the layers' ids. A depthwise convolution makes none."""
    widths = {key: found for key, found in analysis.widths.items() if "groups" not in found}
    return {key: analysis.labels.roots(np.concatenate(list(found.values()))) for key, found in widths.items()}


def _producers(found: Sequence[Slice], makers: dict[int, np.ndarray], root: int) -> tuple[str, ...]:
    makes = {one.layer.name: None for one in found if root in makers.get(id(one.layer), ())}
    return tuple(makes or dict.fromkeys(one.layer.name for one in found if one.role == "made"))


def _all_zero(slices: Sequence[Slice], size: int) -> np.ndarray:
    zero = [(one.numbers() == 0).all(axis=1) for one in slices]
    return np.logical_and.reduce(zero) if zero else np.zeros(size, bool)


def short_name(names: Sequence[str]) -> str:
    """Return the names of layers as a table shows them."""
    return " + ".join(names) if len(names) <= 2 else f"{names[0]} + {names[1]} + {len(names) - 2} more"
