"""From a table to a request: its columns, by the names that the model's inputs have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tf_reg.serving.client.server import Arrays, Tensor
from tf_reg.tables.kinds import Kind, kind_of, values_of
from tf_reg.tables.names import input_names
from tf_reg.tables.reading import raw_columns
from tf_reg_cli.errors import UserError


def is_table(file: Path) -> bool:
    """Whether a file is taken as a table, which its name alone decides."""
    return file.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq")


def columns(file: Path, inputs: Mapping[str, Tensor]) -> Arrays:
    """Return the columns of a file that a model takes, `(rows, 1)`, by the names of its inputs.

    A missing number is NaN, missing text is the empty string, and a date is the days since 1970-01-01. Other columns
    are left out.

    Args:
        file: A .csv, .tsv or .parquet file.
        inputs: What the model takes.

    Raises:
        UserError: The file can't be read, a column is missing, or one holds something else than the input takes.
    """
    try:
        raw = raw_columns(file)
        names = dict(zip(input_names(list(raw)), raw, strict=True))
        missing = [name for name in inputs if name not in names]
        if missing:
            raise UserError(
                f"{file} has no column for the model's inputs {', '.join(missing)}. It has: {', '.join(names)}."
            )
        return {name: _column(names[name], raw[names[name]], tensor) for name, tensor in inputs.items()}
    except ValueError as error:
        raise UserError(str(error).partition(", or take the column as categories")[0].rstrip(".") + ".") from error


def _column(name: str, raw: np.ndarray, tensor: Tensor) -> np.ndarray:
    if len(tensor.shape) != 2 or tensor.shape[1] not in (None, 1):
        raise UserError(f"The model takes {tensor.shape} for {name!r}; a table has one value in each row.")
    if tensor.dtype == "string":
        texts = values_of(name, raw, "category")
        made = np.empty((len(texts), 1), object)
        made[:, 0] = [text.encode() for text in texts]
        return made
    kind: Kind = "date" if kind_of(name, raw) == "date" else "number"
    return values_of(name, raw, kind)[:, None].astype(tensor.dtype)
