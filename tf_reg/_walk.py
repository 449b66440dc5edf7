"""Every regularised variable of a model, under a layer path that is unique and survives cloning."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from tf_reg import _keras

Place = tuple[tuple[str, keras.Layer], ...]


def layer_paths(model: keras.Layer) -> Iterator[tuple[str, keras.Layer]]:
    """Walk the layers below a model, inner layers before the layer that holds them, each layer once.

    Keras' own `layer.path` can't tell two nested models with equal layer names apart and changes when a model is
    cloned. This path is made of the layers' names from the model down, the model's own name left out:
    `"encoder/dense"`. A layer that several places share has the path of the first. Where two layers would have the
    same path, the later one gets a suffix: `"dense_1"`.
    """
    yield from _walk(model, "", set(), set())


def layer_places(model: keras.Layer) -> dict[int, tuple[Place, ...]]:
    """Find every place of the layers of a model, by the layers' ids.

    A place is the layers that a layer is in, with their paths: its own first, the model last. The first place is the
    one that `layer_paths` knows.
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
            name = f"{path}/{layer.name}" if path else layer.name
            places.append(((_unique(name, taken) if places else paths[id(layer)], layer), *around))
            visit(places[-1])

    visit(found[id(model)][0])
    return {layer: tuple(places) for layer, places in found.items()}


def regularized_variables(model: keras.Layer) -> list[tuple[str, keras.Variable]]:
    """List the variables that add a penalty to the model's loss, as `(layer path, variable)`, each once.

    Like Keras, this counts the trainable variables whose `regularizer` is set; a frozen layer adds no penalty.
    Variables that belong to the model itself have the model's name for a path.
    """
    owners: dict[int, str] = {}
    for path, layer in layer_paths(model):
        for variable in layer.trainable_variables:
            owners.setdefault(id(variable), path)
    return [
        (owners.get(id(variable), model.name), variable)
        for variable in model.trainable_variables
        if variable.regularizer is not None
    ]


def _walk(parent: keras.Layer, prefix: str, seen: set[int], taken: set[str]) -> Iterator[tuple[str, keras.Layer]]:
    for layer in _keras.direct_sublayers(parent):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = _unique(prefix + layer.name, taken)
        yield from _walk(layer, path + "/", seen, taken)
        yield path, layer


def _unique(path: str, taken: set[str]) -> str:
    candidate, number = path, 0
    while candidate in taken:
        number += 1
        candidate = f"{path}_{number}"
    taken.add(candidate)
    return candidate
