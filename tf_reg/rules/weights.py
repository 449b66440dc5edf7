"""The weights of a model that a rule can reach, and the attributes that a saved model takes their regularizers from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_reg import _walk
from tf_reg._checks import shown
from tf_reg.rules.saving import Slot, attribute_for, carried, fed, holding, is_custom, revived, same


@dataclasses.dataclass(frozen=True, eq=False)
class Weight(_walk.Weight):
    """A trainable variable, frozen or not, where it sits, and which attributes hold its regularizer.

    Args:
        slots: The attributes: its layer's, and those of layers around it: of a MultiHeadAttention, and of custom layers
            that hand a regularizer on. Empty where there is no such attribute.
    """

    slots: tuple[Slot, ...]

    @property
    def frame(self) -> keras.Layer | None:
        """The outermost custom layer that it is in; the configs of the layers around this one have its config."""
        return next((layer for _, layer in reversed(self.around) if is_custom(layer)), None)


def weights_of(model: keras.Layer) -> list[Weight]:
    """List the weights of a model that are or could be trained, each once.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: It isn't one; the model has no weights yet, or a layer in it that will have some.
    """
    if not isinstance(model, keras.Layer):
        raise ValueError(f"Expected a Keras model or layer. Received: model={shown(model)}.")
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
    customs = {id(layer): layer for weight in found for _, layer in weight.around if is_custom(layer)}
    feeds = {key: fed(layer) for key, layer in customs.items()}
    return [
        Weight(one.path, one.owner, one.variable, one.around, one.all_places, _slots(one.around, one.variable, feeds))
        for one in found
    ]


def losses(model: keras.Layer, wanted: Sequence[tuple[Weight, Any]], values: Mapping[Slot, Any]) -> list[str] | None:
    """Why a saved model would not have a regularizer, for each of several weights; an empty string where it has it.

    Args:
        model: The model that is to be saved or cloned.
        wanted: The weights, and the regularizers that they have or are to have; None among them.
        values: The regularizers that attributes of the layers are to have. They are what they were afterwards.

    Returns:
        A clause for each weight, or None where the model can't be saved at all.
    """
    known = carried(model, {slot: values.get(slot, slot.value) for weight, _ in wanted for slot in weight.slots})
    if known is None:
        return None
    frames = {id(weight.frame): weight.frame for weight, _ in wanted if weight.frame is not None}
    with holding(values):
        found = {key: revived(frame) for key, frame in frames.items()}
        return [_loss(weight, regularizer, known, found.get(id(weight.frame))) for weight, regularizer in wanted]


def _loss(weight: Weight, regularizer: Any, known: set[Slot], found: dict[int, Any] | None) -> str:
    """Why a saved model would not have the regularizer of a weight, or nothing."""
    if found is not None and id(weight.variable) in found:
        kept = same(found[id(weight.variable)], regularizer)
    else:
        kept = any(slot in known and same(slot.value, regularizer) for slot in weight.slots)
    if kept:
        return ""
    if not weight.slots:
        return "no attribute of a layer holds one for it"
    if not known.intersection(weight.slots):
        slot = weight.slots[-1]
        return f"no config has the {slot.attribute} of {slot.layer.name!r}"
    return f"a {type(weight.frame or weight.layer).__name__} made from its config has another"


def _slots(around: _walk.Place, variable: Any, feeds: Mapping[int, Mapping[int, Slot]]) -> tuple[Slot, ...]:
    layer = around[0][1]
    handed = [feeds[id(outer)][id(variable)] for _, outer in around if id(variable) in feeds.get(id(outer), ())]
    if any(slot.layer is layer for slot in handed):
        return tuple(handed)
    attribute = attribute_for(layer, variable.name)
    if attribute is None:
        return tuple(handed)
    parent = around[1][1] if len(around) > 1 else None
    if not isinstance(parent, (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)):
        return (Slot(layer, attribute), *handed)
    theirs = Slot(parent, attribute if hasattr(parent, attribute) else f"_{attribute}")
    return (Slot(layer, attribute), *(() if theirs in handed else (theirs,)), *handed)


def _expects(layer: keras.Layer) -> bool:
    """Whether a layer that isn't built will have weights that a regularizer is for."""
    return any(hasattr(layer, f"{stem}_regularizer") for stem in ("kernel", "depthwise", "embeddings"))


def _builds(layer: keras.Layer) -> bool:
    """Whether a layer has a method `build` of its own, which may make weights."""
    return type(layer).build not in (keras.Layer.build, keras.Sequential.build)
