"""The part that one weight has in a penalty of channels, whose numbers lie in several weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg import _keras
from tf_reg._backend import Tensor
from tf_reg._callers import callers
from tf_reg.penalties.channel_penalty import ChannelPenalty
from tf_reg.penalties.penalty import Penalty

_ASK = {"losses", "fit", "evaluate", "train_step", "test_step", "train_on_batch", "test_on_batch"}  # for the losses


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


class Member(NamedTuple):
    """A weight that has numbers of a group.

    Args:
        variable: The weight.
        regularizer: Its regularizer.
        part: Its numbers.
    """

    variable: keras.Variable
    regularizer: ChannelMember
    part: Part


@keras.saving.register_keras_serializable(package="tf_reg")
class ChannelMember(keras.regularizers.Regularizer, Penalty):
    """The part that one weight has in a `ChannelPenalty`. `tf_reg.regularize` makes it.

    Its value is the weight's share of the penalty of each channel, by the sum of squares: the values of all weights add
    up to the penalty. Its gradient is that of the whole penalty. It reads the other weights of its channels. It finds
    these anew when the model was loaded or cloned: they have regularizers with the same `key`.

    Args:
        rule: The penalty of the channels.
        key: What all members of one call of `tf_reg.regularize` have in common.
        parts: The numbers of the weight, of each group: of `Part`, as dictionaries.
    """

    def __init__(self, rule: ChannelPenalty, key: str, parts: Sequence[Mapping[str, Any]]):
        self.rule = rule
        self.key = key
        self.parts = [Part(**part) for part in parts]
        self._groups: dict[int, list[Member]] | None = None  # all members of its groups, itself too

    def __call__(self, x: Tensor) -> Tensor:
        """The share of the weight in the penalty, a scalar of its dtype.

        Raises:
            ValueError: The other weights aren't found, or have lost their part of the penalty.
        """
        total = ops.zeros((), dtype=x.dtype)
        for part in self.parts:
            own = _squares(part.matrix(ops.convert_to_tensor(x)))
            others = [m for m in self.members(part.group) if m.regularizer is not self and m.variable.trainable]
            both = sum((_squares(m.part.matrix(ops.stop_gradient(m.variable))) for m in others), start=own)
            both = ops.cast(both, x.dtype)
            safe = ops.where(both > 0, both, 1.0)  # the root's slope at zero is infinite
            heights = self.rule.penalty.of_norms(ops.where(both > 0, ops.sqrt(safe), both), part.unit) * part.factor
            whole, share = ops.sum(heights), ops.sum(ops.stop_gradient(heights * own / safe))
            total = total + share + (whole - ops.stop_gradient(whole))
        return total

    def value(self, x: Tensor) -> Tensor:
        """The share of the weight in the penalty."""
        return self(x)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """Raise an error: the proximal operator needs all weights of a channel, see `prox_of`."""
        raise ValueError(
            "The proximal operator of a channel penalty needs all weights of its channels. Received: one weight. Train "
            "the model with tf_reg.Proximal."
        )

    @property
    def coupled(self) -> bool:
        """Yes."""
        return True

    @property
    def is_finite(self) -> bool:
        """Yes."""
        return True

    @property
    def gives_zeros(self) -> bool:
        """Whether the strength is above zero."""
        return self.rule.penalty.gives_zeros

    def members(self, group: int) -> list[Member]:
        """All weights that have numbers of a group.

        Args:
            group: The number of the group.

        Raises:
            ValueError: They aren't found, or one has another regularizer.
        """
        if self._groups is None:
            self._search()
        if self._groups is None:
            raise ValueError(
                f"A {type(self.rule).__name__} needs all weights of its channels. Received: a weight of a model that "
                "was loaded, cloned or put together, whose other weights aren't in the layer or model whose losses "
                "were asked for. Ask the whole model, or call tf_reg.regularize on the model that is trained."
            )
        lost = [one for one in self._groups[group] if not one.regularizer.is_of(one.variable)]
        if lost:
            raise ValueError(
                f"A {type(self.rule).__name__} needs all weights of its channels. Received: one that has got another "
                f"regularizer since, {lost[0].variable.path}. Call tf_reg.regularize(model, tf_reg."
                f"{type(self.rule).__name__}(...)) again, or tf_reg.remove_regularizers(model)."
            )
        return self._groups[group]

    def is_of(self, variable: keras.Variable) -> bool:
        """Whether this is the regularizer of a variable, or what an optimizer has put in its place stands for it."""
        present = variable.regularizer
        return self in (present, getattr(present, "regularizer", None))

    def _search(self) -> None:
        """Look for the other weights in the layers whose losses are asked for, the innermost first."""
        for layer in callers(_ASK):
            if isinstance(layer, keras.Layer) and self._groups is None:
                models = [one for one in _keras.sublayers(layer) if isinstance(one, keras.Model)]
                for one in (*reversed(models), layer):
                    bind(one.variables)

    def resized_by(self, kept: Mapping[int, np.ndarray]) -> ChannelMember | None:
        """The regularizer of a weight that has lost channels; None where no number of a channel is left.

        Args:
            kept: Which places stay, boolean, by the axis.
        """
        cut = [part if part.axis not in kept else part.cut(kept[part.axis]) for part in self.parts]
        left = [part._asdict() for part in cut if part is not None]
        return ChannelMember(self.rule, self.key, left) if left else None

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        rule = keras.saving.serialize_keras_object(self.rule)
        return {"rule": rule, "key": self.key, "parts": [dict(part._asdict()) for part in self.parts]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ChannelMember:
        """Return the regularizer that `get_config` describes. It looks for the other weights when it is called."""
        return cls(keras.saving.deserialize_keras_object(config["rule"]), config["key"], config["parts"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_groups": None}  # a copy belongs to other weights

    def join(self, groups: dict[int, list[Member]]) -> None:
        """Take note of all members of its groups."""
        self._groups = groups

    @property
    def is_bound(self) -> bool:
        """Whether the other weights are known."""
        return self._groups is not None


def bind(variables: Iterable[keras.Variable]) -> None:
    """Let members of channel penalties that don't know each other find each other, where all of them are there.

    Args:
        variables: Keras variables.
    """
    found: dict[str, dict[int, list[Member]]] = defaultdict(lambda: defaultdict(list))
    for variable in {id(one): one for one in variables}.values():
        present = getattr(variable, "regularizer", None)
        regularizer = getattr(present, "regularizer", present)  # what an optimizer puts in its place has it
        if isinstance(regularizer, ChannelMember) and not regularizer.is_bound:
            for part in regularizer.parts:
                found[regularizer.key][part.group].append(Member(variable, regularizer, part))
    for groups in found.values():
        join(groups)


def join(groups: Mapping[int, list[Member]]) -> None:
    """Let the members of groups know each other, if none is missing and none is there twice.

    Args:
        groups: The members of each group, by its number.
    """
    if all(len(members) == members[0].part.members for members in groups.values()):
        for members in groups.values():
            for member in members:
                member.regularizer.join(dict(groups))


def prox_of(regularizers: Sequence[ChannelMember], values: Sequence[Tensor], steps: Sequence[Tensor]) -> list[Tensor]:
    """The proximal operator of a channel penalty, at all weights that have numbers of its channels.

    Args:
        regularizers: The regularizers of the weights.
        values: The weights, in the same order.
        steps: The step size for each weight: a scalar, or a tensor of the weight's shape.

    Returns:
        The new weights.

    Raises:
        ValueError: A weight that is trained is missing.
    """
    place = {id(one): number for number, one in enumerate(regularizers)}
    new = list(values)
    for group, part in {part.group: part for one in regularizers for part in one.parts}.items():
        members = next(one for one in regularizers if any(p.group == group for p in one.parts)).members(group)
        _check_trained(members, place)
        present = [(place[id(m.regularizer)], m.part) for m in members if id(m.regularizer) in place]
        rows = [part.matrix(new[number]) for number, part in present]
        matrix = rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=0)
        step = _steps([(steps[number], one, new[number].shape) for number, one in present])
        penalty = regularizers[0].rule.penalty
        mapped = penalty.block(matrix, step * part.factor, (0,), part.unit)
        ends = np.cumsum([one.shape[0] for one in rows])[:-1].tolist()
        for (number, one), block in zip(present, ops.split(mapped, ends, axis=0), strict=True):
            new[number] = ops.cast(one.put(new[number], block), values[number].dtype)
    return new


def _steps(given: Sequence[tuple[Tensor, Part, Sequence[int]]]) -> Tensor:
    """The step sizes of one group: a scalar, or a matrix of the shape of its numbers."""
    if all(math.prod(step.shape) == 1 for step, *_ in given):
        return given[0][0]
    return ops.concatenate([part.matrix(ops.broadcast_to(step, shape)) for step, part, shape in given], axis=0)


def _check_trained(members: Sequence[Member], place: Mapping[int, int]) -> None:
    missing = [m for m in members if m.variable.trainable and id(m.regularizer) not in place]
    if missing:
        raise ValueError(
            "One tf_reg.Proximal must train all weights of a channel in one step. Received: a step without "
            f"{missing[0].variable.path}. Give it all trainable variables of the model, or freeze the layer "
            "(trainable = False) and compile again."
        )


def _squares(matrix: Tensor) -> Tensor:
    """The sum of squares of each channel, of the shape `(channels,)`."""
    return ops.sum(ops.square(matrix), axis=0)
