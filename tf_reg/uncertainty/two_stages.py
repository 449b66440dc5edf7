"""A model in two stages: what comes before the first dropout layer, and the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree

from tf_reg import _keras
from tf_reg._backend import Tensor
from tf_reg.uncertainty.dropout_layers import memories
from tf_reg.uncertainty.graph_walk import GraphWalk, as_graph


class Whole:
    """A model whose second stage is the whole model.

    It serves models that aren't a graph of layers, and models whose masks would be lost between two stages.

    Args:
        model: The model.

    Attributes:
        batch_is_free: Whether the model takes any number of examples.
        widest: The number of values in the largest tensor of the second stage for one example, or None where it isn't
            known.
    """

    widest: int | None = None

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.batch_is_free = not memories(model)

    def before(self, x: Any) -> list[Tensor]:
        """Return the tensors that the second stage starts from."""
        self._structure = x
        return tree.flatten(x)

    def after(self, tensors: Sequence[Tensor]) -> Any:
        """Return the output of the model, in inference mode."""
        return self._model(tree.pack_sequence_as(self._structure, list(tensors)), training=False)


class Graph:
    """A functional model in two stages. A model within it belongs to one stage as a whole.

    The first stage computes the tensors of the frontier. No chosen layer is needed for them. The second stage computes
    the outputs from them.

    Args:
        walk: The walk through the model. At least one of its tensors is late.

    Attributes:
        batch_is_free: Whether the model takes any number of examples.
        widest: The number of values in the largest tensor of the second stage for one example, or None where it isn't
            known.
    """

    def __init__(self, walk: GraphWalk) -> None:
        self._structure = walk.model.output
        outputs = {id(tensor): tensor for tensor in tree.flatten(self._structure)}
        self._late = {key: tensor for key, tensor in outputs.items() if key in walk.late}
        self._starts = list(walk.frontier)
        self._frontier = walk.frontier | {key: tensor for key, tensor in outputs.items() if key not in walk.late}
        self._first = keras.Model(walk.model.input, list(self._frontier.values()))
        self._second = keras.Model(list(walk.frontier.values()), list(self._late.values()))
        tensors = [*self._frontier.values(), *walk.second]
        self.widest = _largest(tensors)
        self.batch_is_free = all(tensor.shape[:1] == (None,) for tensor in tensors)

    def before(self, x: Any) -> list[Tensor]:
        """Return the tensors that the second stage starts from."""
        return _listed(self._first(x, training=False), len(self._frontier))

    def after(self, tensors: Sequence[Tensor]) -> Any:
        """Return the output of the model, in inference mode."""
        known = dict(zip(self._frontier, tensors, strict=True))
        made = _listed(self._second([known[key] for key in self._starts], training=False), len(self._late))
        known.update(zip(self._late, made, strict=True))
        return tree.map_structure(lambda tensor: known[id(tensor)], self._structure)


def staged(model: keras.Model, chosen: Sequence[keras.Layer]) -> Graph | Whole:
    """Split a built model in two stages. The second stage starts with the chosen layers.

    Args:
        model: The model.
        chosen: The layers that run as in training.
    """
    graph = as_graph(model)
    walk = None if graph is None else GraphWalk(graph, {id(layer) for layer in chosen})
    return Graph(walk) if walk is not None and walk.late else Whole(model)


def check_inputs(model: keras.Model, x: Any) -> None:
    """Raise `ValueError` for another number of inputs than a graph of layers has, or one of another shape.

    Args:
        model: Any model. A model that isn't a graph of layers isn't checked.
        x: What `mc_predict` received.
    """
    names = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    by_name = isinstance(x, dict) and not (isinstance(model, keras.Function) and isinstance(model.input, dict))
    count = sum(name in x for name in names) if by_name else len(tree.flatten(x))
    if names and count != len(names):
        received = f"a dict of {', '.join(x)}" if isinstance(x, dict) else f"{count} arrays"
        raise ValueError(
            f"x must have an array for each of the model's inputs: {', '.join(names)}. Received: {received}."
        )
    given = [x[name] for name in names] if by_name else tree.flatten(x)
    for tensor, array in zip(getattr(model, "inputs", None) or [], given, strict=False):
        if not _fits(tuple(array.shape), tensor.shape):
            raise ValueError(
                f"x must have the shape {tensor.shape} for the input {tensor.name!r}, None being any number. Received: "
                f"an array of shape {tuple(array.shape)}."
            )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether Keras takes an array of a shape for an input: it adds or removes a last axis of length 1."""
    shapes = [shape, (*shape, 1), *([shape[:-1]] if shape[-1:] == (1,) else [])]
    return any(
        len(one) == len(wanted) and all(b is None or a == b for a, b in zip(one[1:], wanted[1:], strict=True))
        for one in shapes
    )


def repeated(tensors: Sequence[Tensor], times: int) -> list[Tensor]:
    """Repeat tensors along their first axis: `(batch, ...)` becomes `(times * batch, ...)`.

    Args:
        tensors: The tensors.
        times: How many times.
    """
    if times == 1:
        return list(tensors)
    return [ops.tile(tensor, (times, *[1] * (len(tensor.shape) - 1))) for tensor in tensors]


def masked(tensors: Sequence[Tensor]) -> bool:
    """Return whether one of the tensors has a Keras mask. `repeated` would lose it."""
    return any(_keras.mask_of(tensor) is not None for tensor in tensors)


def _listed(outputs: Any, count: int) -> list[Tensor]:
    """Return the outputs of a model as a list. Keras returns a single output without its list."""
    return [outputs] if count == 1 and not isinstance(outputs, list) else list(outputs)


def _largest(tensors: Sequence[keras.KerasTensor]) -> int | None:
    """Return the number of values in the largest tensor for one example, or None where a size isn't known."""
    shapes = [tensor.shape[1:] for tensor in tensors]
    return None if any(None in shape for shape in shapes) else max(map(math.prod, shapes))
