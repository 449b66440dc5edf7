"""One run: data, model, training, and everything that it leaves behind."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tf_reg import callbacks, paths, plots, statistics
from tf_reg.export import export
from tf_reg.recipes import data, models
from tf_reg.recipes.config import Config, UserError
from tf_reg.recipes.data import ImageData

NEAR_ZERO = 1e-3


class InterruptedRunError(Exception):
    """Ctrl-C in the middle of a run; `folder` holds what there is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"Interrupted. What there is lies in {folder}.")
        self.folder = folder


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run found (`metrics.json`), and where it lies."""

    metrics: dict[str, Any]
    folder: Path
    saved_model: Path

    def table(self) -> str:
        """Return the run's results as a table of a few lines."""
        rows = [(label, form.format(self.metrics[key])) for key, label, form in _ROWS]
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {value:>10}" for label, value in rows)


_ROWS = (
    ("test_accuracy", "test accuracy", "{:.4f}"),
    ("test_loss", "test loss", "{:.4f}"),
    ("test_data_loss", "test loss without penalty", "{:.4f}"),
    ("train_accuracy", "training accuracy", "{:.4f}"),
    ("penalty", "penalty", "{:.4f}"),
    ("sparsity", "exact zeros", "{:.2%}"),
    ("near_sparsity", f"|weight| < {NEAR_ZERO:g}", "{:.2%}"),
    ("parameters", "parameters", "{:,}"),
    ("epochs", "epochs", "{}"),
    ("seconds", "training time (s)", "{:.1f}"),
)


def run(config: Config) -> Result:
    """Train as `config` says and write `runs/<name>/` and a SavedModel.

    Raises:
        UserError: If the data can't be had, the folder is taken or can't be written, or training diverges.
        InterruptedRunError: On Ctrl-C, after what there is has been written.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"A SavedModel needs KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}.")
    model, images = prepare(config)
    folder = _make_folder(config)
    config.save(folder / "config.json")
    try:
        return _train_and_write(model, config, images, folder)
    except KeyboardInterrupt:
        raise InterruptedRunError(folder) from None


def prepare(config: Config) -> tuple[keras.Model, ImageData]:
    """Return the compiled model and the data that `config` asks for.

    Sets the process' random seed, dtype policy and op determinism: the same configuration on the same machine gives
    the same numbers.
    """
    keras.utils.set_random_seed(config.seed)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.precision)
    images = load_data(config)
    model = build_model(config, images)
    compile_model(model, config, images.train_size)
    return model, images


def load_data(config: Config) -> ImageData:
    """Load the data set that `config` names."""
    return data.load(
        config.dataset,
        batch_size=config.batch_size,
        data_dir=config.data_dir,
        image_size=config.image_size,
        train_size=config.train_size,
        validation_split=config.validation_split,
        seed=config.seed,
    )


def build_model(config: Config, images: ImageData) -> keras.Model:
    """Build the model that `config` asks for, for these images."""
    return models.build(
        config,
        image_shape=images.image_shape,
        classes=len(images.class_names),
        mean=images.mean,
        variance=images.variance,
        flippable=images.flippable,
    )


def compile_model(model: keras.Model, config: Config, train_size: int) -> None:
    """Compile a classifier of one-hot labels, with the loss without penalty as the metric `data_loss`."""
    model.compile(
        optimizer=_optimizer(model, config, steps=config.epochs * math.ceil(train_size / config.batch_size)),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.label_smoothing),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(name="data_loss", label_smoothing=config.label_smoothing),
        ],
        steps_per_execution=config.steps_per_execution,
        jit_compile=config.jit,
    )


def _optimizer(model: keras.Model, config: Config, steps: int) -> keras.Optimizer:
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    kinds = {
        "adam": keras.optimizers.Adam,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
    }
    extra = {"momentum": config.momentum} if config.optimizer in ("sgd", "rmsprop") else {}
    optimizer = kinds[config.optimizer](rate, weight_decay=config.weight_decay or None, **extra)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if v.name != "kernel"])
    return optimizer


def _make_folder(config: Config) -> Path:
    """Make the run's folder, under a name that no run and no exported model has yet."""
    runs, exports = Path(config.runs_dir), Path(config.saved_models_dir)
    stem = config.name or "-".join(
        [config.dataset.removeprefix("folder:").strip("/").replace("/", "-"), config.model, *config.methods]
    )
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        folder = runs / name
        try:
            runs.mkdir(parents=True, exist_ok=True)
            if not (exports / name).exists():
                folder.mkdir()
                return folder
        except FileExistsError:
            pass
        except OSError as error:
            raise UserError(
                f"The run's folder {folder} can't be made: {error.strerror}. Choose another --runs-dir."
            ) from error
        if config.name:
            raise UserError(
                f"A run or model named {name} exists in {runs} or {exports} and is never overwritten. "
                "Choose another --name."
            )
        number += 1


def _train_and_write(model: keras.Model, config: Config, images: ImageData, folder: Path) -> Result:
    before = _weights(model)
    start = time.perf_counter()
    try:
        fit(model, config, images, _writers(folder))
    finally:  # an interrupted run keeps its model and its curves too
        seconds = time.perf_counter() - start
        history = model.history.history if model.history else {}
        model.save(folder / "model.keras")
        _draw(history, before, _weights(model), folder)
    if not all(np.isfinite(history["data_loss"])):
        raise UserError(
            f"Training diverged: the loss is no number any more. Lower --learning-rate. See {folder}/history.csv."
        )
    metrics = (
        {"name": folder.name}
        | measure(model, images)
        | {
            "epochs": len(history["loss"]),
            "seconds": seconds,
            "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
            "machine": {
                "architecture": platform.machine(),
                "cores": os.cpu_count(),
                "gpus": len(tf.config.list_physical_devices("GPU")),
            },
        }
    )
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return Result(metrics, folder, export(model, Path(config.saved_models_dir) / folder.name))


def _writers(folder: Path) -> list[keras.callbacks.Callback]:
    return [
        keras.callbacks.CSVLogger(str(folder / "history.csv")),
        keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False),
    ]


def fit(
    model: keras.Model,
    config: Config,
    images: ImageData,
    readers: Sequence[keras.callbacks.Callback] = (),
    verbose: int | None = None,
) -> None:
    """Train a compiled model.

    Args:
        model: The model that `prepare` returned.
        config: Epochs, early stopping, and how much to print.
        images: The data that `prepare` returned.
        readers: Callbacks that see every key of `RegularizationLogger` in their `logs`.
        verbose: Keras' `verbose`, by default as `config.quiet` says.
    """
    logger = callbacks.RegularizationLogger(per_layer=True, near_zero=NEAR_ZERO)
    stopping = []
    if config.early_stopping is not None:
        stopping = [
            keras.callbacks.EarlyStopping(
                "val_data_loss", patience=config.early_stopping, mode="min", restore_best_weights=True
            )
        ]
    model.fit(
        images.train,
        epochs=config.epochs,
        shuffle=False,  # the pipeline does
        validation_data=images.validation,
        verbose=(2 if config.quiet else 1) if verbose is None else verbose,
        callbacks=[logger, *readers, *stopping, _Progress()],
    )


class _Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar without the keys of single layers."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, {key: value for key, value in (logs or {}).items() if "/" not in key})


def measure(model: keras.Model, images: ImageData) -> dict[str, Any]:
    """Evaluate a trained model on all three splits, in inference mode, and measure its regularised weights."""
    metrics: dict[str, Any] = {}
    for name, dataset in (("train", images.train_eval), ("validation", images.validation), ("test", images.test)):
        losses = model.evaluate(dataset, verbose=0, return_dict=True)
        metrics |= {f"{name}_{key}": value for key, value in losses.items()}
        metrics[f"{name}_size"] = getattr(images, f"{name}_size")
    weights = statistics.total(statistics.Meter(model, NEAR_ZERO).measure())
    return metrics | {
        "penalty": weights.penalty,
        "sparsity": weights.sparsity,
        "near_sparsity": weights.near_sparsity,
        "parameters": model.count_params(),
    }


def _weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Copy the regularised weights of each layer, flattened, by layer path."""
    layers: dict[str, list[np.ndarray]] = {}
    for path, variable in paths.regularized_variables(model):
        layers.setdefault(path, []).append(ops.convert_to_numpy(variable).ravel())
    return {path: np.concatenate(parts) for path, parts in layers.items()}


def _draw(
    history: dict[str, list[float]], before: dict[str, np.ndarray], after: dict[str, np.ndarray], folder: Path
) -> None:
    if not history:
        return  # interrupted in the first epoch
    plots.curves(history, folder / "curves.png", folder.name)
    if before:
        plots.regularization(history, before, after, folder / "regularization.png", folder.name)
