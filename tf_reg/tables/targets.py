"""The target of a table: classes or numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from tf_reg.tables.errors import TableError
from tf_reg.tables.kinds import Kind, as_classes, kind_of, values_of

Task = Literal["classification", "regression"]
FEW = 10  # whole numbers that differ, up to which they are classes
MOST_CLASSES = 1000


class Targets(NamedTuple):
    """What a model shall tell of each row.

    Args:
        task: Classes or numbers.
        values: The number of the class, int64, or the number itself, float64, `(rows,)`; -1 or NaN where it is missing.
        class_names: The names of the classes; empty for a regression.
        note: How the task was found, as a sentence; empty where it was given.
    """

    task: Task
    values: np.ndarray
    class_names: tuple[str, ...]
    note: str = ""


def targets_of(name: str, raw: np.ndarray, wanted: Task | None, as_category: bool) -> Targets:
    """Return the targets.

    Text, and whole numbers of which at most `FEW` differ, are classes. Other numbers are a regression.

    Args:
        name: The column's name.
        raw: Its values, as in `reading.Raw`.
        wanted: The task, if it was given.
        as_category: Whether the column was given as one of categories.

    Raises:
        TableError: Values that don't fit the task, fewer than two different ones, or too many classes.
    """
    kind: Kind = "category" if as_category else kind_of(name, raw)
    if kind == "date":
        raise TableError(f"The target {name!r} holds dates. Make it a number, such as the days until then, or classes.")
    if kind == "category" and wanted == "regression":
        raise TableError(f"A regression needs a target of numbers. Received: {name!r} with {_first(raw)}.")
    values = values_of(name, raw, kind)
    task = wanted or _task(values)
    found = _classes(name, values) if task == "classification" else Targets(task, values, ())
    if task == "regression" and len(np.unique(values[~np.isnan(values)])) < 2:
        raise TableError(f"A regression needs a target with different numbers. Received: {name!r} with {_first(raw)}.")
    if wanted is not None:
        return found
    what = f"{len(found.class_names)} classes: a classification" if found.class_names else "numbers: a regression"
    other = "regression" if found.class_names else "classification"
    more = "" if kind == "category" else f" Say task={other!r} for the other."
    return found._replace(note=f"The target {name!r} has {what}.{more}")


def _task(values: np.ndarray) -> Task:
    if values.dtype.kind == "O":
        return "classification"
    present = values[~np.isnan(values)]
    whole = bool(np.all(present == np.round(present)))
    return "classification" if whole and len(np.unique(present)) <= FEW else "regression"


def _classes(name: str, values: np.ndarray) -> Targets:
    labels, names = as_classes(values)
    if not 2 <= len(names) <= MOST_CLASSES:
        raise TableError(
            f"A classification needs a target of 2 to {MOST_CLASSES:,} classes. Received: {name!r} with {len(names):,}."
        )
    return Targets("classification", labels, names)


def _first(raw: np.ndarray) -> str:
    return f"{raw[0]!r} in row 1" if raw.dtype.kind == "O" else f"{raw[0]:g} in row 1"
