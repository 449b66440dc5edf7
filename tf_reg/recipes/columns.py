"""What a run says of a table's columns: which ones the model reads, and how they are called in a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tf_reg.recipes import plots
from tf_reg.recipes.data.table_data import Data, TableData
from tf_reg.tables.column_norms import column_norms
from tf_reg_cli.files import whole, write_whole

MOST = 20  # columns that are printed


def described(images: Data) -> dict[str, Any]:
    """Return what the manifest of an export says of the data: the names of the classes, and of the columns."""
    return images.described() if isinstance(images, TableData) else {"classes": images.class_names}


def names(images: Data) -> dict[str, Any]:
    """Return how the inputs and outputs of an export are called, where it isn't the default."""
    if not isinstance(images, TableData):
        return {}
    single = {"input_name": images.rows.columns[0].input_name} if len(images.rows.columns) == 1 else {}
    return single | ({"output_name": "predictions"} if images.task == "regression" else {})


def written(model: keras.Model, images: Data, folder: Path) -> str:
    """Write and draw which columns of a table a model reads, and return the table of the first ones.

    Args:
        model: The model.
        images: Its data; nothing is written for images.
        folder: The run's folder, which gets `columns.csv` and `columns.png`.
    """
    if not isinstance(images, TableData):
        return ""
    found = column_norms(model, images.features().groups)
    write_whole(folder / "columns.csv", found.csv())
    with whole(folder / "columns.png") as unfinished:
        plots.columns(found, unfinished, folder.name)
    lines = str(found).splitlines()
    more = len(lines) - 1 - MOST
    return "\n".join([*lines[: MOST + 1], *([f"... and {more} more, in columns.csv"] if more > 0 else [])])
