"""Compare regularisation methods: strengths chosen on validation examples, then test accuracy over several seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg.recipes import training
from tf_reg.recipes.config import Config, UserError

Overrides = dict[str, Any]

METHODS: dict[str, list[Overrides]] = {
    "none": [{}],
    "L1": [{"reg": "l1", "l1": strength} for strength in (1e-5, 1e-4, 1e-3)],
    "L2": [{"reg": "l2", "l2": strength} for strength in (1e-4, 1e-3, 1e-2)],
    "elastic net": [{"reg": "l1l2", "l1": l1, "l2": l2} for l1, l2 in ((1e-5, 1e-3), (1e-4, 1e-4), (1e-4, 1e-3))],
    "dropout": [{"dropout": rate} for rate in (0.2, 0.5, 0.7)],
    "early stopping": [{"early_stopping": 5}],
    "augmentation": [{"augment": True}],
    "batch normalisation": [{"batch_norm": True}],
    "weight decay": [{"weight_decay": strength} for strength in (1e-3, 1e-2, 1e-1)],
    "combination": [
        {"augment": True, "dropout": 0.2},
        {"augment": True, "dropout": 0.5},
        {"augment": True, "batch_norm": True},
        {"augment": True, "batch_norm": True, "dropout": 0.2},
        {"augment": True, "batch_norm": True, "dropout": 0.5, "weight_decay": 1e-2},
        {"batch_norm": True, "dropout": 0.5},
    ],
}

CHOOSING_SEEDS = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """One method at its chosen strength: means and standard deviations over the seeds, accuracies in percent."""

    method: str
    chosen: Overrides
    test: tuple[float, float]
    gap: tuple[float, float]


class Trials:
    """Trains configurations, and remembers each result in a file of JSON lines: none is computed twice, none lost.

    Args:
        file: Where results are read from and added to; made where it is missing.

    Raises:
        UserError: If the file can't be read as such, or can't be written. A last line that was cut off is dropped.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_text() if file.exists() else ""
            *whole, rest = content.split("\n")
            records = [json.loads(line) for line in whole]
            self._known = {_key(record["config"]): record["metrics"] for record in records}
            if rest:
                if not rest.startswith('{"config": '):
                    raise ValueError("its last line is no result")
                file.write_text("".join(line + "\n" for line in whole))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is no file of results: {error}. Choose another --results.") from error

    def metrics(self, config: Config) -> dict[str, Any]:
        """Return what training with `config` gives, from the file where it is known."""
        settings = dataclasses.asdict(config)
        key = _key(settings)
        if key not in self._known:
            self._known[key] = _train(config)
            with self._file.open("a") as stream:
                stream.write(json.dumps({"config": settings, "metrics": self._known[key]}) + "\n")
        return self._known[key]


def compare(base: Config, seeds: int, trials: Trials) -> Iterable[Row]:
    """Yield a row for every method, as it is done.

    Of a method's strengths, the one with the highest mean validation accuracy over the first two seeds is chosen;
    test examples have no say in it.

    Args:
        base: Everything but the method and the seed.
        seeds: How many seeds to report, counted from `base.seed`.
        trials: Trains, or remembers.

    Raises:
        UserError: If `base` has methods switched on, which would be part of every row.
    """
    if base.methods:
        raise UserError(f"compare.py switches the methods on itself. Leave out the flags of {', '.join(base.methods)}.")
    for method, candidates in METHODS.items():
        chosen = candidates[0]
        if len(candidates) > 1:
            chosen = max(
                candidates, key=lambda one: _validation_accuracy(base, one, min(seeds, CHOOSING_SEEDS), trials)
            )
        results = _results(base, chosen, seeds, trials)
        test = [100 * result["test_accuracy"] for result in results]
        gap = [100 * (result["train_accuracy"] - result["test_accuracy"]) for result in results]
        yield Row(method, chosen, _mean_and_deviation(test), _mean_and_deviation(gap))


def markdown(rows: Iterable[Row]) -> Iterable[str]:
    """Yield the lines of a table in Markdown."""
    yield "| method | chosen | test accuracy (%) | train - test (points) |"
    yield "|---|---|---|---|"
    for row in rows:
        chosen = ", ".join(f"{name} {value:g}" if value is not True else name for name, value in _numbers(row.chosen))
        yield f"| {row.method} | {chosen} | {_plus_minus(row.test)} | {_plus_minus(row.gap)} |"


def _numbers(chosen: Overrides) -> list[tuple[str, Any]]:
    return [(name.replace("_", " "), value) for name, value in chosen.items() if name != "reg"]


def _plus_minus(numbers: tuple[float, float]) -> str:
    mean, deviation = numbers
    return f"{mean:.1f}" if math.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _validation_accuracy(base: Config, overrides: Overrides, seeds: int, trials: Trials) -> float:
    return float(np.mean([result["validation_accuracy"] for result in _results(base, overrides, seeds, trials)]))


def _results(base: Config, overrides: Overrides, seeds: int, trials: Trials) -> list[dict[str, Any]]:
    return [trials.metrics(dataclasses.replace(base, **overrides, seed=base.seed + number)) for number in range(seeds)]


def _train(config: Config) -> dict[str, Any]:
    keras.utils.clear_session()
    model, images = training.prepare(config)
    training.fit(model, config, images, verbose=0)
    return training.measure(model, images)


def _key(settings: dict[str, Any]) -> str:
    """What tells one training from another: all settings but those of what is printed and written where."""
    silent = ("quiet", "name", "runs_dir", "saved_models_dir", "data_dir")
    return json.dumps({name: value for name, value in settings.items() if name not in silent}, sort_keys=True)
