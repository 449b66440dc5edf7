"""Compare regularisation methods: choose settings on validation examples, then measure several seeds in pairs."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats

from tf_reg.recipes import training
from tf_reg.recipes.plan import Column, Method, Overrides, Plan
from tf_reg.recipes.trials import Trials
from tf_reg_cli.checks import flag
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import filled
from tf_reg_cli.errors import UserError

CHOOSING_SEEDS = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """One method at its chosen settings.

    Args:
        method: The method.
        chosen: The settings.
        configs: The configuration of each seed.
        numbers: Mean and standard deviation over the seeds for each column of the plan.
        difference: How much better its test score is than that of its reference, the mean over the seeds and its
            standard error; None for the reference and for one seed.
        p_value: That of a paired t-test of this difference; None where it is the same for every seed.
    """

    method: Method
    chosen: Overrides
    configs: tuple[Config, ...]
    numbers: tuple[tuple[float, float], ...]
    difference: tuple[float, float] | None = None
    p_value: float | None = None


class Countdown:
    """Says on the error stream how far a comparison is: a line for each training.

    Args:
        total: How many trainings there are.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done, self._trained, self._seconds = total, 0, 0, 0.0

    def add(self, words: str, seconds: float | None) -> None:
        """Count a training.

        Args:
            words: What was trained, and what came out.
            seconds: What it took; None if its result was known.
        """
        self._done += 1
        if seconds is None:
            return
        self._trained, self._seconds = self._trained + 1, self._seconds + seconds
        left = (self._total - self._done) * self._seconds / self._trained
        rest = f"{left / 60:.0f} min left at most" if left >= 90 else f"{left:.0f} s left at most"
        print(f"[{self._done}/{self._total}] {words}, {seconds:.1f} s; {rest}", file=sys.stderr, flush=True)


def compare(base: Config, seeds: int, trials: Trials, plan: Plan) -> Iterator[Row]:
    """Check a plan, and return an iterator over its rows: one for every method, as it is done.

    Of a method's settings, those with the highest mean validation score over the first two seeds are chosen; test
    examples have no say in it. A method and the one that it is compared with have the same seeds, and so the same split
    and the same order of the examples.

    Args:
        base: Everything but the method and the seed.
        seeds: How many seeds to report, counted from `base.seed`.
        trials: Trains, or remembers.
        plan: The methods, and what to report of them.

    Raises:
        UserError: If `base` has methods switched on, which would be part of every row.
    """
    if base.methods:
        raise UserError(f"compare switches the methods on itself. Leave out the flags of {', '.join(base.methods)}.")
    needs_epochs = [method for method in plan.methods if method.epochs_factor > 1]
    epochs = base.epochs or (_epochs(base) if needs_epochs else None)
    made = {method.name: _configs(base, method, epochs) for method in plan.methods}
    few = min(seeds, CHOOSING_SEEDS)
    progress = Countdown(sum(len(ones) * few + seeds - few if len(ones) > 1 else seeds for ones in made.values()))
    return _rows(plan, made, seeds, trials, progress)


def _rows(plan: Plan, made: dict[str, list[Config]], seeds: int, trials: Trials, progress: Countdown) -> Iterator[Row]:
    few, scores = min(seeds, CHOOSING_SEEDS), dict[str, np.ndarray]()
    for method in plan.methods:
        candidates = made[method.name]
        place = 0
        if len(candidates) > 1:
            found = [_scores(one, few, trials, progress, method, "validation") for one in candidates]
            means = [one.mean() for one in found]
            place = int(np.argmax([mean if math.isfinite(mean) else -math.inf for mean in means]))
        first = candidates[place]
        configs = tuple(dataclasses.replace(first, seed=first.seed + number) for number in range(seeds))
        start = few if len(candidates) > 1 else 0
        scores[method.name] = _scores(first, seeds, trials, progress, method, "test", start)
        results = [trials.metrics(config) for config in configs]
        numbers = tuple(_mean_and_deviation([column.value(one) for one in results]) for column in plan.columns)
        row = Row(method, method.choose[place], configs, numbers)
        reference = plan.reference(method)
        yield row if reference is None or seeds < 2 else _paired(row, scores[method.name], scores[reference.name])


def _epochs(base: Config) -> int:
    """Return the default of `--epochs` for the data."""
    return int(filled(base, training.load_data(base).train_size).epochs or 0)


def _configs(base: Config, method: Method, epochs: int | None) -> list[Config]:
    """Return the configuration of each of a method's settings."""
    own: Overrides = {} if method.epochs_factor == 1 else {"epochs": (epochs or 0) * method.epochs_factor}
    found = []
    for settings in method.choose:
        try:
            found.append(dataclasses.replace(base, **own, **settings))
        except UserError as error:
            raise UserError(f"{method.name}: {error}") from error
    return found


def _scores(
    config: Config, seeds: int, trials: Trials, progress: Countdown, method: Method, split: str, start: int = 0
) -> np.ndarray:
    """Return the score of each seed. Those from `start` on count as progress."""
    found = []
    for number in range(seeds):
        one = dataclasses.replace(config, seed=config.seed + number)
        known, begin = trials.knows(one), time.perf_counter()
        metrics = trials.metrics(one)
        found.append(metrics[f"{split}_score"])
        if number >= start or not known:
            words = f"{method.name}, seed {one.seed}: validation {metrics['validation_score']:.4f}"
            progress.add(words, None if known else time.perf_counter() - begin)
    return np.asarray(found, "float64")


def _paired(row: Row, scores: np.ndarray, reference: np.ndarray) -> Row:
    """Add the paired test of a method against its reference."""
    gain = scores - reference
    error = float(np.std(gain, ddof=1) / math.sqrt(len(gain)))
    p_value = float(stats.ttest_rel(scores, reference).pvalue) if np.ptp(gain) > 1e-9 else None
    return dataclasses.replace(row, difference=(float(gain.mean()), error), p_value=p_value)


def cells(rows: Iterable[Row], plan: Plan) -> Iterator[list[str]]:
    """Yield the cells of the table, the head first."""
    percent = all(column.metric != "test_score" for column in plan.columns)
    unit = " (points)" if percent else ""
    yield ["method", "chosen", *(column.head for column in plan.columns), f"better by{unit}", "p"]
    for row in rows:
        chosen = ", ".join(_words(name, value) for name, value in _shown(row.chosen))
        numbers = [_plus_minus(column, *number) for column, number in zip(plan.columns, row.numbers, strict=True)]
        paired = ["", ""]
        if row.difference is not None:
            mean, error = (100 * one if percent else one for one in row.difference)
            digits = 2 if percent else 3
            paired = [f"{mean:+.{digits}f} ± {error:.{digits}f}", "-" if row.p_value is None else f"{row.p_value:.3f}"]
        yield [row.method.name, chosen, *numbers, *paired]


def markdown(rows: Iterable[Row], plan: Plan) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    for number, line in enumerate(cells(rows, plan)):
        yield f"| {' | '.join(line)} |"
        if number == 0:
            yield "|---" * len(line) + "|"


def _shown(chosen: Overrides) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in chosen.items() if name not in ("reg", "proximal", "refit_epochs")]


def _words(name: str, value: Any) -> str:
    words = flag(name).removeprefix("--").replace("-", " ")
    if value is True:
        return words
    if isinstance(value, (list, tuple)):
        return " ".join([words, *map(str, value)])
    return f"{words} {value}" if isinstance(value, str) else f"{words} {value:g}"


def _plus_minus(column: Column, mean: float, deviation: float) -> str:
    form = column.form
    return form.format(mean) if math.isnan(deviation) else f"{form.format(mean)} ± {form.format(deviation)}"


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
