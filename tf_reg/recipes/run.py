"""One run: training, and everything that it leaves behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import tf_reg
from tf_reg import _walk
from tf_reg.callbacks.resume import Resume
from tf_reg.callbacks.training_guard import TrainingGuard
from tf_reg.compaction.plan import CompactionPlan, plan_compaction
from tf_reg.recipes import (
    columns,
    compacted,
    divergence,
    following,
    gain,
    plots,
    run_ending,
    run_report,
    sureness,
    training,
    usefulness,
    weight_plots,
)
from tf_reg.recipes.board import Board
from tf_reg.recipes.data.pipelines import even
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.devices import placed
from tf_reg.recipes.notes import warnings_as_notes
from tf_reg.recipes.one_device import OneDevice
from tf_reg.recipes.result import Result
from tf_reg.recipes.run_folder import check_clock, know_data, made_folder
from tf_reg.serving.exporting import export
from tf_reg.serving.write.options import Options
from tf_reg_cli import defaults
from tf_reg_cli.config import Config
from tf_reg_cli.devices import Placement
from tf_reg_cli.errors import FailedError, UserError
from tf_reg_cli.files import whole, write_whole
from tf_reg_cli.unfinished import CHECKPOINTS

EXPORT_EXAMPLES = 32


def run(
    config: Config,
    resumed: Path | None = None,
    checkpoint_every: int | None = None,
    placement: Placement | None = None,
) -> Result | None:
    """Train as `config` says and write `runs/<name>/` and a SavedModel.

    Args:
        config: The configuration.
        resumed: The folder of a run with this configuration that was interrupted, to go on with; None for a new run.
        checkpoint_every: After how many batches there is a checkpoint, beside those at the ends of epochs.
        placement: The devices and processes to train on.

    Returns:
        What the run found; None in a process beside number 0.

    Raises:
        UserError: If the data can't be had, or the folder is taken or can't be written.
        FailedError: If nothing useful came out; what there is lies in the run's folder.
        KeyboardInterrupt: On Ctrl-C, after what there is has been written; the message names the folder.
    """
    check_clock()
    devices = placed(placement or Placement())
    with devices.together():
        with devices.scope():
            model, images = training.prepare(config)
        config = training.with_task(config, images)
        devices.check(config, images.train_size, even(images.train_size, config.batch_size))
        devices.prepare(model, images.train)
        chosen = defaults.words(config, images.train_size)
        config = defaults.filled(config, images.train_size)
        if not devices.leads:
            following.follow(model, config, images, devices, lambda folder: _resume(folder, config, checkpoint_every))
            return None
        print(chosen)
        for note in (*images.notes, *_bigger_batches(config, images)):
            print(f"Note: {note}", file=sys.stderr)
        folder = following.led(devices, lambda: resumed or made_folder(config))
        return _led(model, config, images, devices, _resume(folder, config, checkpoint_every), resumed is not None)


def _led(model: keras.Model, config: Config, images: Data, devices: OneDevice, resume: Resume, resumed: bool) -> Result:
    """Train, and write the run."""
    folder = resume.folder.parent
    with run_ending.said(folder, resume.folder):
        if not resumed:
            config.save(folder / "config.json")
        know_data(folder, config, resumed)
        result = _train_and_write(model, config, images, folder, resume, devices)
        run_report.write(folder, result, config)
        shutil.rmtree(resume.folder)
        return result


def _resume(folder: Path, config: Config, every: int | None) -> Resume:
    """What saves the checkpoints of a run.

    Batches that Python changes draw random numbers from one epoch to the next, so all are read again.
    """
    drawn = config.rand_augment, config.random_erasing, config.mixup, config.cutmix
    return Resume(folder / CHECKPOINTS, every, reread=any(one is not None for one in drawn))


def _bigger_batches(config: Config, images: Data) -> Iterator[str]:
    what = "rows" if config.is_table else "images"
    if config.batch_size > images.train_size:
        yield (
            f"--batch-size {config.batch_size} is more than the {images.train_size} training {what}: an epoch is one "
            "step with all of them."
        )


def _train_and_write(
    model: keras.Model, config: Config, images: Data, folder: Path, resume: Resume, devices: OneDevice
) -> Result:
    history, seconds = _trained(model, config, images, folder, resume, devices)
    model = devices.alone(model, folder / "model.keras")
    plan = plan_compaction(model)
    metrics = _metrics(model, config, images, folder, len(history["loss"]), seconds, plan)
    sure = sureness.Sureness(model, images, config)
    metrics |= sure.metrics()
    if not all(math.isfinite(value) for value in metrics.values() if isinstance(value, float)):
        raise _of_no_use("Training diverged: what it measures is no finite number.", config, folder)
    _write(metrics, folder)
    with whole(folder / "weights.png") as unfinished:
        weight_plots.weights(model, plan, unfinished, folder.name)
    if sure.asked:
        with whole(folder / "calibration.png") as unfinished:
            sure.draw(unfinished, folder.name)
    read = columns.written(model, images, folder)
    shares = usefulness.class_shares(images)
    problem = usefulness.useless(metrics, shares, config.label_smoothing)
    if problem is not None:
        raise _of_no_use(problem, config, folder)
    for note in (*sure.notes, *usefulness.notes(metrics, history, shares, config)):
        print(f"Note: {note}", file=sys.stderr)
    if gain.wants_baseline(model, config, images.train_size):
        print("\nThe same training without the penalty, to compare with ...", flush=True)
        metrics |= gain.baseline(config)
        _write(metrics, folder)
    details = {**columns.described(images), "config": dataclasses.asdict(config)}
    saved_models = Path(config.saved_models_dir) / folder.name
    said = gain.words(metrics, config)
    if config.compact:
        result = Result(metrics, folder, saved_models, gain=said, columns=read)
        return _compact(sure.served, images, saved_models, result, details)
    details["metrics"] = metrics
    version = export(sure.served, saved_models, examples=test_images(images), details=details, **columns.names(images))
    return Result(metrics, folder, version, gain=said, columns=read)


def _trained(
    model: keras.Model, config: Config, images: Data, folder: Path, resume: Resume, devices: OneDevice
) -> tuple[dict[str, list[float]], float]:
    """Train, and keep what there is, of an interrupted training too; returns the history and the seconds."""
    before, start = _weights(model), time.perf_counter()
    try:
        with devices.scope(), writers(folder, config) as readers, warnings_as_notes():
            training.fit(model, config, images, [TrainingGuard(), resume, *readers], devices=devices)
    except KeyboardInterrupt:
        devices.leave()
        _keep(model, before, folder)
        raise
    except FloatingPointError as error:
        devices.part()
        raise divergence.failure(error, model, config, images, folder, lambda: _keep(model, before, folder)) from error
    devices.leave()
    seconds = time.perf_counter() - start
    return _keep(model, before, folder), seconds


def _compact(model: keras.Model, images: Data, saved_models: Path, result: Result, details: dict[str, Any]) -> Result:
    """Compact a trained model, and write what there is of the compacted one: its file, its numbers, a SavedModel."""
    examples, metrics, folder = test_images(images), result.metrics, result.folder
    try:
        made = compacted.compacted(model, examples)
    except UserError as error:
        raise UserError(f"{error} No SavedModel was made; what was trained lies in {folder}.") from error
    with whole(folder / "compact.keras") as unfinished:
        made.small.save(unfinished)
    made.compare(images)
    losses = made.small.evaluate(images.test, verbose=0, return_dict=True)
    made.metrics.update({f"compact_test_{key}": value for key, value in losses.items()})
    found = made.export(
        saved_models,
        None,
        Options(**columns.names(images)),
        examples,
        lambda: details | {"metrics": metrics | made.metrics},
        look=lambda: _write(metrics | made.metrics, folder),
    )
    metrics = metrics | made.metrics
    dense = model.evaluate(images.test, verbose=0, return_dict=True) if "temperature" in metrics else {}
    table = made.table(metrics | {f"test_{key}": value for key, value in dense.items()})  # with the temperature
    return dataclasses.replace(result, metrics=metrics, saved_model=found.path, compaction=table)


def _write(metrics: dict[str, Any], folder: Path) -> None:
    write_whole(folder / "metrics.json", json.dumps(metrics, indent=2, allow_nan=False) + "\n")


def _metrics(
    model: keras.Model,
    config: Config,
    images: Data,
    folder: Path,
    epochs: int,
    seconds: float,
    plan: CompactionPlan,
) -> dict[str, Any]:
    return {
        "name": folder.name,
        **training.measure(model, images, plan),
        "epochs": epochs,
        "steps_per_execution": model.steps_per_execution,
        "seconds": seconds,
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__, "tf_reg": tf_reg.__version__},
        "machine": {
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "gpus": len(tf.config.list_physical_devices("GPU")),
        },
    }


def _of_no_use(problem: str, config: Config, folder: Path) -> FailedError:
    return FailedError(
        f"{problem} {usefulness.advice(config)} No SavedModel was made; what was trained lies in {folder}."
    )


def test_images(images: Data) -> Any:
    """Return the first `EXPORT_EXAMPLES` test examples, which an export is verified and warmed up with."""
    return next(images.test.unbatch().batch(EXPORT_EXAMPLES).as_numpy_iterator())[0]


def _keep(model: keras.Model, before: dict[str, np.ndarray], folder: Path) -> dict[str, list[float]]:
    """Save the model and draw the curves, of an interrupted run too; returns the history."""
    with whole(folder / "model.keras") as unfinished:
        model.save(unfinished)
    history = model.history.history if hasattr(model, "history") else {}
    if history:  # not interrupted in the first epoch
        with whole(folder / "curves.png") as unfinished:
            plots.curves(history, unfinished, folder.name)
    if history and before:
        with whole(folder / "regularization.png") as unfinished:
            plots.regularization(history, before, _weights(model), unfinished, folder.name)
    return history


@contextlib.contextmanager
def writers(folder: Path, config: Config) -> Iterator[list[keras.callbacks.Callback]]:
    """Give the callbacks that write a run's history, as a table and for TensorBoard."""
    table, board = keras.callbacks.CSVLogger(str(folder / "history.csv")), Board(folder / "tensorboard", config)
    try:
        yield [table, board]
    finally:
        board.close()
        if table.csv_file is not None:
            table.csv_file.close()  # Keras leaves it open where an exception ends the training


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Copy the regularised weights of each layer, flattened, by layer path."""
    layers: dict[str, list[np.ndarray]] = {}
    for weight in _walk.regularized(model):
        layers.setdefault(weight.owner, []).append(ops.convert_to_numpy(weight.variable).ravel())
    return {path: np.concatenate(parts) for path, parts in layers.items()}
