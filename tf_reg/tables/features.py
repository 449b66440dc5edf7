"""The layers of Keras that turn raw columns into features, inside the model that is trained and saved."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from tf_reg._backend import Tensor
from tf_reg._checks import count, require
from tf_reg.tables.errors import TableError
from tf_reg.tables.table import Column, Table

MOST_CATEGORIES = 1000  # of a column: the commonest ones


class Features(NamedTuple):
    """Inputs of a model for raw columns, and the features that layers make of them.

    Args:
        inputs: The inputs of the model, by name.
        outputs: The features, float32 `(batch, features)`.
        groups: Of each column, by its own name, the places of its features.
    """

    inputs: dict[str, Tensor]
    outputs: Tensor
    groups: dict[str, list[int]]


LEAST = 2  # rows in which a category must be to have a feature


def column_features(table: Table, least: int = LEAST) -> Features:
    """Return inputs for the raw columns of a table, and the features that Keras' layers make of them.

    All statistics are those of the rows of this table, so give it the training rows alone. They don't depend on the
    order of the rows.

    - Numbers and dates: `Normalization` to the mean 0 and the variance 1. A missing one is the mean. Where one is
      missing in these rows, there is a second feature, which is 1 where the number is missing.
    - Categories: `StringLookup` to one-hot features, one for each category that is in `least` rows or more, at most the
      1,000 commonest. A missing one, the empty string, is a category too. The first feature is 1 for all others: so it
      is trained by rare categories, and stands for those that nobody has seen.

    Strings take the TensorFlow backend.

    Args:
        table: The training rows.
        least: In how many rows a category must be to have a feature of its own, 1 or above.

    Returns:
        A `Features`: `inputs`, a dictionary for `keras.Model`; `outputs`, the features; `groups`, the places of each
        column's features, as `tf_reg.ColumnLasso` takes them.

    Raises:
        ValueError: Something that isn't a table, or categories on another backend.

    Example:

    >>> table = tf_reg.read_table({"size": [50.0, 70.0, None, 61.0], "heating": ["gas", "gas", "oil", "oil"]})
    >>> features = tf_reg.column_features(table)
    >>> features.groups
    {'size': [0, 1], 'heating': [2, 3, 4]}
    >>> model = keras.Model(features.inputs, features.outputs)
    >>> keras.ops.convert_to_numpy(model(table.x))[:, 2:].tolist()
    [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    require(isinstance(table, Table), "table is what tf_reg.read_table returns", "table", table)
    count(least, "least")
    texts = [column.name for column in table.columns if column.kind == "category"]
    if texts and keras.backend.backend() != "tensorflow":
        raise TableError(
            f"Categories are strings, which take KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}, with "
            f"the column {texts[0]!r}. Drop the columns of categories, or make numbers of them."
        )
    inputs = {
        column.input_name: keras.Input(
            (1,), name=column.input_name, dtype="string" if column.kind == "category" else "float32"
        )
        for column in table.columns
    }
    parts = _numbers(table, inputs) + _categories(table, inputs, least)
    groups: dict[str, list[int]] = {column.name: [] for column in table.columns}
    width = 0
    for _, owners in parts:
        for owner in owners:
            groups[owner].append(width)
            width += 1
    outputs = [tensor for tensor, _ in parts]
    joined = layers.Concatenate(name="features", dtype="float32")(outputs) if len(outputs) > 1 else outputs[0]
    return Features(inputs, joined, groups)


_Part = tuple[Tensor, list[str]]  # features, and the column of each


def _numbers(table: Table, inputs: dict[str, Tensor]) -> list[_Part]:
    """The normalised numbers, and where they are missing."""
    chosen = [
        (c, v.astype("float32")) for c, v in zip(table.columns, table.values, strict=True) if c.kind != "category"
    ]
    if not chosen:
        return []
    names = [column.name for column, _ in chosen]
    tensors = [inputs[column.input_name] for column, _ in chosen]
    raw = layers.Concatenate(name="numbers", dtype="float32")(tensors) if len(tensors) > 1 else tensors[0]
    moments = [_moments(values) for _, values in chosen]
    factors = [_factor(variance) for _, variance in moments]
    if any(factor != 1 for factor in factors):
        raw = ops.multiply(raw, ops.convert_to_tensor([factors], "float32"))
    normal = layers.Normalization(
        mean=[factor * mean for factor, (mean, _) in zip(factors, moments, strict=True)],
        variance=[factor**2 * variance for factor, (_, variance) in zip(factors, moments, strict=True)],
        name="normalized",
        dtype="float32",
    )(raw)
    missing = ops.isnan(raw)
    parts: list[_Part] = [(ops.where(missing, 0.0, normal), names)]
    gaps = [place for place, (_, values) in enumerate(chosen) if np.isnan(values).any()]
    if gaps:
        parts.append((ops.cast(ops.take(missing, gaps, axis=1), "float32"), [names[place] for place in gaps]))
    return parts


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and variance of the numbers that are there, in float64 and in rising order; 1 for the variance of one value.

    A column without values has the mean 0.
    """
    there = np.sort(values[~np.isnan(values)]).astype("float64")
    if not len(there):
        return 0.0, 1.0
    constant = there[0] == there[-1]
    return float(there[0] if constant else np.mean(there)), 1.0 if constant else float(np.var(there))


def _factor(variance: float) -> float:
    """A power of two, which rounds nothing, that brings a deviation to where Keras' `Normalization` divides by it.

    It divides by 1e-7 at least, and the square of a deviation above 1.8e19 is no float32.
    """
    deviation = math.sqrt(variance)
    return 1.0 if 1e-4 < deviation < 1e12 else 2.0 ** -round(math.log2(deviation))


def _categories(table: Table, inputs: dict[str, Tensor], least: int) -> list[_Part]:
    parts: list[_Part] = []
    for column, values in zip(table.columns, table.values, strict=True):
        if column.kind == "category":
            known = vocabulary(values, least)
            one_hot = _one_hot(column, known, inputs[column.input_name])
            parts.append((one_hot, [column.name] * (len(known) + 1)))
    return parts


def _one_hot(column: Column, known: list[str], tensor: Tensor) -> Tensor:
    unknown = "[UNK]"
    while unknown in known:
        unknown += "_"
    if not known:  # StringLookup needs a word; a constant other than 0 would be a second bias
        return ops.zeros_like(ops.cast(ops.equal(tensor, tensor), "float32"))
    lookup = layers.StringLookup(
        vocabulary=known, oov_token=unknown, output_mode="one_hot", name=f"{column.input_name}_one_hot"
    )
    return ops.cast(lookup(tensor), "float32")


def vocabulary(values: np.ndarray, least: int) -> list[str]:
    """Return the categories that have a feature, in the order of the alphabet.

    Args:
        values: Objects that are str, `(rows,)`.
        least: In how many rows a category must be.
    """
    counts = Counter(values.tolist())
    often = [one for one in counts if counts[one] >= least]
    return sorted(sorted(often, key=lambda one: (-counts[one], one))[:MOST_CATEGORIES])
