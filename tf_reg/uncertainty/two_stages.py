"""A model in two stages: what comes before the first of some layers, and the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree
from keras.src.backend import get_keras_mask
from keras.src.models.functional import Functional

from tf_reg._backend import Tensor


class Whole:
    """All of a model in the second stage: for models that aren't a graph of layers.

    Attributes:
        batch_is_free: Whether the model takes any number of examples.
        widest: The number of values in the largest tensor of the second stage, for one example; None if it isn't known.
    """

    batch_is_free = True
    widest: int | None = None

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def before(self, x: Any) -> list[Any]:
        """The tensors that the second stage starts from; a tensor that the model can do without may be None."""
        self._structure = x
        return tree.flatten(x)

    def after(self, tensors: Sequence[Any]) -> Any:
        """The model's output, in inference mode."""
        return self._model(tree.pack_sequence_as(self._structure, list(tensors)), training=False)


class Graph:
    """A functional model in two stages; a model within it is one layer.

    Args:
        model: The functional model.
        chosen: The layers that start the second stage, with all that depends on them.
    """

    def __init__(self, model: Functional, chosen: Sequence[keras.Layer]) -> None:
        self._model = model
        depths = sorted(model._nodes_by_depth, reverse=True)
        nodes = [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]
        self._first, self._second = _split(nodes, {id(layer) for layer in chosen})
        made = {id(tensor) for node in self._second for tensor in node.output_tensors}
        needed = [tensor for node in self._second for tensor in node.input_tensors] + model.outputs
        self._frontier = list({id(tensor): tensor for tensor in needed if id(tensor) not in made}.values())
        inner = [tensor for node in self._second for tensor in _tensors_within(node)]
        self.widest = _largest([*self._frontier, *inner])
        self.batch_is_free = all(tensor.shape[:1] == (None,) for tensor in [*self._frontier, *inner, *model.outputs])

    def before(self, x: Any) -> list[Any]:
        """The tensors that the second stage starts from; a tensor that the model can do without may be None."""
        tensors = {id(key): value for key, value in zip(self._model.inputs, _inputs(self._model, x), strict=True)}
        _run(self._first, tensors)
        return [tensors.get(id(tensor)) for tensor in self._frontier]

    def after(self, tensors: Sequence[Any]) -> Any:
        """The model's output, in inference mode."""
        known = {id(key): value for key, value in zip(self._frontier, tensors, strict=True)}
        _run(self._second, known)
        return tree.map_structure(lambda tensor: known[id(tensor)], self._model._outputs_struct)


def staged(model: keras.Model, chosen: Sequence[keras.Layer]) -> Graph | Whole:
    """Split a built model in two stages, the second of which starts with the chosen layers."""
    graph = model._functional if type(model) is keras.Sequential else model
    if isinstance(graph, Functional) and type(graph).call is Functional.call:
        return Graph(graph, chosen)
    return Whole(model)


def check_inputs(model: keras.Model, x: Any) -> None:
    """Raise `ValueError` for another number of inputs than a graph of layers has."""
    structure = getattr(getattr(model, "_functional", None) or model, "_inputs_struct", None)
    names = [tensor.name for tensor in tree.flatten(structure)] if structure is not None else []
    by_name = isinstance(x, dict) and not isinstance(structure, dict)
    count = sum(name in x for name in names) if by_name else len(tree.flatten(x))
    if names and count != len(names):
        received = f"a dict of {', '.join(x)}" if isinstance(x, dict) else f"{count} arrays"
        raise ValueError(
            f"x must have an array for each of the model's inputs: {', '.join(names)}. Received: {received}."
        )


def repeated(tensors: Sequence[Any], times: int) -> list[Any]:
    """Each tensor `times` times one after the other, `(times * batch, ...)`."""
    if times == 1:
        return list(tensors)
    return [None if t is None else ops.tile(t, (times, *[1] * (len(t.shape) - 1))) for t in tensors]


def masked(tensors: Sequence[Any]) -> bool:
    """Whether one of the tensors has a mask of Keras', which would be lost on the way."""
    return any(tensor is not None and get_keras_mask(tensor) is not None for tensor in tensors)


def _inputs(model: Functional, x: Any) -> list[Tensor]:
    return tree.flatten(model._standardize_inputs(x))


def _split(nodes: Sequence[Any], chosen: set[int]) -> tuple[list[Any], list[Any]]:
    """The nodes that no chosen layer has a part in, and the others: each list in an order that can be run."""
    first, second, late = [], [], set()
    for node in nodes:
        layers = node.operation._flatten_layers() if isinstance(node.operation, keras.Layer) else []
        if not chosen.isdisjoint(map(id, layers)) or any(id(tensor) in late for tensor in node.input_tensors):
            second.append(node)
            late |= {id(tensor) for tensor in node.output_tensors}
        else:
            first.append(node)
    return first, second


def _run(nodes: Sequence[Any], tensors: dict[int, Any]) -> None:
    for node in nodes:
        if all(id(tensor) in tensors for tensor in node.input_tensors):
            args, kwargs = node.arguments.fill_in(tensors)
            if getattr(node.operation, "_call_has_training_arg", False):
                kwargs["training"] = False
            outputs = tree.flatten(node.operation(*args, **kwargs))
            tensors.update(zip(map(id, node.output_tensors), outputs, strict=True))


def _tensors_within(node: Any) -> list[Any]:
    """The outputs of a node and, where it is a model, of the nodes in it."""
    graph = getattr(node.operation, "_functional", None) or node.operation
    nodes = [inner for level in getattr(graph, "_nodes_by_depth", {}).values() for inner in level]
    return [*node.output_tensors, *(tensor for inner in nodes for tensor in _tensors_within(inner))]


def _largest(tensors: Sequence[Any]) -> int | None:
    shapes = [tensor.shape[1:] for tensor in tensors]
    return None if any(None in shape for shape in shapes) else max(map(math.prod, shapes))
