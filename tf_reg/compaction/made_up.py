"""Inputs made up for a model: legal ones, that tell as much as they can."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from tf_reg import _keras
from tf_reg._backend import tensor_of
from tf_reg._graph import as_graph
from tf_reg.compaction.reads import without_masks

BATCH, MAGNITUDES = 3, (1.0, 100.0)
LARGE = 2**16  # numbers of an example, of which two are enough: the memory of a call grows with them
SIZES = (32, 96, 224)  # of an axis whose size isn't known: the first one that the model takes
PIXELS = 256
HASHED = 1000
ZEROS = 0.1  # of whole numbers: a mask begins there
_LOOKUPS = (layers.IntegerLookup, layers.StringLookup, layers.TextVectorization)
_OF_STRINGS = (*_LOOKUPS, layers.Hashing)
Pools = dict[int, np.ndarray]  # the values that an input may have, by its id
Draw = Callable[[tuple[int, ...]], np.ndarray]


class NotKnownError(Exception):
    """Nothing is known of what an input may be."""


def structure_of(model: keras.Model) -> Any:
    """Return the symbolic inputs of a model in the structure that it takes."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def size_of(model: keras.Model) -> int:
    """Return a size for the axes that have none: the first of `SIZES` for which no layer runs out of positions."""
    sizes = SIZES if any(None in tensor.shape[1:] for tensor in model.inputs) else ()
    for size in sizes:
        with contextlib.suppress(Exception):
            model.compute_output_spec(tree.map_structure(functools.partial(_symbolic, size=size), structure_of(model)))
            return size
    return SIZES[0]


def _symbolic(tensor: keras.KerasTensor, size: int) -> keras.KerasTensor:
    return keras.KerasTensor(_shape(tensor, BATCH, size), dtype=tensor.dtype)


def made_up(model: keras.Model, random: np.random.Generator, size: int = SIZES[0]) -> Iterator[tuple[str, Any]]:
    """Make up inputs in the structure that a model takes, each with words that describe it.

    Whole numbers stay below the vocabulary of the layers that take them, and strings are words that these layers know.

    Args:
        model: A functional or sequential model.
        random: Where the numbers come from.
        size: Of the axes whose size isn't known.

    Raises:
        NotKnownError: An input takes strings, and no vocabulary is known.
    """
    pools, structure = _pools(model), structure_of(model)
    for tensor in model.inputs:
        if tensor.dtype == "string" and id(tensor) not in pools:
            raise NotKnownError(f"the input {tensor.name} takes strings, which can't be made up")

    def inputs(batch: int, floats: Draw, limit: int) -> Any:
        draw = functools.partial(_draw, batch=batch, size=size, floats=floats, limit=limit, pools=pools, random=random)
        return tree.map_structure(draw, structure)

    largest = max(math.prod(_shape(tensor, 1, size)[1:]) for tensor in model.inputs)
    many = 2 if largest > LARGE else BATCH
    for magnitude, batch in itertools.product(MAGNITUDES, (many, 1)):
        normal = functools.partial(_normal, random, magnitude)
        yield f"batch {batch} at magnitude {magnitude:g}", inputs(batch, normal, 2 if magnitude == 1 else 100)
    yield "pixels", inputs(many, lambda shape: random.integers(PIXELS, size=shape), PIXELS)
    yield "constants", tree.map_structure(functools.partial(_constants, batch=many, size=size, pools=pools), structure)


def _normal(random: np.random.Generator, magnitude: float, shape: tuple[int, ...]) -> np.ndarray:
    return magnitude * random.normal(size=shape)


def _shape(tensor: keras.KerasTensor, batch: int, size: int) -> tuple[int, ...]:
    return (tensor.shape[0] or batch, *(size if known is None else known for known in tensor.shape[1:]))


def _draw(
    tensor: keras.KerasTensor,
    batch: int,
    size: int,
    floats: Draw,
    limit: int,
    pools: Pools,
    random: np.random.Generator,
) -> Any:
    shape, pool = _shape(tensor, batch, size), pools.get(id(tensor))
    if pool is None and keras.backend.is_float_dtype(tensor.dtype):
        return tensor_of(floats(shape), tensor.dtype)
    if pool is None:
        return tensor_of(random.integers(2 if tensor.dtype == "bool" else limit, size=shape), tensor.dtype)
    drawn = random.choice(pool, size=shape)
    return tensor_of(np.where(random.random(shape) < ZEROS, pool[0], drawn), tensor.dtype)


def _constants(tensor: keras.KerasTensor, batch: int, size: int, pools: Pools) -> Any:
    """Examples that are one number each: 1, 0 and -1, or the second, first and last one of those that are known."""
    shape, pool = _shape(tensor, batch, size), pools.get(id(tensor))
    if pool is None:
        three = np.array([1, 0, -1 if keras.backend.is_float_dtype(tensor.dtype) else 1])
    else:
        three = pool[[min(1, len(pool) - 1), 0, -1]]
    values = three[np.arange(shape[0]) % 3].reshape(-1, *[1] * (len(shape) - 1))
    return tensor_of(np.broadcast_to(values, shape), tensor.dtype)


def _pools(model: keras.Model) -> Pools:
    """The values of the inputs whose layers know only some."""
    graph, pools = as_graph(model), Pools()
    strings = {id(tensor) for tensor in model.inputs if tensor.dtype == "string"}
    if graph is not None:
        _follow(graph, [{id(tensor)} for tensor in graph.inputs], pools, strings)
    return {key: pool.astype(str).astype(object) if key in strings else pool for key, pool in pools.items()}


def _follow(graph: keras.Function, inputs: Sequence[set[int]], pools: Pools, strings: set[int]) -> list[set[int]]:
    """Follow the numbers of the inputs through calls without weights; return which of them reach each output."""
    sources = {id(tensor): set(found) for tensor, found in zip(graph.inputs, inputs, strict=True)}
    for call in _keras.calls(graph):
        given = [sources.get(id(tensor), set()) for tensor in without_masks(call)[0].inputs]
        inner = as_graph(call.operation) if isinstance(call.operation, keras.Model) else None
        if inner is not None:
            reached = _follow(inner, given, pools, strings)
        else:
            pool = _pool(call.operation)
            if pool is not None:
                known = isinstance(call.operation, _OF_STRINGS)
                for source in set().union(*given) - (set() if known else strings):
                    pools[source] = _both(pools.get(source, pool), pool)
            ends = pool is not None or bool(getattr(call.operation, "weights", None))
            reached = [set[int]() if ends else set[int]().union(*given) for _ in call.outputs]
        sources.update(zip(map(id, call.outputs), reached, strict=True))
    return [sources.get(id(tensor), set()) for tensor in graph.outputs]


def _pool(operation: Any) -> np.ndarray | None:
    """The values that a layer knows; None if it takes all."""
    if isinstance(operation, _LOOKUPS):
        return np.array(operation.get_vocabulary(include_special_tokens=False))
    if isinstance(operation, layers.Hashing):
        return np.arange(HASHED)
    if isinstance(operation, layers.CategoryEncoding):
        return np.arange(operation.num_tokens)
    if not isinstance(operation, keras.Layer):
        return None
    embeddings = [part for part in _keras.sublayers(operation) if isinstance(part, layers.Embedding)]
    return np.arange(min(part.input_dim for part in embeddings)) if embeddings else None


def _both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    common = np.intersect1d(one, other)
    return common if len(common) else one
