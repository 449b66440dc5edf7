"""Trainings that are interrupted and go on, in this process or, as a program, in one that is killed."""

from __future__ import annotations

import hashlib
import inspect
import os
import signal
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

import tf_reg
from tf_reg.callbacks import checkpoints

EPOCHS, BATCH, SIZE = 6, 16, 104  # the last batch has 8 examples
STEPS = -(-SIZE // BATCH)
AT_ONCE = 1 if keras.backend.backend() == "torch" else 3  # steps an execution, of one kind


class InterruptionError(Exception):
    """Ends a training."""


class At(keras.callbacks.Callback):
    """Call a function after so many batches."""

    def __init__(self, batches, call):
        super().__init__()
        self.batches, self.call, self.seen = batches, call, 0

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.batches:
            self.call()


class Best(keras.callbacks.Callback):
    """A callback of the user's, with attributes of all plain kinds."""

    def __init__(self):
        super().__init__()
        self.seen, self.best, self.by_epoch, self.pair = 0, None, {}, (0, [])

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1

    def on_epoch_end(self, epoch, logs=None):
        self.best = np.minimum(np.inf if self.best is None else self.best, np.float32(logs["loss"]))
        self.by_epoch[epoch] = [np.array([logs["loss"]]), self.seen]
        self.pair = (epoch, [*self.pair[1], logs["loss"]])


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SIZE, 8)).astype("float32")
    return x, np.eye(3, dtype="float32")[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0)]


def dataset(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(SIZE, seed=3).batch(BATCH)


def drawn(x, y):
    """Batches that Python changes, by random numbers that go on from epoch to epoch."""
    import tensorflow as tf

    rng = np.random.default_rng(7)

    def changed():
        order = rng.permutation(SIZE)
        for start in range(0, SIZE, BATCH):
            places = order[start : start + BATCH]
            yield x[places] + rng.normal(0, 0.1, x[places].shape).astype("float32"), y[places]

    kinds = tf.TensorSpec((None, 8), "float32"), tf.TensorSpec((None, 3), "float32")
    made = tf.data.Dataset.from_generator(changed, output_signature=kinds)
    return made.apply(tf.data.experimental.assert_cardinality(STEPS))


class Batches(keras.utils.PyDataset):
    """Batches that are shuffled at the end of each epoch."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.rng = x, y, np.random.default_rng(5)
        self.order = np.arange(SIZE)

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        places = self.order[BATCH * index : BATCH * (index + 1)]
        return self.x[places], self.y[places]

    def on_epoch_end(self):
        self.rng.shuffle(self.order)


def model(penalty=None, optimizer=None, **compiled):
    regularizer = keras.regularizers.L1(3e-3) if penalty is None else penalty
    stack = [
        keras.Input((8,)),
        layers.GaussianNoise(0.1, seed=1),
        layers.Dense(16, activation="relu", kernel_regularizer=regularizer),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Dense(3, activation="softmax"),
    ]
    made = keras.Sequential(stack)
    optimizer = tf_reg.Proximal(keras.optimizers.Adam(1e-2)) if optimizer is None else optimizer
    made.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], **compiled)
    return made


def of_keras(file):
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True, min_delta=0.3)
    slower = keras.callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.5, min_delta=0.05)
    best = keras.callbacks.ModelCheckpoint(str(file.with_suffix(".weights.h5")), save_weights_only=True,
                                           monitor="val_loss", save_best_only=True)  # fmt: skip
    return [stopping, slower, best]


# A model, callbacks, and data, of each kind of training.
KINDS = {
    "keras": (lambda: model(optimizer=keras.optimizers.SGD(0.1, momentum=0.9)), of_keras, lambda x, y: (x, y)),
    "proximal": (model, lambda file: [Best()], dataset),
    "target": (
        lambda: model(keras.regularizers.L1(1e-2)),
        lambda file: [tf_reg.TargetSparsity(0.5, refit_epochs=2)],
        lambda x, y: (x, y),
    ),
    "exact": (
        lambda: model(tf_reg.GroupLasso(1e-2), tf_reg.Proximal(keras.optimizers.SGD(0.05, momentum=0.9))),
        lambda file: [tf_reg.TargetSparsity(0.5, of="groups", exact=True, refit_epochs=1)],
        Batches,
    ),
    "refit": (
        lambda: model(optimizer=tf_reg.Proximal(keras.optimizers.RMSprop(5e-3), penalty_factors=True)),
        lambda file: [tf_reg.Reweight(), tf_reg.Refit(2)],
        drawn,
    ),
    "gap": (
        lambda: model(steps_per_execution=AT_ONCE),
        lambda file: [tf_reg.GapController(), tf_reg.StochasticWeightAveraging(3, data()[0])],
        dataset,
    ),
    "averaging": (
        lambda: model(optimizer=tf_reg.Proximal(keras.optimizers.SGD(0.05, momentum=0.9), dual_averaging=True)),
        lambda file: [tf_reg.DropoutSchedule(lambda epoch: 0.1 * epoch), keras.callbacks.LearningRateScheduler(slower)],
        dataset,
    ),
    "ema": (
        lambda: model(optimizer=keras.optimizers.AdamW(1e-2, use_ema=True, gradient_accumulation_steps=2)),
        lambda file: [keras.callbacks.SwapEMAWeights()],
        lambda x, y: (x, y),
    ),
}


def slower(epoch, rate):
    return rate * 0.9


def train(kind, folder, stop=None, every=None, first=False, epochs=EPOCHS):
    """Train, or go on, and return what tells the result from others: weights, history and the file of a logger.

    Args:
        kind: A name of `KINDS`.
        folder: Where checkpoints go; a folder beside it has the file.
        stop: A callback that ends it, if any.
        every: As in `tf_reg.Resume`.
        first: Whether `tf_reg.Resume` is the first of the callbacks, or the last.
        epochs: How many.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    make, callbacks, batches = KINDS[kind]
    made, (x, y), file = make(), data(), Path(f"{folder}.csv")
    resume = tf_reg.Resume(folder, every, reread=batches in (drawn, Batches))
    table = keras.callbacks.CSVLogger(str(file))
    others = [tf_reg.RegularizationLogger(), *callbacks(file), table]
    others += [] if stop is None else [stop]
    listed = [resume, *others] if first else [*others, resume]
    given = batches(x, y)
    more = {"batch_size": BATCH} if isinstance(given, tuple) else {"shuffle": False}
    arguments = given if isinstance(given, tuple) else (given,)
    try:
        made.fit(*arguments, epochs=epochs, verbose=0, validation_data=(x[:40], y[:40]), callbacks=listed, **more)
    finally:
        table.csv_file.close()  # Keras leaves it open where an exception ends the training
    values = [keras.ops.convert_to_numpy(one) for one in (*made.variables, *made.optimizer.variables)]
    weights = hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in values)).hexdigest()
    return weights, made.history.history, file.read_bytes()


CALLS = {"open": (zipfile.ZipFile, "open"), "fsync": (os, "fsync"), "rename": (os, "replace"), "delete": (os, "unlink")}


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in(name, number):
    """Kill this process at the start of a call of the file system, the so manyth of its kind in checkpoints."""
    owner, attribute = CALLS[name]
    call, seen = getattr(owner, attribute), 0

    def hooked(*arguments, **options):
        nonlocal seen
        if any(frame.filename == checkpoints.__file__ for frame in inspect.stack()):
            seen += 1
            if seen == number:
                kill()
        return call(*arguments, **options)

    setattr(owner, attribute, hooked)


if __name__ == "__main__":
    kind, folder, moment, number, every = sys.argv[1:]
    if moment != "batch":
        kill_in(moment, int(number))
    train(kind, folder, At(int(number), kill) if moment == "batch" else None, every=int(every))
