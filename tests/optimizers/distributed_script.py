"""Train a model on several devices as a user writes it, and print how far its weights are from those of one device."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

import keras
import numpy as np

import tf_reg

EXAMPLES, BATCH, EPOCHS = 40, 20, 10
MODES = ("none", "l2", "l1", "group", "channels")


def regularizer(mode: str):
    made = {"l2": keras.regularizers.L2(0.01), "l1": keras.regularizers.L1(0.01), "group": tf_reg.GroupLasso(0.01)}
    return made.get(mode)


def model_of(mode: str, optimizer: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(8, "relu", kernel_regularizer=regularizer(mode), name="first"),
        keras.layers.Dense(3, kernel_regularizer=regularizer(mode), name="last"),
    ]
    model = keras.Sequential([keras.Input((6,)), *layers])
    if mode == "channels":
        tf_reg.regularize(model, tf_reg.ChannelLasso(0.01))
    inner = {"sgd": keras.optimizers.SGD(0.05, momentum=0.9), "adam": keras.optimizers.Adam(0.01)}[optimizer]
    model.compile(
        inner if mode == "none" else tf_reg.Proximal(inner), "mse", jit_compile=keras.backend.backend() == "jax"
    )
    return model


def data(batch: int, part: slice):
    """The rows of a process of each batch, in order."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    x, y = (random.normal(size=(EXAMPLES, width)).astype(keras.config.floatx()) for width in (6, 3))
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch, drop_remainder=True)
    return batches.map(lambda x, y: (x[part], y[part]))


def train(mode: str, optimizer: str, scope, part: slice, folder: str):
    with scope():
        model = model_of(mode, optimizer)
        callbacks = [tf_reg.RegularizationLogger(), tf_reg.Resume(folder)]
        if mode not in ("none", "l2") and keras.config.floatx() == "float64":  # a search reacts to a rounding
            of = "channels" if mode == "channels" else "groups" if mode == "group" else "weights"
            callbacks.insert(0, tf_reg.TargetSparsity(0.3, of=of, tolerance=0.2))
        found = model.fit(data(BATCH, part), epochs=EPOCHS, verbose=0, shuffle=False, callbacks=callbacks)
    return [*map(np.asarray, model.get_weights())], found.history


def apart(one, other) -> float:
    """The largest difference of weights, and of what is logged of an epoch."""
    (weights, logs), (others, other_logs) = one, other
    assert logs.keys() == other_logs.keys()
    pairs = [*zip(weights, others, strict=True), *((logs[key], other_logs[key]) for key in logs)]
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)


def several():
    """The scope of several devices, and the rows of this process."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope, slice(None)
    import jax

    rows = BATCH // jax.process_count()
    own = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    return keras.distribution.DataParallel(auto_shard_dataset=False).scope, own


def main() -> None:
    optimizer, floatx, coordinator, number, *modes = sys.argv[1:]
    keras.config.set_floatx(floatx)
    if coordinator != "-":
        keras.distribution.initialize(coordinator, 2, int(number))
    scope, part = several()
    with tempfile.TemporaryDirectory() as alone:
        for mode in modes:
            found = train(mode, optimizer, scope, part, os.path.join("checkpoints", mode))
            np.savez(f"{mode}-{number}.npz", *found[0])
            one = train(mode, optimizer, contextlib.nullcontext, slice(None), os.path.join(alone, mode))
            print(mode, apart(found, one), flush=True)


if __name__ == "__main__":
    main()
