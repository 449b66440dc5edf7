"""A walk over strengths: each fit begins with the weights that the last one left."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

from tf_reg import _walk
from tf_reg.selection.examples import Examples
from tf_reg.selection.fits import Fits, State
from tf_reg.selection.natural import natural_strength
from tf_reg.selection.null_model import clear, exact_lambda_max, fit_others, has_exact_one
from tf_reg.selection.records import PathRecord, Recorder
from tf_reg.selection.store import Store

LOWEST = 1e-2  # the first strength of a network, of the one at which the penalty is as much as the weights are worth
LONGEST = 3  # times `count` strengths are tried until all is zero
BLOCK = 100  # steps between two looks at the conditions of a minimum
PATIENCE = 10  # looks without progress after which rounding, or the learning rate, is taken to be in the way


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to walk.

    Args:
        down: Whether from the largest strength to the smallest, from weights that are zero: for a linear model. If not,
            from the smallest to the largest, from a fit without penalty: for a network.
        epochs: Passes over the examples at each strength; going down at most.
        dense_epochs: Passes of the fit without penalty.
        tolerance: The violation of the conditions of a minimum at which a fit going down ends.
        count: How many strengths to choose.
        smallest: The smallest of them, as a share of the largest.
        relax: Whether to fit the weights that aren't zero without penalty, at each strength.
        verbose: Whether to print a line for each strength.
    """

    down: bool
    epochs: int
    dense_epochs: int
    tolerance: float
    count: int
    smallest: float
    relax: bool
    verbose: bool


class Walk:
    """One walk with one set of training examples.

    Args:
        fits: The model. It begins with the weights that it has.
        examples: The training examples.
        validation: The validation examples; None for none.
        plan: How to walk.
        store: Where the records go, and those of an earlier call are; None to keep none.
    """

    def __init__(self, fits: Fits, examples: Examples, validation: Examples | None, plan: Plan, store: Store | None):
        self._fits, self._examples, self._plan, self._store = fits, examples, plan, store
        self._recorder = Recorder(fits, examples, validation)

    def start(self) -> PathRecord | None:
        """Make the fit that the walk begins with, and return its record; None for one of zeros."""
        found = self._load("start")
        if found is not None:
            return found
        begun = time.perf_counter()
        if self._plan.down:
            clear(self._fits)
            fit_others(self._fits, self._examples)
            return None
        epochs = self._fits.fit(self._examples, 0.0, self._plan.dense_epochs)
        return self._keep("start", self._recorder.record(0.0, epochs, begun))

    def strengths(self) -> Iterator[float]:
        """Yield strengths, the next one when the last was visited."""
        count, smallest = self._plan.count, self._plan.smallest
        ratio = smallest ** (1 / max(1, count - 1))
        if self._plan.down:
            largest = exact_lambda_max(self._fits, self._examples)
            yield from (largest * ratio**place for place in range(count))
            return
        strength = LOWEST * natural_strength(self._fits, self._examples)
        for _ in range(LONGEST * count):
            yield strength
            if self._fits.all_zero():
                return
            strength /= ratio

    def visit(self, place: int, strength: float) -> PathRecord:
        """Fit at a strength, from the last visit's weights, and return the record.

        Args:
            place: How many visits were before.
            strength: The strength.
        """
        found = self._load(f"{place:03d}")
        if found is None:
            found = self._fitted(place, strength)
        if self._plan.verbose:
            _print(place, found)
        return found

    def _fitted(self, place: int, strength: float) -> PathRecord:
        begun = time.perf_counter()
        record = self._recorder.record(strength, self._fit(place, strength), begun)
        if self._plan.relax:
            after = self._fits.state()
            record = dataclasses.replace(record, relaxed=self._relaxed(place, record))
            self._fits.optimizer.unfreeze()
            self._fits.restore(after)
        return self._keep(f"{place:03d}", record)

    def _fit(self, place: int, strength: float) -> int:
        if not self._plan.down:  # a network of zeros stays as it is
            return (
                0 if self._fits.all_zero() else self._fits.fit(self._examples, strength, self._plan.epochs, stage=place)
            )
        return self._until(strength, strength, place, relaxed=False)

    def _until(self, strength: float, paid: float, place: int, relaxed: bool) -> int:
        """Fit until the conditions of a minimum hold, or come no nearer."""
        objective, examples = self._fits.objective, self._examples
        steps = math.ceil(len(examples) / self._fits.batch_size)
        seen = [math.inf]

        def ends() -> bool:
            seen.append(objective.violation(objective.loss_and_gradients(examples)[1], strength, relaxed))
            stands = len(seen) > PATIENCE and min(seen[-PATIENCE:]) > 0.9 * min(seen[:-PATIENCE])
            return seen[-1] <= self._plan.tolerance or stands

        block = math.ceil(BLOCK / steps)
        return self._fits.fit(examples, paid, self._plan.epochs, ends, block=block, stage=place)

    def _relaxed(self, place: int, record: PathRecord) -> PathRecord:
        begun = time.perf_counter()
        self._fits.optimizer.freeze()
        if self._plan.down:
            epochs = self._until(record.strength, 0.0, place, relaxed=True)
        else:
            epochs = self._fits.fit(self._examples, 0.0, self._plan.epochs, stage=place)
        return self._recorder.record(record.strength, epochs, begun, relaxed=True)

    def _keep(self, name: str, record: PathRecord) -> PathRecord:
        if self._store is not None:
            state = self._fits.state()
            self._store.save(name, dataclasses.asdict(record), [*state.model, *state.optimizer])
        return record

    def _load(self, name: str) -> PathRecord | None:
        found = None if self._store is None else self._store.load(name)
        if found is None:
            return None
        self._fits.restore(split(self._fits, found[1]))
        return PathRecord.of(found[0])


def split(fits: Fits, arrays: list[Any]) -> State:
    """Return the state that was kept as a list of arrays.

    Args:
        fits: The model.
        arrays: Those of the model, then those of the optimizer.
    """
    count = len(fits.model.variables)
    return State(arrays[:count], arrays[count:])


def is_linear(fits: Fits) -> bool:
    """Return whether one layer has all trainable weights of a model, and penalties that give zeros alone.

    Args:
        fits: The model.
    """
    trained = {id(one) for one in fits.objective.variables}
    owners = {one.owner for one in _walk.weights(fits.model) if id(one.variable) in trained}
    return len(owners) == 1 and has_exact_one(fits)


def _print(place: int, record: PathRecord) -> None:
    words = [f"strength {record.strength:.3g}", f"{record.zeros / max(1, record.weights):.1%} zeros"]
    words.append(f"{record.parameters:,} parameters")
    words.append(f"loss {record.train_loss:.4f}")
    if record.validation_loss is not None:
        words.append(f"validation loss {record.validation_loss:.4f}")
        words += [f"{name} {value:.4f}" for name, value in record.metrics.items()]
    print(f"{place + 1:3d}  {', '.join(words)}, {record.seconds:.1f} s", flush=True)
