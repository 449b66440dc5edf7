"""The regularization path: one model at many strengths, each fit warm from the last."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np

from tf_reg import _walk
from tf_reg._checks import require
from tf_reg._text_table import aligned
from tf_reg.selection.examples import examples_of
from tf_reg.selection.fits import Fits
from tf_reg.selection.options import BuildModel, Options, checked_strengths, described, sign
from tf_reg.selection.records import PathRecord, rows_of
from tf_reg.selection.store import Store
from tf_reg.selection.walk import Plan, Walk, split


class RegularizationPath:
    """The fits of a path, in the order in which they were made. Print it for a table.

    Attributes:
        records: What each fit came to.
        dense: The fit without penalty that a network's path begins with; None for a linear model.
    """

    def __init__(self, records: Sequence[PathRecord], dense: PathRecord | None, fits: Fits, store: Store):
        self.records = tuple(records)
        self.dense = dense
        self._fits, self._store = fits, store

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        return "\n".join(aligned(self.rows, words=0))

    @property
    def rows(self) -> list[list[str]]:
        """The cells of the table, the head first."""
        return rows_of(self.records)

    @property
    def strengths(self) -> np.ndarray:
        """The strengths, `(fits,)`."""
        return np.array([record.strength for record in self.records])

    def best(self, metric: str = "loss", mode: Literal["auto", "min", "max"] = "auto", relaxed: bool = False) -> int:
        """Return the place of the fit with the best number over the validation examples; of equal ones the sparsest.

        Args:
            metric: `"loss"`, or the name of a compiled metric.
            mode: Whether the smallest or the largest is the best. `"auto"` knows losses and the usual scores.
            relaxed: Whether the relaxed fits count.

        Raises:
            ValueError: No validation examples, no relaxed fits, or an unknown metric or mode.
        """
        factor = sign(metric, mode)
        found = [record.relaxed if relaxed else record for record in self.records]
        if None in found:
            raise ValueError("relaxed=True needs relaxed fits. Give regularization_path relax=True.")
        values = [record.value(metric) for record in found if record is not None]
        if None in values:
            raise ValueError("best compares validation examples. Give regularization_path validation=(x, y).")
        scores = factor * np.asarray(values, "float64")
        return int(max(np.flatnonzero(scores == scores.min()), key=lambda place: self.records[place].strength))

    def model(self, place: int) -> keras.Model:
        """Return the model with the weights of a fit. It is the same object each time.

        Args:
            place: The place of the fit in `records`.

        Raises:
            ValueError: A place that isn't there.
        """
        self._fits.restore(self._state(place))
        return self._fits.model

    def coefficients(self, place: int) -> dict[str, np.ndarray]:
        """Return the weights of a fit that have a penalty that gives zeros, by their paths.

        Args:
            place: The place of the fit in `records`.

        Raises:
            ValueError: A place that isn't there.
        """
        state, chosen = self._state(place), {id(claim.variable) for claim in self._fits.objective.selected}
        position = {id(variable): number for number, variable in enumerate(self._fits.model.variables)}
        listed = [one for one in _walk.weights(self._fits.model) if id(one.variable) in chosen]
        return {one.path: state.model[position[id(one.variable)]] for one in listed}

    def _state(self, place: int) -> Any:
        there = isinstance(place, (int, np.integer)) and -len(self) <= place < len(self)
        require(there, f"place is that of one of {len(self)} fits", "place", place)
        found = self._store.load(f"{place % len(self):03d}")
        if found is None:
            raise ValueError(f"The folder {str(self._store.folder)!r} has lost the fit {place}. Make the path again.")
        return split(self._fits, found[1])


def regularization_path(
    build_model: BuildModel,
    data: Any,
    strengths: Sequence[float] | Literal["auto"] = "auto",
    *,
    validation: Any = None,
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
) -> RegularizationPath:
    """Fit one model at many strengths of its penalties, each time from the weights of the last fit.

    A strength is the multiplier of all penalties, `tf_reg.Proximal.strength`: the lambda of `L1(1.0)`.

    A linear model, one layer that has all weights, is fitted from the largest strength down, as glmnet and scikit-learn
    do. It begins with zeros at `tf_reg.lambda_max`. Each fit goes on until the conditions of a minimum hold.

    A network is fitted without penalty first, and then from the smallest strength up, until all penalised weights are
    zero, as LassoNet does: a network of zeros never recovers, so the way down would stay there.

    With a `folder`, each fit is kept there. A call that was interrupted goes on where it stopped.

    Friedman, Hastie & Tibshirani 2010, "Regularization paths for generalized linear models via coordinate descent";
    Lemhadri et al. 2021, "LassoNet: a neural network with feature sparsity".

    Args:
        build_model: A function without arguments that returns a new model, compiled with a loss and a
            `tf_reg.Proximal`, with penalties that give zeros.
        data: Training examples: `(x, y)`, `(x, y, sample_weight)`, or a finite data set of batches of these.
        strengths: Numbers above zero, in any order, or `"auto"`: for a linear model `count` from `tf_reg.lambda_max`
            down to `smallest` times it, for a network as dense a grid, until all is zero.
        validation: Examples as `data`, to choose with; None for none.
        epochs: Passes over the examples at each strength. 10 for a network. For a linear model it is the most that a
            fit may take, 100,000.
        dense_epochs: Passes of the fit without penalty, 30 by default.
        batch_size: Examples a step. By default all for a linear model, and 32 for a network.
        count: How many strengths a factor of `1 / smallest` is divided into.
        smallest: The ratio of the smallest strength to the largest, above 0 and below 1.
        tolerance: For a linear model: the violation of the conditions of a minimum at which a fit ends, as a share of
            the strength.
        relax: Whether to make a second fit at each strength, of the weights that aren't zero, without penalty: the
            relaxed lasso.
        seed: The seed of the order of the examples. The weights at the beginning are those of `build_model`.
        folder: Where the fits are kept; None for a temporary folder.
        verbose: 1 to print a line for each strength, 0 for none.

    Returns:
        The path: a record for each strength, with losses, metrics, zeros, parameters and whether it is a minimum; the
        weights of each fit on demand.

    Raises:
        ValueError: Arguments out of their ranges, a model without such a penalty, or a folder of other settings.

    Example:

    >>> def build_model():
    ...     layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1.0))
    ...     model = keras.Sequential([keras.Input((2,)), layer])
    ...     model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
    ...     return model
    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), np.array([3.0, 1.0, -4.0])
    >>> path = tf_reg.regularization_path(build_model, (x, y), [4.0, 2.0, 1.0], verbose=0)
    >>> [(record.strength, record.zeros) for record in path.records]
    [(4.0, 1), (2.0, 0), (1.0, 0)]
    """
    options = Options(epochs, dense_epochs, batch_size, count, smallest, tolerance, relax, seed, verbose)
    examples = examples_of(data)
    held_out = None if validation is None else examples_of(validation, "validation")
    given = None if _is_auto(strengths) else checked_strengths(strengths)
    fits, plan = options.prepared(build_model, examples)
    settings = {
        **described(fits, plan),
        "strengths": given or "auto",
        "data": examples.fingerprint(),
        "validation": None if held_out is None else held_out.fingerprint(),
    }
    store = Store(folder, settings)
    records, dense = walked(Walk(fits, examples, held_out, plan, store), plan, given)
    return RegularizationPath(records, dense, fits, store)


def walked(walk: Walk, plan: Plan, strengths: Sequence[float] | None) -> tuple[list[PathRecord], PathRecord | None]:
    """Make all fits of a walk.

    Args:
        walk: The walk.
        plan: Its plan.
        strengths: The strengths; None for automatic ones.

    Returns:
        The records, and that of the fit without penalty.
    """
    dense = walk.start()
    chosen = walk.strengths() if strengths is None else sorted(strengths, reverse=plan.down)
    return [walk.visit(place, strength) for place, strength in enumerate(chosen)], dense


def _is_auto(strengths: Any) -> bool:
    return isinstance(strengths, str) and strengths == "auto"
