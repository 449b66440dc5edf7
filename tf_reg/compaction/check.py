"""Whether two models compute the same, on inputs made up for it and on given ones."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg._graph import as_graph
from tf_reg.compaction.state import left_as_it_is

BATCHES, MAGNITUDES = (1, 3), (1.0, 100.0)
SIZE = 32  # of an axis whose size isn't known
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}  # of the largest output


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far the outputs of two models are apart.

    Args:
        largest: The largest difference, divided by the largest absolute output, over all checks that count.
        checks: How many checks count: their outputs are finite, and differ from example to example.
        limit: What rounding may make of it.
    """

    largest: float
    checks: int
    limit: float

    @property
    def within_rounding(self) -> bool:
        """Whether the two models compute the same."""
        return self.largest <= self.limit


def compare(model: keras.Model, other: keras.Model, examples: Any = None, seed: int = 0) -> Difference:
    """Call two models, in inference, on the same inputs: random ones at two magnitudes, constants, and examples.

    Args:
        model: A model with symbolic inputs.
        other: A model with the same inputs and outputs.
        examples: Inputs of the model, in the structure that it takes, with a batch axis; None for none.
        seed: The seed of the random inputs.

    Raises:
        ValueError: Examples of another structure or shape than the inputs.
    """
    largest, checks, dtypes = 0.0, 0, set[str]()
    for inputs in (
        *_inputs(model, np.random.default_rng(seed)),
        *([] if examples is None else [_checked(model, examples)]),
    ):
        for one, two in zip(_outputs(model, inputs), _outputs(other, inputs), strict=True):
            dtypes.add(keras.backend.standardize_dtype(one.dtype))
            one, two = (ops.convert_to_numpy(value).astype("float64") for value in (one, two))
            size = np.abs(one).max(initial=0.0)
            if not np.isfinite(one).all() or size == 0:
                same = one.shape == two.shape and np.array_equal(one, two, equal_nan=True)
                largest = max(largest, 0.0 if same else float("inf"))
                continue
            error = np.abs(one - two).max() / size if one.shape == two.shape else float("inf")
            largest = max(largest, float(error) if np.isfinite(error) else float("inf"))
            checks += len(one) > 1 and bool((one != one[:1]).any())
    return Difference(largest, checks, max(TOLERANCES.get(dtype, 0.0) for dtype in dtypes))


def _outputs(model: keras.Model, inputs: Any) -> list[Any]:
    with left_as_it_is(model):
        return tree.flatten(model(inputs, training=False))


def _structure(model: keras.Model) -> Any:
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def _checked(model: keras.Model, examples: Any) -> Any:
    """The examples as tensors."""

    def convert(tensor: keras.KerasTensor, value: Any) -> Any:
        array = np.asarray(value)
        if array.ndim != len(tensor.shape) or any(
            want not in (None, got) for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True)
        ):
            raise ValueError(f"an array of the shape {array.shape} for an input of the shape {tensor.shape}")
        return ops.convert_to_tensor(array, dtype=tensor.dtype)

    structure = _structure(model)
    try:
        tree.assert_same_structure(structure, examples)
        return tree.map_structure(convert, structure, examples)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            "examples are inputs of the model, in the structure that it takes, with a batch axis. "
            f"Received: {str(error).splitlines()[0][:200]}."
        ) from None


def _inputs(model: keras.Model, random: np.random.Generator) -> Iterator[Any]:
    """Inputs in the structure that the model takes."""
    words, structure = _words(model), _structure(model)
    for batch, magnitude in itertools.product(BATCHES, MAGNITUDES):
        draw = functools.partial(_draw, batch=batch, magnitude=magnitude, words=words, random=random)
        yield tree.map_structure(draw, structure)
    yield tree.map_structure(lambda tensor: ops.ones((2, *_shape(tensor)), tensor.dtype), structure)


def _shape(tensor: keras.KerasTensor) -> list[int]:
    return [SIZE if size is None else size for size in tensor.shape[1:]]


def _draw(
    tensor: keras.KerasTensor, batch: int, magnitude: float, words: dict[int, int], random: np.random.Generator
) -> Any:
    shape = (batch, *_shape(tensor))
    if keras.backend.is_float_dtype(tensor.dtype) and id(tensor) not in words:
        return ops.convert_to_tensor(magnitude * random.normal(size=shape), dtype=tensor.dtype)
    return ops.convert_to_tensor(random.integers(words.get(id(tensor), 2), size=shape), dtype=tensor.dtype)


def _words(model: keras.Model) -> dict[int, int]:
    """How many numbers the embeddings know that take an input of a model, by the input's id."""
    found: dict[int, int] = {}
    for layer in _keras.sublayers(model):
        graph = as_graph(layer) if isinstance(layer, keras.Model) else None
        for call in _keras.calls(graph) if graph is not None else ():
            if isinstance(call.operation, keras.layers.Embedding):
                size = call.operation.input_dim
                found.update({id(tensor): min(size, found.get(id(tensor), size)) for tensor in call.inputs})
    return found
