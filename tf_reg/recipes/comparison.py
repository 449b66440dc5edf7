"""Compare regularisation methods: choose strengths on validation examples, then measure several seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_reg.recipes import training
from tf_reg.recipes.retracing import expected_retracing
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import write_whole

Overrides = dict[str, Any]

IN_LOSS: Overrides = {"proximal": False}

METHODS: dict[str, list[Overrides]] = {
    "none": [{}],
    "L1": [{"reg": "l1", "l1": strength, **IN_LOSS} for strength in (1e-5, 1e-4, 1e-3)],
    "L2": [{"reg": "l2", "l2": strength} for strength in (1e-4, 1e-3, 1e-2)],
    "elastic net": [
        {"reg": "l1l2", "l1": l1, "l2": l2, **IN_LOSS} for l1, l2 in ((1e-5, 1e-3), (1e-4, 1e-4), (1e-4, 1e-3))
    ],
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

PENALISED: Overrides = {"refit_epochs": 0}  # to the end

ZEROS: dict[str, list[Overrides]] = {
    "none": [{}],
    "L1 in the loss, as in Keras": [{"reg": "l1", "l1": 1e-4, **IN_LOSS}],
    "L1 by Proximal": [{"reg": "l1", "l1": 1e-4, **PENALISED}],
    "group lasso by Proximal": [{"reg": "group", "group_lasso": 3e-5, **PENALISED}],
    "L1 to 90 % zeros, refit": [{"reg": "l1", "l1": 1e-4, "target_sparsity": 0.9}],
    "L1 to 95 % zeros, refit": [{"reg": "l1", "l1": 1e-4, "target_sparsity": 0.955}],
    "group lasso by Proximal, stronger": [{"reg": "group", "group_lasso": 5.5e-5, **PENALISED}],
}


class Column(NamedTuple):
    """A number of a training that a table shows: its head, its value from `training.measure`, and its format."""

    head: str
    value: Callable[[dict[str, Any]], float]
    form: str = "{:.1f}"


class Study(NamedTuple):
    """What a table compares: the methods, each with the strengths to choose from, and the columns."""

    methods: dict[str, list[Overrides]]
    columns: list[Column]


_TEST = Column("test accuracy (%)", lambda found: 100 * found["test_accuracy"])
STUDIES = {
    "methods": Study(
        METHODS,
        [
            _TEST,
            Column("train - test (points)", lambda found: 100 * (found["train_accuracy"] - found["test_accuracy"])),
        ],
    ),
    "zeros": Study(
        ZEROS,
        [
            _TEST,
            Column("exact zeros (%)", lambda found: 100 * found.get("sparsity", 0.0)),
            Column("live parameters", lambda found: found["live_parameters"], "{:,.0f}"),
        ],
    ),
}

CHOOSING_SEEDS = 2


@dataclasses.dataclass(frozen=True)
class Row:
    """One method at its chosen strength: mean and standard deviation over the seeds for each column of the study."""

    method: str
    chosen: Overrides
    numbers: list[tuple[float, float]]


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
                write_whole(file, "".join(line + "\n" for line in whole))
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


def compare(base: Config, seeds: int, trials: Trials, study: Study) -> Iterable[Row]:
    """Yield a row for every method, as it is done.

    Of a method's strengths, the one with the highest mean validation accuracy over the first two seeds is chosen;
    test examples have no say in it.

    Args:
        base: Everything but the method and the seed.
        seeds: How many seeds to report, counted from `base.seed`.
        trials: Trains, or remembers.
        study: The methods, and what to report of them.

    Raises:
        UserError: If `base` has methods switched on, which would be part of every row.
    """
    if base.methods:
        raise UserError(f"compare switches the methods on itself. Leave out the flags of {', '.join(base.methods)}.")
    for method, candidates in study.methods.items():
        chosen = candidates[0]
        if len(candidates) > 1:
            chosen = max(
                candidates, key=lambda one: _validation_accuracy(base, one, min(seeds, CHOOSING_SEEDS), trials)
            )
        results = _results(base, chosen, seeds, trials)
        numbers = [[column.value(result) for result in results] for column in study.columns]
        yield Row(method, chosen, [_mean_and_deviation(values) for values in numbers])


def markdown(rows: Iterable[Row], study: Study) -> Iterable[str]:
    """Yield the lines of a table in Markdown."""
    yield f"| method | chosen | {' | '.join(column.head for column in study.columns)} |"
    yield "|---|" + "---|" * (1 + len(study.columns))
    for row in rows:
        chosen = ", ".join(_words(name, value) for name, value in _shown(row.chosen))
        cells = [_plus_minus(column.form, *number) for column, number in zip(study.columns, row.numbers, strict=True)]
        yield f"| {row.method} | {chosen} | {' | '.join(cells)} |"


def _shown(chosen: Overrides) -> list[tuple[str, Any]]:
    return [
        (name.replace("_", " "), value)
        for name, value in chosen.items()
        if name not in ("reg", "proximal", "refit_epochs")
    ]


def _words(name: str, value: Any) -> str:
    if value is True:
        return name
    return f"{name} {value}" if isinstance(value, str) else f"{name} {value:g}"


def _plus_minus(form: str, mean: float, deviation: float) -> str:
    return form.format(mean) if math.isnan(deviation) else f"{form.format(mean)} ± {form.format(deviation)}"


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _validation_accuracy(base: Config, overrides: Overrides, seeds: int, trials: Trials) -> float:
    return float(np.mean([result["validation_accuracy"] for result in _results(base, overrides, seeds, trials)]))


def _results(base: Config, overrides: Overrides, seeds: int, trials: Trials) -> list[dict[str, Any]]:
    return [trials.metrics(dataclasses.replace(base, **overrides, seed=base.seed + number)) for number in range(seeds)]


def _train(config: Config) -> dict[str, Any]:
    keras.utils.clear_session()
    with expected_retracing():
        model, images = training.prepare(config)
        training.fit(model, config, images, silent=True)
        return training.measure(model, images)


def _key(settings: dict[str, Any]) -> str:
    """What tells one training from another: all settings but those of what is printed and written where.

    A setting that is newer than a file of results has its default there. The steps that `"auto"` chooses give the
    weights that single steps do.
    """
    silent = ("quiet", "name", "runs_dir", "saved_models_dir", "data_dir", "compact", "baseline")
    settings = dataclasses.asdict(Config()) | settings
    if settings["steps_per_execution"] == "auto":
        settings["steps_per_execution"] = 1
    return json.dumps({name: value for name, value in settings.items() if name not in silent}, sort_keys=True)
