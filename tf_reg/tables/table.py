"""A table of typed columns, with the target of each row: what `tf_reg.read_table` returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tf_reg._backend import tensors_of_data
from tf_reg._checks import count, number, require
from tf_reg.tables import order
from tf_reg.tables.errors import TableError
from tf_reg.tables.kinds import Kind, as_classes, kind_of, values_of
from tf_reg.tables.names import input_names
from tf_reg.tables.reading import Raw, raw_columns
from tf_reg.tables.targets import Targets, Task, targets_of


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Its name in the table.
        input_name: The name of the model's input that takes it: letters, digits and underscores.
        kind: `"number"`, `"date"` or `"category"`.
    """

    name: str
    input_name: str
    kind: Kind


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Rows of typed columns, and the target of each. `tf_reg.read_table` makes it.

    Args:
        columns: The columns that a model takes.
        values: Their values, `(rows,)` each: float64, NaN where one is missing, and a date is the days since
            1970-01-01; or objects that are str, "" where one is missing.
        target: The name of the target's column; None without one.
        task: `"classification"` or `"regression"`; None without a target.
        targets: Of each row: the number of its class, int64, or the number to predict, float64; `(rows,)`.
        class_names: The names of the classes.
        notes: What was done with the table, and is to be said; a sentence each.

    Example:

    >>> table = tf_reg.read_table({"size": [50.0, 70.0, None], "heating": ["gas", "", "oil"]})
    >>> len(table), [column.kind for column in table.columns]
    (3, ['number', 'category'])
    """

    columns: tuple[Column, ...]
    values: tuple[np.ndarray, ...]
    target: str | None = None
    task: Task | None = None
    targets: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values[0])

    @property
    def x(self) -> dict[str, Any]:
        """What a model takes, by the names of its inputs, `(rows, 1)`: arrays of float32.

        With categories, which are strings, all are tensors of TensorFlow: Keras takes no arrays of strings.
        """
        columns = zip(self.columns, self.values, strict=True)
        found = {
            one.input_name: v[:, None].astype(object if one.kind == "category" else "float32") for one, v in columns
        }
        return tensors_of_data(found) if any(one.kind == "category" for one in self.columns) else found

    @property
    def y(self) -> np.ndarray:
        """What a model shall return, float32: one-hot classes, `(rows, classes)`, or numbers, `(rows, 1)`.

        Raises:
            ValueError: A table without a target.
        """
        if self.targets is None:
            raise TableError("The table has no target: name its column, as in read_table(source, target='price').")
        if self.task == "regression":
            return self.targets[:, None].astype("float32")
        return np.eye(len(self.class_names), dtype="float32")[self.targets]

    def take(self, rows: Any) -> Table:
        """Return the table of some rows.

        Args:
            rows: Their places, or a mask, as NumPy takes them.
        """
        targets = None if self.targets is None else self.targets[rows]
        return dataclasses.replace(self, values=tuple(values[rows] for values in self.values), targets=targets)

    def in_order(self) -> Table:
        """Return the table with its rows in an order that depends on their contents alone, as if they were shuffled."""
        return self.take(order.by_content(self.digests()))

    def digests(self) -> list[bytes]:
        """Return what tells each row from others: a hash of its values, whatever the order of the columns is."""
        names = [column.name for column in self.columns]
        parts = [self.values[place] for place in sorted(range(len(names)), key=names.__getitem__)]
        return order.digests(parts if self.targets is None else [*parts, self.targets])

    def split(self, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> tuple[Table, Table, Table]:
        """Return the rows for training, validation and test, each class in proportion.

        Which rows these are, and their order, depends on their contents and the seed. It doesn't depend on the order of
        the rows. The test rows are the same for each seed.

        Args:
            validation: The share of the other rows that is for validation, from 0 to below 1.
            test: The share of all rows that is for the test, from 0 to below 1.
            seed: Which rows are for validation, and the order of those for training.

        Raises:
            ValueError: Another share, or too few rows.
        """
        for name, share in (("validation", validation), ("test", test)):
            require(0 <= number(share) < 1, f"{name} is a share, from 0 to below 1", name, share)
        ordered = self.in_order()
        aside = order.share_of_each(ordered.labels, test)
        tested, rest = ordered.take(aside), ordered.take(~aside)
        rest = rest.take(np.random.default_rng(count(seed, "seed", 0)).permutation(len(rest)))
        aside = order.share_of_each(rest.labels, validation)
        parts = rest.take(~aside), rest.take(aside), tested
        for part, name, share in ((tested, "test", test), (parts[1], "validation", validation)):
            if share and not len(part):
                raise TableError(
                    f"The {len(self):,} rows can't be divided so that one is for {name}, as each class keeps one for "
                    f"training. Give more rows, fewer classes, or another share. Received: {name}={share:g}."
                )
        return parts

    @property
    def labels(self) -> np.ndarray:
        """The number of each row's class, `(rows,)`; 0 for all rows of a regression."""
        classes = self.task == "classification" and self.targets is not None
        return self.targets if classes else np.zeros(len(self), int)  # type: ignore[return-value]

    def read(self, source: Any) -> Table:
        """Read more rows of the same columns, in their order. The target may be missing.

        Args:
            source: As in `tf_reg.read_table`. Columns that the table doesn't have are left out.

        Raises:
            ValueError: A column is missing or holds other values, or there is a class that the table doesn't have.
        """
        raw = raw_columns(source)
        missing = [column.name for column in self.columns if column.name not in raw]
        if missing:
            raise TableError(f"The table needs the columns {_listed(missing)}, which aren't there.")
        values = tuple(values_of(column.name, raw[column.name], column.kind) for column in self.columns)
        if self.target is None or self.target not in raw:
            return dataclasses.replace(self, values=values, targets=None, notes=())
        found = _known(self, raw[self.target])
        there = ~np.isnan(found) if self.task == "regression" else found >= 0
        return dataclasses.replace(self, values=values, targets=found, notes=()).take(there)


def read_table(
    source: Any,
    target: str | None = None,
    *,
    task: Task | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Table:
    """Read a table: a frame, arrays or a file, with a type for each column.

    Numbers are numbers. Dates become days since 1970-01-01 in UTC. Booleans and text are categories. A column of text
    of which more than 90 % are numbers, or dates as 2026-12-31, is one of these, and the rest of it is an error. A
    value may be missing, but for the target: rows without one are left out.

    Args:
        source: A frame of pandas or polars; a dictionary of arrays, `(rows,)` or `(rows, columns)`; or the path of a
            file: .csv or .tsv with a line of names, in UTF-8, .parquet, or .npz with such arrays.
        target: The name of the column to predict; None where there is none.
        task: `"classification"` or `"regression"`. By default text, booleans and whole numbers of which at most 10
            differ are classes, and all other numbers are a regression.
        categorical: Columns whose numbers are names, such as codes.
        drop: Columns to leave out.

    Returns:
        A `Table`. Its `notes` say what was done.

    Raises:
        ValueError: A file that can't be read, a column that isn't there, or a value that doesn't fit its column: the
            message names the column, the row (counted from 1, without the line of names) and the value.

    Example:

    >>> table = tf_reg.read_table({"size": [50.0, 70.0, 60.0], "price": [210.0, 305.5, 250.0]}, target="price")
    >>> table.task, table.x["size"].shape, table.y.shape
    ('regression', (3, 1), (3, 1))
    """
    known = task is None or (isinstance(task, str) and task in ("classification", "regression"))
    require(known, "task is 'classification' or 'regression'", "task", task)
    require(target is None or isinstance(target, str), "target is the name of a column", "target", target)
    raw = raw_columns(source)
    for name, given in (("target", [] if target is None else [target]), ("categorical", categorical), ("drop", drop)):
        _check_known(name, given, raw)
    if target is not None and target in drop:
        raise TableError(f"drop must not have the target. Received: {target!r}.")
    found = None if target is None else targets_of(target, raw[target], task, target in categorical)
    require(target is not None or task is None, "task needs a target", "task", task)
    typed, notes = _typed({name: raw[name] for name in raw if name != target and name not in drop}, categorical)
    kinds = [kind for kind, _ in typed.values()]
    columns = tuple(Column(*one) for one in zip(typed, input_names(list(typed)), kinds, strict=True))
    table = Table(columns, tuple(values for _, values in typed.values()), notes=tuple(notes))
    return table if found is None else _with_targets(table, str(target), found)


def _typed(raw: Raw, categorical: Iterable[str]) -> tuple[dict[str, tuple[Kind, np.ndarray]], list[str]]:
    typed: dict[str, tuple[Kind, np.ndarray]] = {}
    empty = []
    for name, values in raw.items():
        kind: Kind = "category" if name in categorical else kind_of(name, values)
        values = values_of(name, values, kind)
        if np.all(values == "" if kind == "category" else np.isnan(values)):
            empty.append(name)
        else:
            typed[name] = kind, values
    if not typed:
        raise TableError("A table needs a column with values beside the target. Received: none.")
    notes = [f"Left out, as they have no value: {_listed(empty)}."] if empty else []
    dates = [name for name, (kind, _) in typed.items() if kind == "date"]
    notes += [f"The model takes dates as days since 1970-01-01: {_listed(dates)}."] if dates else []
    merged = [name for name, (kind, values) in typed.items() if kind != "category" and _merges(values)]
    if merged:
        notes.append(
            f"The model takes float32, in which some of these numbers become one: {_listed(merged)}. Subtract a "
            "constant from the column, such as its least number."
        )
    return typed, notes


def _merges(values: np.ndarray) -> bool:
    """Whether a float32 moves a number by a thousandth of their deviation, as it does seconds since 1970 of one day."""
    present = values[~np.isnan(values)]
    return bool(np.ptp(present) and np.max(np.abs(present - present.astype("float32"))) > 1e-3 * np.std(present))


def _with_targets(table: Table, target: str, found: Targets) -> Table:
    there = found.values >= 0 if found.task == "classification" else ~np.isnan(found.values)
    gone = int(np.sum(~there))
    more = [f"{gone:,} of the {len(table):,} rows have no {target!r} and are left out."] if gone else []
    table = dataclasses.replace(
        table,
        target=target,
        task=found.task,
        targets=found.values,
        class_names=found.class_names,
        notes=(*table.notes, *([found.note] if found.note else []), *more),
    )
    return table.take(there) if gone else table


def _known(table: Table, raw: np.ndarray) -> np.ndarray:
    """The targets of more rows, in the classes of a table."""
    target = str(table.target)
    if table.task == "regression":
        return values_of(target, raw, "number")
    places = {name: place for place, name in enumerate(table.class_names)}
    kind: Kind = "category" if set(values_of(target, raw, "category")) <= {"", *places} else kind_of(target, raw)
    labels, names = as_classes(values_of(target, raw, kind))
    new = [name for name in names if name not in places]
    if new:
        raise TableError(f"The target {target!r} has classes that the table doesn't have: {_listed(new)}.")
    numbers = np.array([places[name] for name in names] + [-1])
    return numbers[labels]


def _check_known(argument: str, names: Sequence[str], raw: Raw) -> None:
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    require(listed, f"{argument} is a list of names of columns", argument, names)
    unknown = [name for name in names if name not in raw]
    if unknown:
        raise TableError(f"{argument} must name a column of the table: {_listed(list(raw))}. Received: {unknown[0]!r}.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:10]))
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
