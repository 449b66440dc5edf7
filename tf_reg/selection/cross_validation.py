"""Cross-validation: the strength that does best on examples that the fit hasn't seen."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from tf_reg._checks import require, shown
from tf_reg._text_table import aligned
from tf_reg.selection.examples import Examples, examples_of
from tf_reg.selection.fits import Fits
from tf_reg.selection.folds import Splits, splits_of
from tf_reg.selection.options import BuildModel, Options, checked_strengths, described, sign
from tf_reg.selection.path import RegularizationPath, walked
from tf_reg.selection.store import Store
from tf_reg.selection.walk import Plan, Walk
from tf_reg.tables.table import Table

Rule = Literal["min", "1se"]


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What `tf_reg.cross_validate` found. Print it for a table.

    Args:
        path: The path on all examples. Its place is that of every array here.
        values: The metric of each fold's held-out examples, `(folds, strengths)`.
        sizes: How many examples each fold held out, `(folds,)`. Folds count by it, as in glmnet.
        metric: The name of the metric.
        direction: 1 where the smallest value is the best, -1 where the largest is.
        arguments: What `build_model` was called with: the point of `grid`.
        others: The other points of `grid`.
    """

    path: RegularizationPath
    values: np.ndarray
    sizes: np.ndarray
    metric: str
    direction: int
    arguments: dict[str, Any]
    others: tuple[CrossValidation, ...] = ()

    @property
    def strengths(self) -> np.ndarray:
        """The strengths, `(strengths,)`."""
        return self.path.strengths

    @property
    def mean(self) -> np.ndarray:
        """The mean over the folds, `(strengths,)`."""
        return np.average(self.values, axis=0, weights=self.sizes)

    @property
    def error(self) -> np.ndarray:
        """The standard error of the mean, `(strengths,)`: the standard deviation over `sqrt(folds - 1)`."""
        spread = np.average((self.values - self.mean) ** 2, axis=0, weights=self.sizes)
        return np.sqrt(spread / (len(self.values) - 1))

    def choose(self, rule: Rule = "1se") -> int:
        """Return the place of a strength.

        Args:
            rule: `"min"`: the best mean; of equal ones the largest strength. `"1se"`: the largest strength whose mean
                is no more than one standard error, that at `"min"`, from the best. Breiman et al. 1984,
                "Classification and regression trees".

        Raises:
            ValueError: Another rule.
        """
        require(isinstance(rule, str) and rule in ("min", "1se"), "rule is 'min' or '1se'", "rule", rule)
        losses, strengths = self.direction * self.mean, self.strengths
        best = max(np.flatnonzero(losses == losses.min()), key=lambda place: strengths[place])
        if rule == "min":
            return int(best)
        near = np.flatnonzero(losses <= losses[best] + self.error[best])
        return int(max(near, key=lambda place: strengths[place]))

    def strength(self, rule: Rule = "1se") -> float:
        """Return the strength that a rule chooses.

        Args:
            rule: As in `choose`.
        """
        return float(self.strengths[self.choose(rule)])

    def model(self, rule: Rule = "1se") -> keras.Model:
        """Return the model of the path on all examples at the strength that a rule chooses.

        Args:
            rule: As in `choose`.
        """
        return self.path.model(self.choose(rule))

    def __str__(self) -> str:
        return "\n".join(aligned(self.rows, words=0))

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table, the head first."""
        rows = [["strength", "zeros", "parameters", self.metric, "error", ""]]
        least, simple = self.choose("min"), self.choose("1se")
        for place, record in enumerate(self.path.records):
            words = [word for word, chosen in (("min", least), ("1se", simple)) if chosen == place]
            share = f"{record.zeros / record.weights:.1%}"
            numbers = f"{self.mean[place]:.4f}", f"{self.error[place]:.4f}"
            rows.append([f"{record.strength:.3g}", share, f"{record.parameters:,}", *numbers, ", ".join(words)])
        return rows


def cross_validate(
    build_model: BuildModel,
    data: Any,
    strengths: Sequence[float] | Literal["auto"] = "auto",
    *,
    splitter: Any = 5,
    groups: Any = None,
    metric: str = "loss",
    mode: Literal["auto", "min", "max"] = "auto",
    grid: Mapping[str, Sequence[Any]] | None = None,
    epochs: int | None = None,
    dense_epochs: int | None = None,
    batch_size: int | None = None,
    count: int = 20,
    smallest: float = 1e-3,
    tolerance: float = 1e-4,
    relax: bool = False,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    verbose: int = 1,
) -> CrossValidation:
    """Choose the strength of the penalties by cross-validation.

    A path is made on all examples, and one at the same strengths for each fold without the examples that it holds out:
    see `tf_reg.regularization_path`. A strength is judged by its mean over the held-out examples. `choose("min")` is
    the best one. `choose("1se")` is the simplest model that isn't clearly worse. The examples that the result is
    reported on should be others: the best of many means is too good.

    Stone 1974, "Cross-validatory choice and assessment of statistical predictions"; Friedman, Hastie & Tibshirani 2010,
    "Regularization paths for generalized linear models via coordinate descent".

    Args:
        build_model: As in `tf_reg.regularization_path`; with `grid` a function of its keys. With a table it is also a
            function of the rows to fit, a table too, and is called anew for each fold.
        data: All examples, as in `tf_reg.regularization_path`; or what `tf_reg.read_table` returns, whose rows
            are taken in an order that depends on their contents alone.
        strengths: As in `tf_reg.regularization_path`; automatic ones are those of the path on all examples.
        splitter: How many folds, 2 or above, whose examples are drawn with `seed`; or a splitter of scikit-learn, such
            as `StratifiedKFold(5)`, `GroupKFold(5)` or `RepeatedKFold(n_splits=5)`; or pairs of index arrays: which
            examples are fitted and which are held out.
        groups: What a splitter of groups needs, `(examples,)`.
        metric: `"loss"`, the loss without the penalties that give zeros; or the name of a compiled metric.
        mode: Whether the smallest or the largest metric is the best. `"auto"` knows losses and the usual scores.
        grid: Values of arguments of `build_model`, by their names, of which each combination is tried: strengths of a
            second penalty, shares of L1, factors of layers. The result is that of the best one.
        epochs: As in `tf_reg.regularization_path`.
        dense_epochs: As in `tf_reg.regularization_path`.
        batch_size: As in `tf_reg.regularization_path`.
        count: As in `tf_reg.regularization_path`.
        smallest: As in `tf_reg.regularization_path`.
        tolerance: As in `tf_reg.regularization_path`.
        relax: Whether to judge the relaxed fits.
        seed: Of the folds and of the order of the examples.
        folder: As in `tf_reg.regularization_path`; an interrupted call goes on where it stopped.
        verbose: As in `tf_reg.regularization_path`.

    Raises:
        ValueError: As in `tf_reg.regularization_path`; fewer than two folds, or folds that hold nothing out.

    Example:

    >>> def build_model():
    ...     layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1.0))
    ...     model = keras.Sequential([keras.Input((5,)), layer])
    ...     model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
    ...     return model
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 5))
    >>> y = x[:, 0] + 0.1 * rng.normal(size=60)
    >>> found = tf_reg.cross_validate(build_model, (x, y), [1.0, 0.3, 0.1, 0.03, 0.01], splitter=3, verbose=0)
    >>> found.strength("min") <= found.strength("1se") < 1.0
    True
    """
    options = Options(epochs, dense_epochs, batch_size, count, smallest, tolerance, relax, seed, verbose)
    table = data.in_order() if isinstance(data, Table) else None
    examples = examples_of(data if table is None else (table.x, table.y))
    automatic = isinstance(strengths, str) and strengths == "auto"
    given = None if automatic else checked_strengths(strengths)
    direction = sign(metric, mode)
    splits = splits_of(splitter, examples, groups, seed)
    points = _points(grid)
    found = []
    for number, point in enumerate(points):
        rows = _Rows(options, build_model, table, point)
        fits, plan = rows.prepared(examples)
        settings = {**described(fits, plan), "strengths": given or "auto", "data": examples.fingerprint()}
        settings |= {"splits": Examples(*_flat(splits)).fingerprint(), "grid": shown(points)}
        store = Store(folder, settings) if len(points) == 1 else Store(_numbered(folder, number), settings)
        found.append(_Validation(fits, plan, examples, store, metric, direction).run(splits, given, point, rows))
    best = min(range(len(found)), key=lambda place: float((direction * found[place].mean).min()))
    return dataclasses.replace(found[best], others=tuple(found[:best] + found[best + 1 :]))


@dataclasses.dataclass(frozen=True)
class _Rows:
    """How a model is built for some rows of a table, whose statistics and categories it has."""

    options: Options
    build_model: BuildModel
    table: Table | None
    arguments: dict[str, Any]

    def prepared(self, examples: Examples, places: np.ndarray | None = None) -> tuple[Fits, Plan]:
        build = self.build_model
        if self.table is not None and callable(build):
            build = functools.partial(build, self.table if places is None else self.table.take(places))
        return self.options.prepared(build, examples, **self.arguments)


class _Validation:
    """The walks of one model over all folds."""

    def __init__(self, fits: Fits, plan: Plan, examples: Examples, store: Store, metric: str, direction: int):
        self._fits, self._plan, self._examples, self._store = fits, plan, examples, store
        self._metric, self._direction = metric, direction

    def run(
        self, splits: Splits, strengths: Sequence[float] | None, point: dict[str, Any], rows: _Rows
    ) -> CrossValidation:
        start, fits = self._fits.state(), self._fits
        path = self._path(self._examples, None, strengths, self._store)
        values = []
        for number, (fitted, held_out) in enumerate(splits):
            if self._plan.verbose:
                print(f"fold {number + 1} of {len(splits)}", flush=True)
            store = self._store.below(f"fold-{number:03d}")
            taken = self._examples.take(fitted), self._examples.take(held_out)
            if rows.table is None:
                fits.restore(start)
            else:
                fits, _ = rows.prepared(taken[0], fitted)
            values.append(self._values(self._path(*taken, [*path.strengths], store, fits)))
        sizes = np.array([len(held_out) for _, held_out in splits])
        return CrossValidation(path, np.array(values), sizes, self._metric, self._direction, point)

    def _path(
        self,
        examples: Examples,
        validation: Examples | None,
        strengths: Sequence[float] | None,
        store: Store,
        fits: Fits | None = None,
    ) -> RegularizationPath:
        walk = Walk(fits or self._fits, examples, validation, self._plan, store)
        records, dense = walked(walk, self._plan, strengths)
        return RegularizationPath(records, dense, fits or self._fits, store)

    def _values(self, path: RegularizationPath) -> list[float]:
        records = [one.relaxed if self._plan.relax and one.relaxed is not None else one for one in path.records]
        found = [record.value(self._metric) for record in records]
        if None in found:
            raise ValueError(
                f"metric is 'loss', or the name of a metric that the model is compiled with. Received: "
                f"metric={self._metric!r}"
            )
        return [float(value) for value in found if value is not None]


def _points(grid: Any) -> list[dict[str, Any]]:
    if grid is None:
        return [{}]
    named = isinstance(grid, Mapping) and bool(grid) and all(isinstance(one, str) for one in grid)
    require(named, "grid has lists of values, by names of arguments of build_model", "grid", grid)
    lists = all(isinstance(values, (list, tuple, np.ndarray)) and len(values) for values in grid.values())
    require(lists, "grid has lists of values, by names of arguments of build_model", "grid", grid)
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _flat(splits: Splits) -> tuple[Any, Any]:
    return [fitted for fitted, _ in splits], [held_out for _, held_out in splits]


def _numbered(folder: str | os.PathLike[str] | None, number: int) -> str | None:
    return None if folder is None else os.path.join(folder, f"point-{number:03d}")
