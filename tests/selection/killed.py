"""A path and a search for a smaller model, in this process or, as a program, in one that is killed."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import keras
import numpy as np

import tf_reg
from tests.callbacks.resumable import kill
from tests.selection.problems import digits, mlp


def path(folder):
    """Train a path of a small network, and return its strengths, records and weights."""
    x, y = (one[:300] for one in digits())
    found = tf_reg.regularization_path(
        mlp, (x, y), validation=(x[:50], y[:50]), epochs=4, dense_epochs=8, batch_size=50, count=5, folder=folder,
        verbose=0,
    )  # fmt: skip
    records = [(one.zeros, one.train_loss) for one in found.records]
    return list(found.strengths), records, [digest(found.model(place)) for place in range(len(found))]


def shrunk(folder):
    """Look for a smaller model, and return the candidates and their weights."""
    x = np.random.default_rng(0).normal(size=(700, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("int32") + 2 * (x[:, 1] > 0).astype("int32")
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, "relu") for units in (16, 8)]
    model = keras.Sequential([keras.Input((6,)), *hidden, keras.layers.Dense(4, "softmax")])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=5, verbose=0)
    found = tf_reg.shrink(
        model, (x[:300], y[:300]), (x[300:], y[300:]), optimizer=keras.optimizers.Adam(0.02), refit_epochs=2,
        batch_size=60, max_drop=0.2, candidates=3, folder=folder, verbose=0,
    )  # fmt: skip
    said = [(one.number, one.made_from, one.strength, one.score, one.drop, one.p_value) for one in found.frontier]
    return said, [digest(keras.saving.load_model(file, compile=False)) for file in sorted(Path(folder).glob("*.keras"))]


def digest(model):
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in model.get_weights())).hexdigest()


KINDS = {"path": path, "shrink": shrunk}


def kill_at(moment, number):
    """Kill this process after so many batches, or at the start of so manyth call of a kind of the file system."""
    owner, attribute = {
        "batch": (keras.callbacks.CallbackList, "on_train_batch_end"),
        "fsync": (os, "fsync"),
        "rename": (os, "replace"),
    }[moment]
    call, seen = getattr(owner, attribute), 0

    def hooked(*arguments, **options):
        nonlocal seen
        seen += 1
        if seen == number:
            kill()
        return call(*arguments, **options)

    setattr(owner, attribute, hooked)


if __name__ == "__main__":
    kind, folder, moment, number = sys.argv[1:]
    kill_at(moment, int(number))
    KINDS[kind](folder)
