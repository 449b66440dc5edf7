"""How long `tf_reg.mc_predict` takes, beside Python loops over the model with dropout switched on."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tf_reg
from benchmarks import report, subjects, timing
from tf_reg_cli.errors import UserError

REPEATS = 10

OURS, LOOP, CONTROL, COMPILED = "mc_predict", "loop", "loop, again", "loop of a compiled model"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    subjects.add_flags(parser)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32, 1024], metavar="N", help="(1 32 1024)")
    parser.add_argument("--samples", type=int, default=50, metavar="N", help="draws (default: 50)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag or the data is wrong.
    """
    if flags.samples < 1 or any(size < 1 for size in flags.batch_sizes):
        raise UserError("--samples and --batch-sizes must be 1 or more.")
    yield (
        f"Milliseconds for mean and standard deviation of {flags.samples} draws for one batch. *Loop*: `model(x, "
        "training=True)` in Python, as is; *compiled*: the same of `tf.function(model)`. The last network has spatial "
        f"dropout after its first convolution, so that nearly nothing can be computed once. In turn; medians of "
        f"{flags.repeats} [quartiles]."
    )
    yield ""
    yield from report.header(
        "network, batch", "mc_predict (ms)", "loop / mc_predict", "compiled loop / mc_predict", "loop / loop"
    )
    for batch_size in flags.batch_sizes:
        for name, model, x in _subjects(flags, batch_size):
            yield _row(f"{name}, {batch_size}", model, x, flags)


def _subjects(flags: argparse.Namespace, batch_size: int) -> Iterator[tuple[str, keras.Model, Any]]:
    """Networks with dropout, each with a batch of images."""
    settings: dict[str, dict[str, Any]] = {
        "MLP 1024-1024": {"model": "mlp", "hidden": (1024, 1024), "dropout": 0.5},
        "CNN": {"model": "cnn", "dropout": 0.5},
    }
    for name, options in settings.items():
        _, model, images = subjects.load(flags, batch_size, **options)
        x = next(iter(images.train))[0]
        yield name, model, x
    yield "CNN, dropout throughout", _dropping_early(x.shape[1:], len(images.class_names)), x


def _dropping_early(shape: tuple[int, ...], classes: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.SpatialDropout2D(0.1),
            layers.MaxPooling2D(padding="same"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.SpatialDropout2D(0.1),
            layers.MaxPooling2D(padding="same"),
            layers.Flatten(),
            layers.Dense(128, "relu"),
            layers.Dropout(0.5),
            layers.Dense(classes, "softmax"),
        ]
    )


def _row(name: str, model: keras.Model, x: Any, flags: argparse.Namespace) -> str:
    call = functools.partial(model, training=True)
    loop = functools.partial(_loop, call, x, flags.samples)
    ours = functools.partial(tf_reg.mc_predict, model, x, samples=flags.samples, batch_size=len(x))
    arms: dict[str, Callable[[], Any]] = {
        OURS: ours,
        LOOP: loop,
        COMPILED: functools.partial(_loop, tf.function(call), x, flags.samples),
        CONTROL: loop,
    }
    times = timing.interleave({arm: functools.partial(_seconds, work) for arm, work in arms.items()}, flags.repeats)
    return report.row(
        name,
        timing.Spread.of(times[OURS]).show("{:.2f}", 1000),
        timing.ratio(times, LOOP, OURS).show("{:.2f}"),
        timing.ratio(times, COMPILED, OURS).show("{:.2f}"),
        timing.ratio(times, CONTROL, LOOP).show("{:.3f}"),
    )


def _loop(call: Callable[[Any], Any], x: Any, samples: int) -> tuple[np.ndarray, np.ndarray]:
    draws = np.stack([call(x).numpy() for _ in range(samples)])
    return draws.mean(axis=0), draws.std(axis=0)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()  # what it returns lies in NumPy's memory: the device is done
    return time.perf_counter() - start
