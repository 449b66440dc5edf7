"""Tables for the training program: cut by the contents of the rows, as `tf.data` pipelines of raw columns."""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_reg.recipes.data import cut, table_sets
from tf_reg.recipes.data.image_data import ImageData
from tf_reg.recipes.data.pipelines import PREFETCH, even
from tf_reg.tables.errors import TableError
from tf_reg.tables.features import LEAST, Features, column_features, vocabulary
from tf_reg.tables.table import Table, read_table
from tf_reg.tables.targets import Task
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import TABLES

TEST = 0.2  # of the rows


@dataclasses.dataclass(frozen=True)
class TableData:
    """A table, cut into training, validation and test rows.

    Every pipeline yields batches of raw columns, a dictionary of `(batch, 1)` by the names of the model's inputs, and
    of targets: one-hot labels, float32 `(batch, classes)`, or numbers, float32 `(batch, 1)`. The fields that
    `ImageData` has too are as there.

    Args:
        name: The name it was loaded by.
        rows: The training rows, whose statistics a model has.
        train: The training rows, in another order every epoch.
        train_eval: The same rows, always in one order.
        validation: What choices are made on.
        test: What was never looked at.
        train_size: Number of training rows.
        validation_size: Number of validation rows.
        test_size: Number of test rows.
        notes: What is to be said to the user, a sentence each.
        shuffled: As in `ImageData`.
    """

    name: str
    rows: Table
    train: tf.data.Dataset
    train_eval: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    train_size: int
    validation_size: int
    test_size: int
    notes: tuple[str, ...] = ()
    shuffled: Callable[[], tf.data.Dataset] | None = None

    def anew(self) -> TableData:
        """As `ImageData.anew`."""
        return self if self.shuffled is None else dataclasses.replace(self, train=self.shuffled())

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; empty for a regression."""
        return self.rows.class_names

    @property
    def task(self) -> Task:
        """Classification or regression."""
        return self.rows.task or "regression"

    @property
    def moments(self) -> tuple[float, float] | None:
        """Mean and variance of the training targets; None for a classification."""
        if self.task == "classification" or self.rows.targets is None:
            return None
        ordered = np.sort(self.rows.targets)
        return float(np.mean(ordered)), float(np.var(ordered))

    def features(self) -> Features:
        """New layers that make features of the columns, and the places of each column's features."""
        try:
            return column_features(self.rows)
        except TableError as error:
            raise UserError(in_flags(str(error))) from error

    def described(self) -> dict[str, Any]:
        """What the manifest of an export says: how columns are called in a request, and what is predicted."""
        columns = [dataclasses.asdict(column) for column in self.rows.columns]
        more = {"classes": self.class_names} if self.class_names else {}
        return {"columns": columns, "target": self.rows.target, "task": self.task, **more}


Data = ImageData | TableData


def load(
    dataset: str,
    *,
    batch_size: int = 128,
    target: str | None = None,
    task: Task | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    train_size: int | None = None,
    validation_split: float = 0.1,
    seed: int = 0,
) -> TableData:
    """Load a table and cut it into training, validation and test rows, each class in proportion.

    Which rows these are depends on what is in them, on `seed` and on nothing else: the order of the rows of a file has
    no effect. The test rows, 20 %, are the same for each seed.

    Args:
        dataset: `csv:FILE`, `parquet:FILE` or `npz:FILE`, or a name that `table_sets.load` knows.
        batch_size: Rows a batch.
        target: The column to predict. The tables that have a name know theirs.
        task: As in `tf_reg.read_table`.
        categorical: As in `tf_reg.read_table`.
        drop: As in `tf_reg.read_table`.
        train_size: How many training rows to keep.
        validation_split: The share of the rows but for the test that is set aside for validation.
        seed: Which rows are set aside or kept, and the order of training.

    Raises:
        UserError: A table that can't be read, or too few rows.
    """
    try:
        table = _read(dataset, target, {"task": task, "categorical": categorical, "drop": drop})
        train, *others = table.split(validation_split, TEST, seed)
    except ValueError as error:
        raise UserError(in_flags(str(error))) from error
    if train_size is not None:
        least = max(1, len(table.class_names))
        if not least <= train_size <= len(train):
            raise UserError(
                f"--train-size must lie between {least} and {len(train)} (what is left for training). Received: "
                f"{train_size}."
            )
        train = train.take(cut.stratified_order(train.labels, seed)[:train_size])
    if train.task == "regression" and train.targets is not None and np.ptp(train.targets) == 0:
        raise UserError(
            f"The target {train.target!r} is {train.targets[0]:g} in all {len(train)} training rows: there is nothing "
            "to learn. Take another --target, or more rows."
        )
    notes = tuple(map(in_flags, (*table.notes, *_without_effect(train), *_of_splits((train, *others)))))
    return _data(dataset, (train, *others), batch_size, seed, notes)


def _data(name: str, splits: tuple[Table, ...], batch_size: int, seed: int, notes: tuple[str, ...]) -> TableData:
    """Make the pipelines of a table that is cut into training, validation and test rows."""
    train, *others = splits
    in_order = [_batches(part, batch_size) for part in splits]
    shuffled = functools.partial(_batches, train, even(len(train), batch_size), seed)
    return TableData(
        name=name,
        rows=train,
        train=shuffled(),
        train_eval=in_order[0],
        validation=in_order[1],
        test=in_order[2],
        train_size=len(train),
        validation_size=len(others[0]),
        test_size=len(others[1]),
        notes=notes,
        shuffled=shuffled,
    )


def _read(dataset: str, target: str | None, more: dict[str, Any]) -> Table:
    if dataset in TABLES:
        known = table_sets.load(dataset)
        return read_table(known.columns, target or known.target, **more)
    kind, _, path = dataset.partition(":")
    endings = {"csv": (".csv", ".tsv", ".txt"), "parquet": (".parquet", ".pq"), "npz": (".npz",)}[kind]
    if Path(path).suffix.lower() not in endings:
        raise TableError(f"{kind}:FILE takes a file whose name ends in {' or '.join(endings)}. Received: {path!r}.")
    if target is None:
        names = ", ".join(repr(column.name) for column in read_table(path).columns)
        raise TableError(f"A table needs the column to predict: --target NAME, one of {names}.")
    return read_table(path, target, **more)


def _batches(table: Table, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Batches of a table: only numbers are shuffled, and a batch is one gather."""
    with tf.device("CPU"):
        held = tf.nest.map_structure(tf.constant, (table.x, table.y))
    places = tf.data.Dataset.range(len(table))
    if shuffle_seed is not None:
        places = places.shuffle(len(table), seed=shuffle_seed, reshuffle_each_iteration=True)

    def batch(chosen: Any) -> Any:
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, chosen), held)

    batches = places.batch(batch_size).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()  # rewriting the pipeline's graph would copy the table into it
    options.experimental_optimization.apply_default_optimizations = False
    return batches.prefetch(PREFETCH).with_options(options)


def _without_effect(table: Table) -> Iterator[str]:
    """What to say of columns of categories that nothing can be learnt from."""
    for column, values in zip(table.columns, table.values, strict=True):
        if column.kind == "category" and not vocabulary(values, LEAST):
            yield (
                f"The column {column.name!r} has no effect: each value is in fewer than {LEAST} training rows. Leave "
                f"it out: drop=[{column.name!r}]."
            )


def _of_splits(splits: Sequence[Table]) -> Iterator[str]:
    """What to say of rows that were trained on and are to be judged by, and of classes without rows."""
    yield from (note.replace("example", "row") for note in cut.missing_classes(splits, splits[0].class_names))
    known = set(splits[0].digests())
    for name, part in zip(("validation", "test"), splits[1:], strict=True):
        count = sum(digest in known for digest in part.digests())
        if count:
            yield f"{count:,} of the {len(part):,} {name} rows are equal to a training row."


def in_flags(text: str) -> str:
    """Name the flags in a sentence that names arguments of `tf_reg.read_table`."""
    listed = re.compile(r"\b(categorical|drop)=(\[(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\])")
    text = listed.sub(lambda found: f"--{found[1]} {shlex.quote(ast.literal_eval(found[2])[0])}", text)
    text = re.sub(r"\btask='(\w+)'", r"--task \1", text)
    return re.sub(r"^(target|categorical|drop) must name", r"--\1 must name", text)
