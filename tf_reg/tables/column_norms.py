"""Which columns of a table a model reads, and how large the weights are that read them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from tf_reg._checks import require
from tf_reg._keras import sublayers
from tf_reg._text_table import aligned


@dataclasses.dataclass(frozen=True)
class ColumnNorms:
    """What `tf_reg.column_norms` found. Print it for a table, the largest norm first.

    Args:
        names: The names of the columns, `(columns,)`, by falling norm.
        norms: The Euclidean norm of the weights that read each column's features, `(columns,)`.
        features: How many features each column has, `(columns,)`.
    """

    names: tuple[str, ...]
    norms: np.ndarray
    features: tuple[int, ...]

    @property
    def dead(self) -> tuple[str, ...]:
        """The columns whose weights are all exactly zero: the model doesn't read them."""
        return tuple(name for name, norm in zip(self.names, self.norms, strict=True) if norm == 0)

    def csv(self) -> str:
        """Return the table as CSV: column, features, norm."""
        lines = io.StringIO()
        rows = zip(self.names, self.features, (repr(float(norm)) for norm in self.norms), strict=True)
        csv.writer(lines, lineterminator="\n").writerows([("column", "features", "norm"), *rows])
        return lines.getvalue()

    def __str__(self) -> str:
        rows = [["column", "features", "norm"]]
        rows += [
            [name, str(size), f"{norm:.4f}" if norm else "0"]
            for name, size, norm in zip(self.names, self.features, self.norms, strict=True)
        ]
        return "\n".join(aligned(rows))


def column_norms(model: keras.Model, groups: Mapping[str, Sequence[int]]) -> ColumnNorms:
    """Return the norm of the weights that read each column.

    A norm says how much a column can change what the first layer makes, as numbers are normalised and categories are 0
    or 1. A column of norm 0 is not read at all.

    Args:
        model: A model on the features of `tf_reg.column_features`.
        groups: The places of each column's features: the `groups` of `tf_reg.column_features`.

    Returns:
        A `ColumnNorms`.

    Raises:
        ValueError: A model without a layer whose kernel is `(features, units)`.

    Example:

    >>> table = tf_reg.read_table({"size": [50.0, 70.0, 61.0], "rooms": [1.0, 3.0, 2.0]})
    >>> features = tf_reg.column_features(table)
    >>> layer = keras.layers.Dense(1)
    >>> model = keras.Model(features.inputs, layer(features.outputs))
    >>> layer.set_weights([np.array([[2.0], [0.0]]), np.zeros(1)])
    >>> tf_reg.column_norms(model, features.groups).dead
    ('rooms',)
    """
    require(isinstance(model, keras.Model), "model is a keras.Model", "model", model)
    known = isinstance(groups, Mapping) and all(isinstance(one, (list, tuple)) for one in groups.values())
    require(known and bool(groups), "groups are those of tf_reg.column_features", "groups", groups)
    width = sum(map(len, groups.values()))
    kernels = [layer.kernel for layer in sublayers(model) if getattr(layer, "kernel", None) is not None]
    found = next((kernel for kernel in kernels if len(kernel.shape) == 2 and kernel.shape[0] == width), None)
    if found is None:
        raise ValueError(
            f"column_norms needs a layer whose kernel reads the {width} features of the columns. Received: a model "
            f"with kernels of the shapes {[tuple(kernel.shape) for kernel in kernels]}."
        )
    weights = ops.convert_to_numpy(found).astype("float64")
    norms = {name: float(np.linalg.norm(weights[list(places)])) for name, places in groups.items()}
    names = sorted(norms, key=lambda name: -norms[name])  # of equal ones in their order
    return ColumnNorms(
        tuple(names), np.array([norms[name] for name in names]), tuple(len(groups[name]) for name in names)
    )
