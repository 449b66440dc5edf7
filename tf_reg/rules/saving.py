"""Which regularizers a saved model has: what the configs of its layers hold, and what layers made from them have."""

from __future__ import annotations

import contextlib
import numbers
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tf_reg import _keras


class Slot(NamedTuple):
    """An attribute of a layer that holds the regularizer of one weight or of several.

    Keras reads the penalty from the variable and writes a config from the attribute, so that both must be set.
    """

    layer: keras.Layer
    attribute: str

    @property
    def value(self) -> Any:
        """The regularizer that it holds."""
        return getattr(self.layer, self.attribute)

    def set(self, regularizer: Any) -> None:
        """Let it hold another regularizer."""
        setattr(self.layer, self.attribute, regularizer)


def is_custom(layer: keras.Layer) -> bool:
    """Whether a layer's class is of another library or of the user's."""
    return type(layer).__module__.split(".")[0] not in ("keras", "tf_reg")


def fed(layer: keras.Layer) -> dict[int, Slot]:
    """Find the attributes of a custom layer whose regularizers its variables have after it was saved and loaded.

    Args:
        layer: A built layer.

    Returns:
        The attributes by the ids of the variables, of the layer itself and of those inside it.
    """
    slots = [Slot(layer, name) for name, value in vars(layer).items() if _may_be_regularizer(name, value)]
    if not slots:
        return {}
    with holding({slot: Mark(number) for number, slot in enumerate(slots)}):
        marked = revived(layer) or {}
    return {variable: slots[mark.number] for variable, mark in marked.items() if isinstance(mark, Mark)}


def _may_be_regularizer(name: str, value: Any) -> bool:
    if name == "activity_regularizer":
        return False
    is_called_so = re.search(r"regulari|(^|_)reg(_|$)", name) is not None
    return isinstance(value, keras.Regularizer) or (is_called_so and not isinstance(value, numbers.Number))


def revived(layer: keras.Layer) -> dict[int, Any] | None:
    """Find the regularizers that the variables of a layer have after it was saved and loaded.

    The layer is made once more from its config, without values, as `keras.models.load_model` makes it.

    Args:
        layer: A built layer.

    Returns:
        The regularizers by the ids of the layer's variables; without those that no other layer has the like of. None
        where no layer can be made from the config.
    """
    try:
        with warnings.catch_warnings(), _keras.aside():
            warnings.simplefilter("ignore")
            other = type(layer).from_config(layer.get_config())
            if not other.built:
                other.build_from_config(layer.get_build_config())
            return dict(_regularizers(layer, other))
    except Exception:  # whatever the code of a custom layer raises, `load_model` raises too: nothing is lost silently
        return None


def _regularizers(layer: keras.Layer, other: keras.Layer) -> Iterator[tuple[int, Any]]:
    """The regularizer of each variable's counterpart in another layer of the same kind."""
    parts, others = _keras.sublayers(layer), _keras.sublayers(other)
    if [type(part) for part in parts] != [type(part) for part in others]:
        parts, others = [layer], [other]
    for one, two in zip(parts, others, strict=True):
        mine, theirs = _keras.own_trainable_variables(one), _keras.own_trainable_variables(two)
        if [variable.name for variable in mine] == [variable.name for variable in theirs]:
            yield from ((id(a), b.regularizer) for a, b in zip(mine, theirs, strict=True))
        elif not theirs:  # it makes them when it is called
            attributes = [(id(variable), attribute_for(two, variable.name)) for variable in mine]
            yield from ((key, getattr(two, attribute)) for key, attribute in attributes if attribute is not None)


def attribute_for(layer: keras.Layer, name: str) -> str | None:
    """The attribute for the regularizer of a layer's variable, by the names that Keras gives them.

    Args:
        layer: A layer.
        name: The variable's name.
    """
    if name.startswith("lora_"):
        name = name.removeprefix("lora_")[:-2]  # lora_kernel_a
    stems = [name, name.removesuffix("_kernel"), *(["depthwise"] if name == "kernel" else [])]
    for attribute in (f"{stem}_regularizer" for stem in stems):
        if hasattr(layer, attribute) and not isinstance(getattr(type(layer), attribute, None), property):
            return attribute
    return None


def carried(model: keras.Layer, values: Mapping[Slot, Any]) -> set[Slot] | None:
    """Which of the attributes the model's config has, found by marking them; None where it can't be saved at all.

    Args:
        model: The model that is to be saved or cloned.
        values: Attributes of its layers and the regularizers that they are to have. They are what they were afterwards.
    """
    try:
        return _marked(model, list(values))
    except Exception:  # a layer's get_config reads more of a regularizer than a mark has, or fails anyway
        if not _has_config(model, {}):
            return None
        return _carried_apart(model, list(values.items()))


def _carried_apart(model: keras.Layer, values: Sequence[tuple[Slot, Any]]) -> set[Slot]:
    """The same where marks at all of the attributes are too many.

    An attribute that can't be marked is read by a config; so that config has it if it can be made with the regularizer.
    """
    with contextlib.suppress(Exception):
        return _marked(model, [slot for slot, _ in values])
    if len(values) == 1:
        return {slot for slot, _ in values if _has_config(model, dict(values))}
    half = len(values) // 2
    return _carried_apart(model, values[:half]) | _carried_apart(model, values[half:])


def _marked(model: keras.Layer, slots: Sequence[Slot]) -> set[Slot]:
    with holding({slot: Mark(number) for number, slot in enumerate(slots)}):
        return {slots[number] for number in _marks(model.get_config())}


def _has_config(model: keras.Layer, values: Mapping[Slot, Any]) -> bool:
    """Whether the model can be saved with these regularizers."""
    try:
        with holding(values):
            model.get_config()
    except Exception:  # whatever a layer's get_config raises, `model.save` raises too: nothing is lost without a word
        return False
    return True


@contextlib.contextmanager
def holding(values: Mapping[Slot, Any]) -> Iterator[None]:
    """Let attributes hold other values within a `with` block."""
    before = [(slot, slot.value) for slot in values]
    try:
        for slot, value in values.items():
            slot.set(value)
        yield
    finally:
        for slot, value in before:
            slot.set(value)


def same(one: Any, other: Any) -> bool:
    """Whether two regularizers are the same penalty, as far as their configs say; None is the same as None."""
    if one is other:
        return True
    comparable = type(one) is type(other) and isinstance(one, keras.Regularizer)
    has_config = comparable and type(one).get_config is not keras.Regularizer.get_config
    return has_config and keras.saving.serialize_keras_object(one) == keras.saving.serialize_keras_object(other)


@keras.saving.register_keras_serializable(package="tf_reg")
class Mark(keras.regularizers.Regularizer):
    """A regularizer that can be found again: in a config, and in a layer that is made from it.

    Args:
        tf_reg_mark: Its number.
    """

    def __init__(self, tf_reg_mark: int):
        self.number = tf_reg_mark

    def get_config(self) -> dict[str, Any]:
        """Its number, under a name that nothing else has."""
        return {"tf_reg_mark": self.number}


def _marks(config: Any) -> Iterator[int]:
    if isinstance(config, dict):
        if "tf_reg_mark" in config:
            yield config["tf_reg_mark"]
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from _marks(part)
