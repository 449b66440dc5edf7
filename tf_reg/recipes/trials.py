"""Trainings whose results are kept in a file: none is computed twice, none is lost."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg.recipes import training
from tf_reg.recipes.data.fingerprint import fingerprint
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.forgetting import forgotten
from tf_reg.recipes.retracing import expected_retracing
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import write_whole
from tf_reg_cli.roles import AROUND, DATA

EDGES = np.geomspace(1e-7, 10, 65)  # of the bins of a histogram of |weight|
SEEDS = 5  # data sets that are held: the methods come one by one, and each with all seeds
KEPT = ("data_loss", "val_data_loss", "accuracy", "val_accuracy", "r2", "val_r2", "sparsity")  # of the history

Record = dict[str, Any]


class Trials:
    """Trains configurations, and remembers each result in a file of JSON lines.

    Args:
        file: Where results are read from and added to; made where it is missing.

    Raises:
        UserError: If the file can't be read as such, or can't be written. A last line that was cut off is dropped.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._load = functools.lru_cache(maxsize=SEEDS)(training.load_data)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_text() if file.exists() else ""
            *whole, rest = content.split("\n")
            records = [json.loads(line) for line in whole]
            self._known: dict[str, Record] = {_key(one["config"], one.get("data")): one for one in records}
            if any("metrics" not in record for record in records):
                raise ValueError("a line has no metrics")
            if rest:
                if not rest.startswith('{"config": '):
                    raise ValueError("its last line is no result")
                write_whole(file, "".join(line + "\n" for line in whole))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is no file of results: {error}. Choose another --results.") from error

    def knows(self, config: Config) -> bool:
        """Return whether a result is in the file."""
        return _key(dataclasses.asdict(config), fingerprint(config.dataset)) in self._known

    def record(self, config: Config) -> Record:
        """Return what training with `config` gives, from the file where it is known.

        `metrics` has what `training.measure` returns. `history` has a list of numbers an epoch, and `weights` how many
        weights are in each bin between `EDGES` and how many are zero; both are missing in older files.
        """
        settings = dataclasses.asdict(config)
        data = fingerprint(config.dataset)
        key = _key(settings, data)
        if key not in self._known:
            self._known[key] = {"config": settings, "data": data, **train(config, self._images)}
            with self._file.open("a") as stream:
                stream.write(json.dumps(self._known[key]) + "\n")
        return self._known[key]

    def _images(self, config: Config) -> Data:
        """Return the data that a configuration names. Those of the last seeds are held."""
        wanted = {name: getattr(config, name) for name in (*DATA, "data_dir", "batch_size", "seed")}
        return self._load(Config(**wanted))

    def metrics(self, config: Config) -> dict[str, Any]:
        """Return the numbers of a training, with its accuracy or R2 as `..._score` too."""
        metrics = self.record(config)["metrics"]
        scores: dict[str, Any] = {}
        for split in ("train", "validation", "test"):
            value = metrics.get(f"{split}_accuracy", metrics.get(f"{split}_r2"))
            scores |= {f"{split}_score": value} if value is not None else {}
        return metrics | scores


def train(config: Config, load: Callable[[Config], Data] = training.load_data) -> Record:
    """Train with a configuration and return `metrics`, `history` and `weights`, as in `Trials.record`.

    Args:
        config: The configuration.
        load: Returns the data.
    """
    with expected_retracing(), forgotten():
        model, images = training.prepare(config, load(config))
        training.fit(model, config, images, silent=True)
        metrics = training.measure(model, images)
        history = {name: [float(v) for v in values] for name, values in model.history.history.items() if name in KEPT}
        return {"metrics": metrics, "history": history, "weights": _histogram(model)}


def _histogram(model: keras.Model) -> dict[str, Any]:
    """Count the weights of all kernels in each bin of size, and those that are zero."""
    kernels = [ops.convert_to_numpy(one).ravel() for one in model.weights if one.name == "kernel"]
    sizes = np.abs(np.concatenate(kernels)) if kernels else np.zeros(0)
    counts = np.histogram(np.clip(sizes[sizes > 0], EDGES[0], EDGES[-1]), EDGES)[0]
    return {"bins": counts.tolist(), "zeros": int((sizes == 0).sum())}


def _key(settings: dict[str, Any], data: str | None = None) -> str:
    """What tells one training from another: all settings but those of what is printed and written where.

    Of a file or a folder, the contents count and not the path. A setting that is newer than a file of results has its
    default there. The steps that `"auto"` chooses give the weights that single steps do.
    """
    settings = dataclasses.asdict(Config()) | settings
    settings["dataset"] = data or settings["dataset"]
    if settings["steps_per_execution"] == "auto":
        settings["steps_per_execution"] = 1
    return json.dumps({name: value for name, value in settings.items() if name not in AROUND}, sort_keys=True)
