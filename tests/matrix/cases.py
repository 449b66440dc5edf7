"""What a model of the matrix is: how it is made, and what it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

Arrays = dict[str, np.ndarray]
WORDS = ("", "never seen", "Köln", "東京", "a b", "Good film", "bad, bad film!", "x")


class Takes(NamedTuple):
    """One input of a model, `(batch, *shape)`: an axis of size None is free.

    Args:
        shape: Its sizes without the batch.
        dtype: `"float32"`, `"int32"` or `"string"`.
        low: The smallest number.
        high: The biggest one; of whole numbers, one more than that.
        words: What strings are drawn from.
        padded: Whether the last steps of the free axis are zero, others in each example.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    low: float = -2
    high: float = 2
    words: tuple[str, ...] = WORDS
    padded: bool = False

    def draw(self, random: np.random.Generator, examples: int, length: int) -> np.ndarray:
        """Return that many examples, their free axes as long as `length`."""
        shape = (examples, *(length if size is None else size for size in self.shape))
        if self.dtype == "string":
            chosen = random.integers(0, len(self.words), shape)
            array = np.empty(shape, object)
            array.ravel()[:] = [self.words[number].encode() for number in chosen.ravel()]
            return array
        if "int" in self.dtype:
            array = random.integers(int(self.low), int(self.high), shape).astype(self.dtype)
        else:
            array = random.uniform(self.low, self.high, shape).astype(self.dtype)
        if self.padded:
            for row, used in zip(array, random.integers(1, array.shape[1] + 1, examples), strict=True):
                row[used:] = 0
        return array


@dataclasses.dataclass(frozen=True)
class Case:
    """A model of the matrix.

    Args:
        make: Makes the model, built; a cell's model has the same weights each time.
        inputs: What it takes, by the names of its signature; `"inputs"` for one.
        lengths: Two lengths of its free axes; equal ones where no axis is free.
        tolerance: How far an engine may be off, absolutely and relatively.
        options: Further arguments of `tf_reg.export`.
    """

    make: Callable[[], keras.Model]
    inputs: Mapping[str, Takes]
    lengths: tuple[int, int] = (6, 6)
    tolerance: float = 1e-5
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def model(self) -> keras.Model:
        """Make the model, with weights that are the same each time and none of which is zero throughout."""
        keras.utils.set_random_seed(7)
        model = self.make()
        random = np.random.default_rng(7)
        for weight in model.trainable_variables:
            if not np.any(keras.ops.convert_to_numpy(weight)):  # a bias begins at zero
                weight.assign(random.uniform(-0.5, 0.5, weight.shape))
        return model

    def requests(self) -> list[Arrays]:
        """Return inputs at batch 7 and 1, at both lengths each."""
        random = np.random.default_rng(11)
        return [
            {name: takes.draw(random, examples, length) for name, takes in self.inputs.items()}
            for examples, length in ((7, self.lengths[0]), (1, self.lengths[1]), (7, self.lengths[1]))
        ]


def case(make: Callable[[], keras.Model], *takes: Takes, **options: Any) -> Case:
    """Return the case of a model with one input."""
    [one] = takes
    return Case(make, {"inputs": one}, **options)
