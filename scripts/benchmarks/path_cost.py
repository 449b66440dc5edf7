"""What a warm path of strengths costs beside as many fits from new weights, and what both find: digits, an MLP."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

import tf_reg
from benchmarks import report
from tf_reg.selection.path import RegularizationPath

REPEATS = 1
TRAINED, UNITS, RATE, BATCH = 1300, 32, 1e-2, 32
STRENGTHS = np.geomspace(3e-5, 6e-2, 20)  # from the accuracy of no penalty to nearly nothing
EPOCHS, WARM = 30, 8  # of a fit from new weights, and of one on the path

Data = tuple[np.ndarray, np.ndarray]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    passes = EPOCHS + WARM * len(STRENGTHS), EPOCHS * len(STRENGTHS)
    yield (
        f"MLP 64-{UNITS}-10 with L1 on both kernels, Adam at {RATE}, batch {BATCH}, {TRAINED} images of digits, the "
        f"others for validation. Path: {EPOCHS} epochs without penalty, then {WARM} at each of {len(STRENGTHS)} "
        f"strengths, {passes[0]} in all. Cold: {EPOCHS} epochs from new weights at each, {passes[1]} in all."
    )
    yield ""
    heads = "path (s)", "cold (s)", "path / cold", "mean loss, path", "cold", "lowest loss, path", "cold"
    yield from report.header("seed", *heads)
    for seed in flags.seeds:
        train, validation = split(seed)
        start = time.perf_counter()
        path = warm(seed, train, validation)
        middle = time.perf_counter()
        others = cold(seed, train, validation)
        seconds = middle - start, time.perf_counter() - middle
        losses = [record.validation_loss or 0.0 for record in path.records]
        numbers = np.mean(losses), np.mean(others), np.min(losses), np.min(others)
        times = f"{seconds[0]:.1f}", f"{seconds[1]:.1f}", f"{seconds[0] / seconds[1]:.2f}"
        yield report.row(str(seed), *times, *(f"{one:.4f}" for one in numbers))


def split(seed: int) -> tuple[Data, Data]:
    """Return training and validation images and labels of digits.

    Args:
        seed: That of the split.
    """
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    x = (x / 16).astype("float32")
    return (x[order[:TRAINED]], y[order[:TRAINED]]), (x[order[TRAINED:]], y[order[TRAINED:]])


def build(seed: int) -> keras.Model:
    """Return the network, compiled.

    Args:
        seed: That of the weights.
    """
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(UNITS, "relu", kernel_regularizer=keras.regularizers.L1(1.0))
    last = keras.layers.Dense(10, kernel_regularizer=keras.regularizers.L1(1.0))
    model = keras.Sequential([keras.Input((64,)), hidden, last])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_reg.Proximal(keras.optimizers.Adam(RATE)), loss, steps_per_execution=64)
    return model


def warm(seed: int, train: Data, validation: Data) -> RegularizationPath:
    """Return the path.

    Args:
        seed: That of the weights and of the order of the images.
        train: Training images and labels.
        validation: Validation images and labels.
    """
    return tf_reg.regularization_path(
        lambda: build(seed),
        train,
        list(STRENGTHS),
        validation=validation,
        epochs=WARM,
        dense_epochs=EPOCHS,
        batch_size=BATCH,
        seed=seed,
        verbose=0,
    )


def cold(seed: int, train: Data, validation: Data) -> list[float]:
    """Train from the same new weights at each strength, and return the validation losses without the penalty.

    Args:
        seed: That of the weights and of the order of the images.
        train: Training images and labels.
        validation: Validation images and labels.
    """
    model: Any = build(seed)
    optimizer, losses = model.optimizer, []
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    start = [np.array(keras.ops.convert_to_numpy(one)) for one in variables]
    for strength in STRENGTHS:
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        optimizer.strength = strength
        model.fit(*train, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        logits = model.predict(validation[0], batch_size=1024, verbose=0)
        found = keras.losses.sparse_categorical_crossentropy(validation[1], logits, from_logits=True)
        losses.append(float(keras.ops.mean(found)))
    return losses
