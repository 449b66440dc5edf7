"""Every layer and every weight of a model, under paths that are unique and survive cloning."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import keras

from tf_reg import _keras
from tf_reg._backend import Tensor
from tf_reg._quantized import Quantized, quantized
from tf_reg.penalties.groups import grouping, layout_of
from tf_reg.penalties.heads import heads_around

Place = tuple[tuple[str, keras.Layer], ...]

_ADDED = {"bias", "beta"}  # these begin at zero, and a zero there removes nothing
_VECTORS = {*_ADDED, "gamma", "alpha", "scale"}
_NORMALIZATIONS = tuple(
    getattr(keras.layers, name)
    for name in ("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
    if hasattr(keras.layers, name)  # RMSNormalization came after Keras 3.8
)


class Places:
    """All places of the layers of a model, found when they are first asked for.

    Args:
        model: A Keras model or layer.
    """

    def __init__(self, model: keras.Layer):
        self._model = model

    @functools.cached_property
    def _by_layer(self) -> dict[int, tuple[Place, ...]]:
        return layer_places(self._model)

    def of(self, layer: keras.Layer) -> tuple[Place, ...]:
        """The places of a layer, the first one first."""
        return self._by_layer[id(layer)]


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """A variable that is or could be trained, or its quantized form, and where it sits.

    Args:
        path: The path of its layer and its own name: `"encoder/dense/kernel"`.
        owner: The path of its layer, for tables and logs; for a weight of the model itself, the model's name.
        variable: The Keras variable.
        around: The layers that it is in at its first place, with their paths: its own first, the model last.
        all_places: The places of all layers of the model.
    """

    path: str
    owner: str
    variable: Any
    around: Place
    all_places: Places

    @property
    def layer(self) -> keras.Layer:
        """The layer that it belongs to."""
        return self.around[0][1]

    @property
    def places(self) -> tuple[Place, ...]:
        """All places of its layer, the first one first; each place is the layers that it is in, with their paths."""
        return self.all_places.of(self.layer)

    @property
    def paths(self) -> list[str]:
        """Its path, and after it those of the other places."""
        return [self.path, *(_joined(place[0][0], self.variable.name) for place in self.places[1:])]

    @property
    def is_kernel(self) -> bool:
        """Whether it has two axes or more, and is neither a bias nor a scale or shift."""
        return len(self.shape) > 1 and self.variable.name not in _VECTORS

    @property
    def is_gate(self) -> bool:
        """Whether it is the scale of a normalization, which multiplies each output by one of its entries."""
        return self.variable.name in ("gamma", "scale") and isinstance(self.layer, _NORMALIZATIONS)

    @property
    def is_added(self) -> bool:
        """Whether it is added to an output or to a kernel: a bias, a shift, a matrix of LoRA."""
        return self.variable.name in _ADDED or self.variable.name.startswith("lora_")

    @property
    def counts(self) -> bool:
        """Whether its zeros are counted as zeros of the model: all but those of added weights without regularizer."""
        return not self.is_added or self.variable.regularizer is not None

    @functools.cached_property
    def quantized(self) -> Quantized | None:
        """Itself as a kernel of integers, which isn't trained any more; None where it is none."""
        return quantized(self.layer, self.variable)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, of a quantized kernel the one before."""
        return tuple(self.variable.shape) if self.quantized is None else self.quantized.shape

    def read(self) -> Tensor:
        """A tensor of the shape `shape` that is zero where the weight is, and of floats the weight itself."""
        return keras.ops.convert_to_tensor(self.variable) if self.quantized is None else self.quantized.offsets()

    @functools.cached_property
    def layout(self) -> str | None:
        """Where it keeps its inputs and outputs, a word of `tf_reg.penalties.groups.LAYOUTS`; None if unknown.

        It is unknown where LoRA adds a product to a kernel: what is zero in the kernel isn't in the sum.
        """
        if getattr(self.layer, "lora_enabled", False):
            return None
        try:
            return self.known_layout()
        except ValueError:
            return None

    def heads_layout(self) -> str:
        """The layout in which a regularizer finds the heads of the attention that it is a projection of.

        Raises:
            ValueError: It is no kernel of a projection.
        """
        return heads_around(self.layer, self.around[1][1] if len(self.around) > 1 else None).layout

    def known_layout(self) -> str:
        """Its layout, by the type of its layer or of the recurrent layer around its cell.

        Raises:
            ValueError: It has no inputs and outputs that are known.
        """
        parent = self.around[1][1] if len(self.around) > 1 else None
        owners = [self.layer, *([parent] if getattr(parent, "cell", None) is self.layer else [])]
        for owner in owners:
            try:
                layout = layout_of(owner, self.variable.name)
                for groups in ("inputs", "outputs"):
                    grouping(self.shape, groups, layout)
                return layout
            except ValueError as error:
                reason = error
        raise reason


def weights(model: keras.Layer) -> list[Weight]:
    """List the weights of a model, each once: inner layers before the layer that holds them, the model's own last.

    A frozen weight is one of them, and so is a kernel that `model.quantize` has put in the place of a trained one.
    Statistics of a batch normalisation, states of random generators and the scales of quantized numbers aren't.

    Args:
        model: A Keras model or layer. A layer that isn't built has no weights yet.
    """
    all_places, taken, seen = Places(model), set[str](), set[int]()
    owners: set[str] = set()
    found = []
    for around in (*_first_places(((("", model),)), set(), set()), (("", model),)):
        path, layer = around[0]
        own = [variable for variable in _own(layer) if id(variable) not in seen]
        seen.update(id(variable) for variable in own)
        owner = path or (f"{model.name} (itself)" if model.name in owners else model.name)
        owners.update([owner] if own else [])
        for variable in own:
            name = _unique(_joined(path, variable.name), taken)
            found.append(Weight(name, owner, variable, around, all_places))
    return found


def regularized(model: keras.Layer) -> list[Weight]:
    """List the weights that add a penalty to the model's loss, each once, in the order of `model.trainable_variables`.

    Like Keras, this counts the trainable variables whose `regularizer` is set; a frozen layer adds no penalty.
    """
    order = {id(variable): number for number, variable in enumerate(model.trainable_variables)}
    known = [weight for weight in weights(model) if id(weight.variable) in order]
    return sorted(
        (weight for weight in known if weight.variable.regularizer is not None),
        key=lambda weight: order[id(weight.variable)],
    )


def layer_paths(model: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """Walk the layers below a model, inner layers before the layer that holds them, each layer once.

    Keras' own `layer.path` can't tell two nested models with equal layer names apart and changes when a model is
    cloned. This path is made of the layers' names from the model down, the model's own name left out:
    `"encoder/dense"`. A layer that several places share has the path of the first. Where two layers would have the
    same path, the later one gets a suffix: `"dense_1"`.
    """
    for place in _first_places((("", model),), set(), set()):
        yield place[0]


def layer_places(model: keras.Layer) -> dict[int, tuple[Place, ...]]:
    """Find every place of the layers of a model, by the layers' ids.

    A place is the layers that a layer is in, with their paths: its own first, the model last. The first place is the
    one that `layer_paths` knows. Layers that hold each other many times over have very many places.
    """
    paths = {id(layer): path for path, layer in layer_paths(model)}
    taken = set(paths.values())
    found: dict[int, list[Place]] = {id(model): [(("", model),)]}

    def visit(around: Place) -> None:
        path, parent = around[0]
        for layer in _keras.direct_sublayers(parent):
            if any(layer is outer for _, outer in around):
                continue
            places = found.setdefault(id(layer), [])
            name = _joined(path, layer.name)
            places.append(((_unique(name, taken) if places else paths[id(layer)], layer), *around))
            visit(places[-1])

    visit(found[id(model)][0])
    return {layer: tuple(places) for layer, places in found.items()}


def _first_places(around: Place, seen: set[int], taken: set[str]) -> Iterator[Place]:
    path, parent = around[0]
    for layer in _keras.direct_sublayers(parent):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        place = ((_unique(_joined(path, layer.name), taken), layer), *around)
        yield from _first_places(place, seen, taken)
        yield place


def _own(layer: keras.Layer) -> list[Any]:
    """The weights that a layer holds itself, those of a frozen layer too."""
    trained = [
        variable
        for variable in _keras.own_trainable_variables(layer)
        if not getattr(variable, "overwrite_with_gradient", False)  # scales of float8
    ]
    return trained + [one for one in _keras.own_non_trainable_variables(layer) if quantized(layer, one) is not None]


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _unique(path: str, taken: set[str]) -> str:
    candidate, number = path, 0
    while candidate in taken:
        number += 1
        candidate = f"{path}_{number}"
    taken.add(candidate)
    return candidate
