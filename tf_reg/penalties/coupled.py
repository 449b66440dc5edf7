"""The part that one weight has in a penalty of channels, whose numbers lie in several weights."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg import _keras
from tf_reg._backend import Tensor
from tf_reg._callers import callers
from tf_reg._checks import from_config
from tf_reg.penalties.channel_parts import Part, squares
from tf_reg.penalties.channel_penalty import ChannelPenalty
from tf_reg.penalties.penalty import PenaltyRegularizer

_ASK = {"losses", "fit", "evaluate", "train_step", "test_step", "train_on_batch", "test_on_batch"}  # for the losses


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
class ChannelMember(PenaltyRegularizer):
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
        self._family: Any = None  # one object for all that are linked by groups

    def __call__(self, x: Tensor) -> Tensor:
        """The share of the weight in the penalty, a scalar of its dtype.

        Raises:
            ValueError: The other weights aren't found, or have lost their part of the penalty.
        """
        self._check_shape(x.shape)
        total = ops.zeros((), dtype=x.dtype)
        for part in self.parts:
            own = squares(part.matrix(ops.convert_to_tensor(x)))
            others = [m for m in self.members(part.group) if m.regularizer is not self and m.variable.trainable]
            both = sum((squares(m.part.matrix(ops.stop_gradient(m.variable))) for m in others), start=own)
            both = ops.cast(both, x.dtype)
            safe = ops.where(both > 0, both, 1.0)  # the root's slope at zero is infinite
            heights = self.rule.penalty.of_norms(ops.where(both > 0, ops.sqrt(safe), both), part.unit) * part.factor
            whole, share = ops.sum(heights), ops.sum(ops.stop_gradient(heights * own / safe))
            total = total + share + (whole - ops.stop_gradient(whole))
        return total

    def _check_shape(self, shape: Sequence[int]) -> None:
        for part in self.parts:
            fits = len(shape) > part.axis and (
                shape[part.axis] == part.channels if part.places is None else shape[part.axis] > max(part.places)
            )
            if not fits:
                raise ValueError(
                    f"A {type(self.rule).__name__} needs the whole weight, with {part.channels} channels along axis "
                    f"{part.axis}. Received: one of the shape {tuple(shape)}, such as a matrix of LoRA. Call "
                    "tf_reg.remove_regularizers(model) before enable_lora."
                )

    def value(self, x: Tensor) -> Tensor:
        """The share of the weight in the penalty."""
        return self(x)

    def value_in_sum(self, x: Tensor) -> Tensor:
        """The penalty of the groups whose first weight it is. So each weight of a group is read once, and not by all.

        Raises:
            ValueError: As for a call.
        """
        self._check_shape(x.shape)
        total = ops.zeros((), dtype=x.dtype)
        for part in self.parts:
            members = [m for m in self.members(part.group) if m.regularizer is self or m.variable.trainable]
            if members[0].regularizer is self:
                values = [x if m.regularizer is self else ops.stop_gradient(m.variable) for m in members]
                both = sum(squares(m.part.matrix(value)) for m, value in zip(members, values, strict=True))
                norms = ops.sqrt(ops.cast(both, x.dtype))
                total = total + ops.sum(self.rule.penalty.of_norms(norms, part.unit)) * part.factor
        return total

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
    def gives_zeros(self) -> bool:
        """Whether the strength is above zero."""
        return self.rule.penalty.gives_zeros

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """The slope of a channel's norm, divided by the square root of how many weights, or entries, it is over.

        A limit is for the gradient of one weight, or of one entry, and those of all that a channel has add up.

        Args:
            shape: The shape of the weight.
            by_norm: As in `Penalty.slope_at_zero`.
        """
        if by_norm:
            return min(self.rule.strength * part.factor * part.unit / math.sqrt(part.members) for part in self.parts)
        return min(self.rule.strength * part.factor for part in self.parts) if self.rule.size_weights else 0.0

    def factor_shape(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """One for each place of the axis along which the channels lie."""
        axis = self.parts[0].axis
        return tuple(size if place == axis else 1 for place, size in enumerate(shape)) if self.gives_zeros else None

    def sizes(self, x: Tensor, weights: Mapping[int, Tensor] | None = None) -> Tensor:
        """The root mean square of all numbers of the channel at each place; 0 at places without one.

        Args:
            x: The weight.
            weights: What to take for the other weights in the place of their values, by the variables' ids.
        """
        shape = tuple(size if place == self.parts[0].axis else 1 for place, size in enumerate(x.shape))
        vector = ops.zeros((max(shape),), dtype=x.dtype)
        for part in self.parts:
            members = [m for m in self.members(part.group) if m.regularizer is self or m.variable.trainable]
            given = weights or {}
            values = [x if m.regularizer is self else given.get(id(m.variable), m.variable) for m in members]
            rows = [m.part.matrix(ops.convert_to_tensor(v)) for m, v in zip(members, values, strict=True)]
            total = sum(ops.cast(squares(one), x.dtype) for one in rows)
            size = ops.sqrt(total / sum(one.shape[0] for one in rows))
            line, places = part._replace(axis=0), 1 if part.places is None else len(part.places) // part.channels
            vector = line.put(vector, ops.tile(ops.reshape(size, (1, -1)), (places, 1)))
        return ops.reshape(vector, shape)

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
                "were asked for, or that was quantized. Ask the whole model, or call tf_reg.regularize on the model "
                "that is trained; call tf_reg.remove_regularizers on one that isn't trained any more."
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
        read = keras.saving.deserialize_keras_object
        return from_config(cls.__name__, config, lambda given: cls(**{**given, "rule": read(given["rule"])}))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_groups": None, "_family": None}  # a copy belongs to other weights

    def join(self, groups: dict[int, list[Member]], family: object) -> None:
        """Take note of all members of its groups, and of what these have in common."""
        self._groups, self._family = groups, family

    @property
    def is_bound(self) -> bool:
        """Whether the other weights are known."""
        return self._groups is not None

    @property
    def family(self) -> int:
        """What all weights have in common whose proximal operators need each other, directly or through others."""
        return id(self._family)


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
        shared = dict(groups)
        for linked in _linked(shared):
            for member in (member for group in linked for member in shared[group]):
                member.regularizer.join(shared, linked)


def _linked(groups: Mapping[int, list[Member]]) -> Iterator[list[int]]:
    """The groups that have weights in common, directly or through others: a list of their numbers for each family."""
    rest = set(groups)
    while rest:
        family = [rest.pop()]
        for group in family:  # it grows meanwhile
            found = {part.group for member in groups[group] for part in member.regularizer.parts} & rest
            family += sorted(found)
            rest -= found
        yield family
