"""Which weights are zero while a model trains: with `tf_reg.Proximal`, and with its dual averaging."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import PiecewiseConstantDecay

import tf_reg
from benchmarks.report import header, row
from tf_reg_cli.errors import UserError

REPEATS = 3
BATCH = 128
TRAINED = 1437  # of the 1,797 images; the others test
PENALTIES = {
    "l1": lambda: keras.regularizers.L1(3e-3),
    "group": lambda: tf_reg.GroupLasso(2e-3, groups="inputs"),
}
OPTIMIZERS = {
    "sgd": lambda rate: keras.optimizers.SGD(rate(0.1), momentum=0.9),
    "adam": lambda rate: keras.optimizers.Adam(rate(0.003)),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags. `--repeats` is the number of seeds."""
    parser.add_argument("--epochs", type=int, default=300, metavar="N", help="5 or more (default: 300)")
    parser.add_argument("--penalties", nargs="+", choices=PENALTIES, default=list(PENALTIES), help="(default: both)")
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS), help="(default: both)")
    parser.add_argument("--file", type=Path, metavar="PATH", help="keep finished runs there, and don't repeat them")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong.
    """
    if flags.epochs < 5:
        raise UserError(f"--epochs must be 5 or more. Received: {flags.epochs}.")
    yield f"{flags.epochs} epochs, batches of {BATCH}. The learning rate falls to 1/10 after 2/5, to 1/100 after 3/5."
    yield "Changes: a weight becomes zero or is zero no more in a step, counted after every step."
    yield ""
    fifths = ["first", "second", "third", "fourth", "last"]
    yield from header("penalty, optimizer, averages, seed", "accuracy", "zeros", "back in the first fifth", *fifths)
    for penalty in flags.penalties:
        for optimizer in flags.optimizers:
            for averages in (False, True):
                for seed in range(flags.repeats):
                    found = _kept((penalty, optimizer, averages, seed, flags.epochs), flags.file)
                    name = f"{penalty}, {optimizer}, {'yes' if averages else 'no'}, {seed}"
                    numbers = (f"{number:,}" for number in (found["back"], *found["changes"]))
                    yield row(name, f"{found['accuracy']:.2%}", f"{found['zeros']:.1%}", *numbers)


def _kept(key: tuple[Any, ...], file: Path | None) -> dict[str, Any]:
    """Return the result of a run: from the file if it is there, else measured and added to the file."""
    known = file.read_text().splitlines() if file is not None and file.exists() else []
    for line in known:
        result = json.loads(line)
        if result["run"] == list(key):
            return result
    result = {"run": list(key), **measure(*key)}
    if file is not None:
        with file.open("a") as lines:
            lines.write(json.dumps(result) + "\n")
    return result


def measure(penalty: str, optimizer: str, averages: bool, seed: int, epochs: int) -> dict[str, Any]:
    """Return what happens to the zeros in a training.

    Args:
        penalty: A key of `PENALTIES`.
        optimizer: A key of `OPTIMIZERS`.
        averages: Whether `Proximal` has `dual_averaging`.
        seed: Of the weights and of the order of the examples.
        epochs: How long to train, 5 or more.
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype("float32"), y[order]
    keras.utils.set_random_seed(seed)
    steps = epochs * -(-TRAINED // BATCH)

    def rate(first: float) -> PiecewiseConstantDecay:
        return PiecewiseConstantDecay([2 * steps // 5, 3 * steps // 5], [first, first / 10, first / 100])

    layers = [
        keras.layers.Dense(64, "relu", kernel_regularizer=PENALTIES[penalty]()),
        keras.layers.Dense(10, "softmax", kernel_regularizer=PENALTIES[penalty]()),
    ]
    model = keras.Sequential([keras.Input((64,)), *layers])
    proximal = tf_reg.Proximal(OPTIMIZERS[optimizer](rate), dual_averaging=averages)
    model.compile(proximal, "sparse_categorical_crossentropy", metrics=["accuracy"])
    counter = ZeroCounter()
    model.fit(x[:TRAINED], y[:TRAINED], batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[counter])
    accuracy = model.evaluate(x[TRAINED:], y[TRAINED:], verbose=0)[1]
    fifths = [part.sum(axis=0) for part in np.array_split(np.array(counter.changes), 5)]
    return {
        "accuracy": accuracy,
        "zeros": float(np.mean(counter.zero)),
        "back": int(fifths[0][1]),
        "changes": [int(part.sum()) for part in fifths],
    }


class ZeroCounter(keras.callbacks.Callback):
    """Counts after every step which weights of kernels have become zero, and which are zero no more.

    Attributes:
        zero: Which weights are zero, boolean, of shape `(weights,)`.
        changes: For each step how many have become zero, and how many have come back.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Look at the first weights."""
        self.changes: list[tuple[int, int]] = []
        self.zero = self._look()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count."""
        zero = self._look()
        self.changes.append((int((zero & ~self.zero).sum()), int((self.zero & ~zero).sum())))
        self.zero = zero

    def _look(self) -> np.ndarray:
        kernels = [keras.ops.convert_to_numpy(layer.kernel) for layer in self.model.layers]
        return np.concatenate([kernel.ravel() == 0 for kernel in kernels])
