"""What works on the backend of this process: a small probe for each row of the table in docs/backends.md, told as JSON.

Run as `KERAS_BACKEND=torch python -m tests.backend_probes`. A probe returns its cell: "yes", or "yes: " and a limit. A
sentence of tf_reg that refuses becomes "refused: " and the sentence, and every other error "failed: " and its words.
"""

import contextlib
import functools
import io
import json
import os
import pathlib
import sys
import tempfile

import keras
import numpy as np
from keras import layers, optimizers, regularizers

import tf_reg
from tf_reg import _xla
from tf_reg_cli.errors import UserError

BACKEND = keras.backend.backend()
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(192, 8)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype("int32") + (X[:, 2] > 0)  # five inputs of eight say nothing
PROBES = {}


def probe(*rows):
    """Make a function the probe of a row, or of several, whose names are its argument then."""

    def add(function):
        for row in rows:
            PROBES[row] = functools.partial(function, row) if len(rows) > 1 else function
        return function

    return add


def network(penalty=None, rate=0.0):
    hidden = [layers.Dense(16, "relu", kernel_regularizer=penalty), layers.Dropout(rate)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(3, "softmax")])


def trained(optimizer, penalty=None, epochs=10, callbacks=(), model=None, **options):
    """A network whose loss has fallen in `fit`."""
    model = model or network(penalty)
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    history = model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=list(callbacks)).history
    assert history["loss"][-1] < history["loss"][0], history["loss"]
    assert np.isfinite(model.predict(X, verbose=0)).all()
    return model


def zeros(model):
    return tf_reg.sparsity(model).total.zeros


def proximal(rate=0.02, strength=1.0):
    return tf_reg.Proximal(optimizers.Adam(rate), strength)


INNER = {
    "`Proximal(SGD)`, with momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "`Proximal(Adam)`": lambda: optimizers.Adam(0.02),
    "`Proximal(AdamW)`": lambda: optimizers.AdamW(0.02),
    "`Proximal(RMSprop)`": lambda: optimizers.RMSprop(0.01),
    "`Proximal(Adagrad)`": lambda: optimizers.Adagrad(0.1),
}


@probe(*INNER)
def inner_optimizers(row):
    assert zeros(trained(tf_reg.Proximal(INNER[row]()), regularizers.L1(0.02))) > 16
    assert zeros(trained(INNER[row](), regularizers.L1(0.02))) == 0  # without Proximal there is none
    return "yes"


@probe("another inner optimizer")
def other_inner_optimizers():
    tf_reg.Proximal(optimizers.Lion(1e-3))
    return "yes"


@probe("the step as one kernel")
def one_kernel():
    taken, run = [], _xla.Kernels.run
    _xla.Kernels.run = lambda *args, **options: (taken.append(1), run(*args, **options))[1]
    before, _xla.WORTH_COMPILING = _xla.WORTH_COMPILING, 1
    try:
        trained(proximal(), regularizers.L1(0.02))
    finally:
        _xla.Kernels.run, _xla.WORTH_COMPILING = run, before
    if taken:
        return "yes"
    return "yes: JAX compiles the whole step" if BACKEND == "jax" else "yes: operation by operation"


PENALTIES = {
    "`GroupLasso`, `SparseGroupLasso`": lambda: [tf_reg.GroupLasso(0.02), tf_reg.SparseGroupLasso(0.02, 0.02)],
    "`MCP`, `SCAD`, `LogSum`, `Lq`": lambda: [
        tf_reg.MCP(0.02), tf_reg.SCAD(0.02), tf_reg.LogSum(0.02), tf_reg.Lq(0.002)
    ],
}  # fmt: skip


@probe(*PENALTIES)
def penalties(row):
    for penalty in PENALTIES[row]():
        assert zeros(trained(proximal(), penalty, epochs=20)) > 8, penalty
    return "yes"


@probe("`ChannelLasso`")
def channel_lasso():
    model = network()
    tf_reg.regularize(model, {"dense*": tf_reg.ChannelLasso(0.05)})
    model = trained(proximal(), epochs=30, model=model)
    assert tf_reg.compact(model).count_params() < model.count_params()
    return "yes"


@probe("dual averaging (RMDA, RAMDA)")
def dual_averaging():
    for inner in (optimizers.SGD(0.1, momentum=0.9), optimizers.Adam(0.02)):
        assert zeros(trained(tf_reg.Proximal(inner, dual_averaging=True), regularizers.L1(0.02), epochs=20)) > 16
    return "yes"


@probe("`RegularizationLogger`")
def logger():
    model = trained(proximal(), regularizers.L1(0.02), callbacks=[tf_reg.RegularizationLogger()])
    assert np.isclose(model.history.history["sparsity"][-1], tf_reg.sparsity(model).total.sparsity)
    return "yes"


@probe("`TargetSparsity`")
def target_sparsity():
    model = trained(proximal(), regularizers.L1(1e-3), 40, [tf_reg.TargetSparsity(0.5)])
    assert abs(zeros(model) / 128 - 0.5) < 0.05  # of the weights that pay
    return "yes"


@probe("an exact budget, `TargetSparsity(exact=True)`")
def exact_budget():
    model = trained(proximal(), regularizers.L1(1e-3), 40, [tf_reg.TargetSparsity(0.5, exact=True)])
    assert zeros(model) == 64  # half of the weights that pay
    return "yes"


class Stops(keras.callbacks.Callback):
    """Ends the training as a Ctrl-C does."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


@probe("`Resume`, to the last bit")
def resume():
    def ended(folder, *more):
        keras.utils.set_random_seed(1)
        callbacks = [tf_reg.Resume(folder), *more]
        with contextlib.suppress(KeyboardInterrupt):
            trained(proximal(), epochs=6, callbacks=callbacks, model=(model := network(regularizers.L1(0.01), 0.2)))
        return model.get_weights()

    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as cut:
        wanted, half = ended(whole), ended(cut, Stops())
        found = ended(cut)
    assert not all(np.array_equal(one, other) for one, other in zip(wanted, half, strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(wanted, found, strict=True))
    return "yes"


@probe("averages of the weights, with zeros")
def averages():
    model = trained(proximal(), regularizers.L1(0.02), 10, [tf_reg.StochasticWeightAveraging(3)])
    moving = tf_reg.Proximal(optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9))
    assert zeros(model) > 16
    assert zeros(trained(moving, regularizers.L1(0.02), 20)) > 8
    return "yes"


@probe("`compact`, `threshold`")
def compaction():
    model = trained(proximal(), tf_reg.GroupLasso(0.03), 20)
    small = tf_reg.compact(model)
    assert small.count_params() < model.count_params()
    np.testing.assert_allclose(small.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5)
    assert zeros(tf_reg.threshold(model, 0.1)) > zeros(model)
    return "yes"


@probe("`mc_predict`")
def sureness():
    model = trained(proximal(), model=network(rate=0.5))
    first, again = (tf_reg.mc_predict(model, X, samples=5, seed=0) for _ in range(2))
    assert first.spread.max() > 0.01
    np.testing.assert_array_equal(first.spread, again.spread)
    return "yes"


@probe("`calibrate`")
def temperature():
    model = trained(proximal())
    calibrated = tf_reg.calibrate(model, X, Y)
    both = [one.predict(X, verbose=0) for one in (model, calibrated)]
    np.testing.assert_array_equal(*(one.argmax(1) for one in both))
    assert not np.allclose(*both, atol=1e-4)
    return "yes"


def linear():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(1, kernel_regularizer=regularizers.L1(1.0))])
    model.compile(tf_reg.Proximal(optimizers.SGD(0.05, momentum=0.9)), "mse")
    return model


@probe("`regularization_path`, `cross_validate`")
def search():
    data = X, X[:, :1] - X[:, 1:2]
    path = tf_reg.regularization_path(linear, data, strengths=[0.5, 0.1], validation=data, epochs=20, verbose=0)
    chosen = tf_reg.cross_validate(linear, data, [1.0, 0.1], splitter=2, epochs=20, verbose=0)
    assert len(path.rows) >= 2
    assert len(chosen.rows) >= 2
    return "yes"


@probe("`shrink`")
def shrinking():
    model = trained(optimizers.Adam(0.01), epochs=30, metrics=["accuracy"])
    settings = {"optimizer": optimizers.Adam(5e-3), "batch_size": 32, "refit_epochs": 5, "candidates": 1}
    found = tf_reg.shrink(model, (X, Y), (X, Y), max_drop=0.2, **settings, verbose=0)
    assert found.model.count_params() <= model.count_params()
    assert len(found.frontier) == 1
    return "yes"


def command(*words):
    """What `tf-reg` ends with, in an empty folder."""
    from tf_reg_cli.main import main

    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    if code:
        raise UserError(err.getvalue().strip().splitlines()[-1])


TRAIN = ["train", "--reg", "l1", "--epochs", 3, "--train-size", 300, "--quiet", "--no-baseline"]


@probe("`tf-reg train` on images, with a SavedModel")
def training_program():
    command(*TRAIN)
    assert (pathlib.Path("saved_models/digits-mlp-l1/1/saved_model.pb")).is_file()
    return "yes"


@probe("`tf-reg train --steps-per-execution 4`")
def steps_per_execution():
    command(*TRAIN, "--steps-per-execution", 4, "--name", "four")
    return "yes"


@probe("a table with columns of text")
def table_of_text():
    table = tf_reg.read_table({"a": list("xyz") * 20, "b": list(range(60)), "t": [0.5, 1.5, 2.5] * 20}, "t")
    tf_reg.column_features(table)
    return "yes"


@probe("`export` to a SavedModel")
def saved_model():
    with tempfile.TemporaryDirectory() as folder:
        path = tf_reg.export(trained(proximal()), os.path.join(folder, "m"))
        assert (path / "saved_model.pb").is_file()
    return "yes" if BACKEND == "tensorflow" else "yes: written by a process that runs TensorFlow"


@probe("`export` of a model that takes strings")
def strings():
    taken = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    model = keras.Sequential([keras.Input((1,), dtype="string"), taken, layers.Dense(3, "softmax")])
    with tempfile.TemporaryDirectory() as folder:
        tf_reg.export(model, os.path.join(folder, "m"), examples=np.array([["a"], ["b"]]))
    return "yes"


@probe("`jit_compile=True`")
def jit():
    assert zeros(trained(proximal(), regularizers.L1(0.02), jit_compile=True)) > 16
    return "yes"


@probe("`mixed_bfloat16`", "`mixed_float16`")
def precision(row):
    keras.config.set_dtype_policy(row.strip("`"))
    try:
        assert zeros(trained(proximal(), regularizers.L1(0.02), 20)) > 16
    finally:
        keras.config.set_dtype_policy("float32")
    return "yes"


def cell(row):
    """What a probe says, in one line."""
    keras.utils.set_random_seed(0)
    try:
        return PROBES[row]()
    except (ValueError, UserError) as error:
        return "refused: " + " ".join(str(error).split())
    except Exception as error:
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:400]}"


def main():
    out = sys.stdout
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for row in sys.argv[1:] or PROBES:
            with contextlib.redirect_stdout(sys.stderr):
                said = cell(row)
            print(json.dumps([row, said]), file=out, flush=True)


if __name__ == "__main__":
    main()
