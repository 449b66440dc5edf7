"""The weights of a model that a rule can reach, and the attributes that a saved model takes their regularizers from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tf_reg import _walk


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


@dataclasses.dataclass(frozen=True, eq=False)
class Weight(_walk.Weight):
    """A trainable variable, frozen or not, where it sits, and which attributes hold its regularizer.

    Args:
        slots: The attributes: its layer's, and that of a MultiHeadAttention around it. The config of the model has the
            last one's. Empty where the layer has no such attribute.
    """

    slots: tuple[Slot, ...]


def weights_of(model: keras.Layer) -> list[Weight]:
    """List the weights of a model that are or could be trained, each once.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: The model has no weights yet, or a layer in it that will have some.
    """
    expects = _expects if model.built else _builds
    walk = [*_walk.layer_paths(model), ("", model)]
    unbuilt = [path or layer.name for path, layer in walk if not layer.built and expects(layer)]
    if not (model.built or model.weights or model.name in unbuilt):
        unbuilt.append(model.name)
    if unbuilt:
        raise ValueError(
            f"Expected a model that has its weights. Received: {model.name!r}, in which {', '.join(unbuilt)} isn't "
            "built. Call the model on data, or model.build(input_shape), first."
        )
    found = [weight for weight in _walk.weights(model) if weight.quantized is None]
    return [
        Weight(one.path, one.owner, one.variable, one.around, one.all_places, _slots(one.around, one.variable))
        for one in found
    ]


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
    with _holding({slot: _Mark(number) for number, slot in enumerate(slots)}):
        return {slots[number] for number in _marks(model.get_config())}


def _has_config(model: keras.Layer, values: Mapping[Slot, Any]) -> bool:
    """Whether the model can be saved with these regularizers."""
    try:
        with _holding(values):
            model.get_config()
    except Exception:  # whatever a layer's get_config raises, `model.save` raises too: nothing is lost without a word
        return False
    return True


@contextlib.contextmanager
def _holding(values: Mapping[Slot, Any]) -> Iterator[None]:
    """Let attributes hold other values for a while."""
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


class _Mark(keras.regularizers.Regularizer):
    """A regularizer that can be found again in a config."""

    def __init__(self, number: int):
        self.number = number

    def get_config(self) -> dict[str, Any]:
        return {"tf_reg_mark": self.number}


def _marks(config: Any) -> Iterator[int]:
    if isinstance(config, dict):
        if "tf_reg_mark" in config:
            yield config["tf_reg_mark"]
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from _marks(part)


def _slots(around: Sequence[tuple[str, keras.Layer]], variable: Any) -> tuple[Slot, ...]:
    layer = around[0][1]
    attribute = _attribute(layer, variable.name)
    if attribute is None:
        return ()
    parent = around[1][1] if len(around) > 1 else None
    if not isinstance(parent, (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)):
        return (Slot(layer, attribute),)
    theirs = attribute if hasattr(parent, attribute) else f"_{attribute}"
    return Slot(layer, attribute), Slot(parent, theirs)


def _attribute(layer: keras.Layer, name: str) -> str | None:
    """The layer's attribute for the regularizer of the variable of this name."""
    if name.startswith("lora_"):
        name = name.removeprefix("lora_")[:-2]  # lora_kernel_a
    stems = [name, name.removesuffix("_kernel"), *(["depthwise"] if name == "kernel" else [])]
    for attribute in (f"{stem}_regularizer" for stem in stems):
        if hasattr(layer, attribute) and not isinstance(getattr(type(layer), attribute, None), property):
            return attribute
    return None


def _expects(layer: keras.Layer) -> bool:
    """Whether a layer that isn't built will have weights that a regularizer is for."""
    return any(hasattr(layer, f"{stem}_regularizer") for stem in ("kernel", "depthwise", "embeddings"))


def _builds(layer: keras.Layer) -> bool:
    """Whether a layer has a method `build` of its own, which may make weights."""
    return type(layer).build not in (keras.Layer.build, keras.Sequential.build)
