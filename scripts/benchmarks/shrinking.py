"""How small `tf_reg.shrink` makes trained networks of Fashion-MNIST, and what that costs on images never seen."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

import tf_reg
from benchmarks import report
from benchmarks.sparse_training import load
from tf_reg.recipes.models import networks
from tf_reg.selection.frontier import Shrunk, size_of
from tf_reg_cli.config import Config

REPEATS = 1
TRAIN, VALIDATION, EPOCHS, BATCH = 10_000, 40_000, 30, 128
RATE = 3e-3  # of Adam, for the search
Arrays = tuple[np.ndarray, np.ndarray]


class Data(NamedTuple):
    """Images `(size, 28, 28, 1)`, uint8, and labels `(size,)`.

    Args:
        train: To train on: of the training images.
        validation: To choose on: others of the training images.
        test: The test images, for the report alone.
    """

    train: Arrays
    validation: Arrays
    test: Arrays


class Row(NamedTuple):
    """What came out of a call of `shrink`.

    Args:
        found: What it returned.
        seconds: How long it took.
        cpu_seconds: The time of all processor cores.
        test: The test accuracy of the original and of the model that was found.
    """

    found: Shrunk
    seconds: float
    cpu_seconds: float
    test: tuple[float, float]

    @property
    def share(self) -> float:
        """The multiply-adds of the model that was found, beside those of the original."""
        return size_of(self.found.model).cost / self.found.original.cost


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="smaller models to try (default: 1)")
    parser.add_argument("--no-distill", action="store_true", help="refit with the labels alone")
    parser.add_argument("--data-dir", metavar="TEXT", help="where TensorFlow Datasets keeps its sets")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/shrink"), metavar="DIR", help="keeps the starting models"
    )


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    data = images(flags.data_dir)
    yield (
        f"{TRAIN:,} training images, {VALIDATION:,} other ones to choose on, all {len(data.test[1]):,} test images for "
        f"the last columns. The starting models were trained before, {EPOCHS} epochs of Adam with a rate that falls "
        "from 0.001 to 0 along a cosine; that isn't timed. CPU time is that of all cores together."
    )
    yield ""
    yield from report.header(
        "network, seed", "multiply-adds", "after", "share", "validation (%)", "after", "at most, points of drop",
        "test (%)", "after", "drop (points)", "candidates", "time (s)", "CPU time (s)",
    )  # fmt: skip
    more = {"candidates": flags.candidates, "distill": not flags.no_distill}
    for network in flags.networks:
        for seed in flags.seeds:
            model = start(network, seed, data.train, flags.folder)
            yield line(f"{network}, {seed}", shrunk(network, model, data, seed, **more))


def line(name: str, row: Row) -> str:
    """Return a row of the table.

    Args:
        name: The network and the seed.
        row: What came out.
    """
    found, (before, after) = row.found, row.test
    chosen = found.chosen
    return report.row(
        name,
        f"{found.original.cost:,}",
        f"{size_of(found.model).cost:,}",
        f"{row.share:.3f}",
        f"{100 * found.score:.2f}",
        "-" if chosen is None else f"{100 * chosen.score:.2f}",
        "-" if chosen is None else f"{100 * chosen.upper:.2f}",
        f"{100 * before:.2f}",
        f"{100 * after:.2f}",
        f"{100 * (before - after):.2f}",
        str(len(found.frontier)),
        f"{row.seconds:.0f}",
        f"{row.cpu_seconds:.0f}",
    )


def images(data_dir: str | None) -> Data:
    """Load Fashion-MNIST and cut its training images, the same way for every seed.

    Args:
        data_dir: Where TensorFlow Datasets keeps its sets.
    """
    loaded = load("fashion_mnist", data_dir, validation=False)
    order = np.random.default_rng(0).permutation(len(loaded.train[1]))
    places = order[:TRAIN], order[TRAIN : TRAIN + VALIDATION]
    train, validation = ((loaded.train[0][one], loaded.train[1][one]) for one in places)
    return Data(train, validation, loaded.test)


def start(network: str, seed: int, train: Arrays, folder: Path) -> keras.Model:
    """Return a trained model, from a file where there is one.

    Args:
        network: Its name in `NETWORKS`.
        seed: Of its weights and of the order of the images.
        train: The training images.
        folder: Where the file lies, or is written to.
    """
    file = folder / f"{network}-{seed}.keras"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(seed)
        model = NETWORKS[network](train[0])
        rate = keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * -(-len(train[1]) // BATCH))
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(*train, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        model.save(file)
    return keras.saving.load_model(file)


def shrunk(network: str, model: keras.Model, data: Data, seed: int, **more: Any) -> Row:
    """Shrink a model by half a point at most.

    Args:
        network: Its name in `NETWORKS`.
        model: The trained model.
        data: The images.
        seed: Of the search.
        **more: What `shrink` takes besides.
    """
    clock, cpu = time.perf_counter(), time.process_time()
    settings = {"optimizer": keras.optimizers.Adam(RATE), **SETTINGS[network], **more}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table shows what was found
        found = tf_reg.shrink(model, data.train, data.validation, max_drop=0.005, seed=seed, verbose=0, **settings)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - cpu
    before, after = (one.evaluate(*data.test, batch_size=1000, verbose=0)[1] for one in (model, found.model))
    return Row(found, seconds, cpu_seconds, (before, after))


def _cnn(pixels: np.ndarray) -> keras.Model:
    """The `cnn` of `scripts/train.py`, with dropout."""
    config = Config(model="cnn", dropout=0.5)
    moments = {"mean": [float(pixels.mean())], "variance": [float(pixels.var())]}
    return networks.build(config, image_shape=(28, 28, 1), classes=10, flippable=True, **moments)


def _resnet8(pixels: np.ndarray) -> keras.Model:
    """Three residual blocks of 8, 16 and 32 channels."""
    inputs = keras.Input((28, 28, 1))
    x = layers.Normalization(mean=[float(pixels.mean())], variance=[float(pixels.var())])(inputs)
    x = layers.ReLU()(_convolved(x, 8))
    for filters, stride in ((8, 1), (16, 2), (32, 2)):
        branch = _convolved(layers.ReLU()(_convolved(x, filters, stride)), filters)
        x = _convolved(x, filters, stride, size=1) if stride > 1 else x
        x = layers.ReLU()(layers.Add()([x, branch]))
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs)


def _convolved(x: keras.KerasTensor, filters: int, stride: int = 1, size: int = 3) -> keras.KerasTensor:
    convolution = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)
    return layers.BatchNormalization()(convolution(x))


NETWORKS = {"cnn": _cnn, "resnet8": _resnet8}
SETTINGS: dict[str, dict[str, Any]] = {
    "cnn": {"refit_epochs": 20},
    "resnet8": {"refit_epochs": 40},
}
