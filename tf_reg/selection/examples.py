"""Training examples in memory, whatever they came as."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import tensors_of_data
from tf_reg._checks import is_array

_EXPECTED = (
    "is (x, y) or (x, y, sample_weight) of arrays, or a finite data set of batches of these: a tf.data.Dataset, a "
    "keras.utils.PyDataset or a torch DataLoader"
)


@dataclasses.dataclass(frozen=True)
class Examples:
    """Inputs, targets and weights of examples: arrays, or structures of arrays, whose first axis is the example.

    Args:
        inputs: What the model is called with.
        targets: What it should return.
        weights: The factor of each example's loss; None for ones.
    """

    inputs: Any
    targets: Any
    weights: Any = None

    def __len__(self) -> int:
        return len(keras.tree.flatten(self.inputs)[0])

    @property
    def parts(self) -> tuple[Any, ...]:
        """Inputs, targets and, where there are any, weights: what a batch of a data set is."""
        return (self.inputs, self.targets) if self.weights is None else (self.inputs, self.targets, self.weights)

    @property
    def fed(self) -> Any:
        """The inputs as `fit`, `evaluate` and `predict` take them: strings as tensors of TensorFlow."""
        return keras.tree.map_structure(
            lambda array: tensors_of_data(array) if array.dtype == object else array, self.inputs
        )

    def take(self, places: Any) -> Examples:
        """Some of the examples.

        Args:
            places: Integers, a mask or a slice.
        """
        return Examples(*keras.tree.map_structure(lambda array: array[places], self.parts))

    def batches(self, size: int) -> Iterator[Examples]:
        """The examples in order, `size` at a time; the last batch may be smaller.

        Args:
            size: How many, 1 or above.
        """
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    def fingerprint(self) -> str:
        """A text that differs for other examples."""
        digest = hashlib.sha256()
        for array in keras.tree.flatten(self.parts):
            digest.update(f"{array.dtype}{array.shape}".encode())
            words = array.dtype == object
            digest.update(repr(array.tolist()).encode() if words else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def examples_of(data: Any, name: str = "data") -> Examples:
    """Read a data set into memory.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, or a finite data set of batches.
        name: The argument's name, for errors.

    Raises:
        ValueError: Something else, no examples, or arrays of different lengths.
    """
    if isinstance(data, Examples):
        return data
    parts = _arrays(data, name) if isinstance(data, (tuple, list)) else _read(data, name)
    lengths = [len(array) if array.ndim else 0 for array in keras.tree.flatten(parts)]
    if not lengths or min(lengths) == 0 or len(set(lengths)) > 1:
        raise ValueError(
            f"{name} needs one length, above zero, of all its arrays. Received arrays of the lengths {lengths}."
        )
    return Examples(*parts)


def _arrays(data: Sequence[Any], name: str) -> tuple[Any, ...]:
    """The parts of one batch, as arrays."""
    if len(data) not in (2, 3) or data[0] is None or data[1] is None:
        raise ValueError(f"{name} {_EXPECTED}. Received: {_kind(data)}.")
    given = tuple(data[:2]) if len(data) == 2 or data[2] is None else tuple(data)
    return keras.tree.map_structure(_array, given)


def _array(value: Any) -> np.ndarray:
    """An array; numbers with a fraction in Keras' type of floats, as `fit` takes them."""
    array = ops.convert_to_numpy(value)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _read(data: Any, name: str) -> tuple[Any, ...]:
    """The parts of all batches, one behind the other."""
    cardinality = getattr(data, "cardinality", None)
    endless = cardinality is not None and int(cardinality()) == -1  # tf.data.INFINITE_CARDINALITY
    if isinstance(data, keras.utils.PyDataset):
        endless = data.num_batches is None
        batches: Any = (data[place] for place in range(data.num_batches or 0))
    else:
        batches = data
    if endless or isinstance(data, (str, bytes, dict)) or is_array(data) or not hasattr(batches, "__iter__"):
        raise ValueError(f"{name} {_EXPECTED}. Received: {'an endless ' if endless else ''}{_kind(data)}.")
    read = []
    for batch in batches:
        if not isinstance(batch, (tuple, list)):
            raise ValueError(f"{name} {_EXPECTED}. Received: {_kind(data)} of {_kind(batch)}.")
        read.append(_arrays(batch, name))
    if not read:
        raise ValueError(f"{name} {_EXPECTED}. Received: {_kind(data)} without batches.")
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *read)


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{size}"
