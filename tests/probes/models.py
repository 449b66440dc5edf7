"""Probes of what is done with models: compaction, uncertainty, searches, the program and SavedModels."""

import contextlib
import io
import os
import pathlib
import tempfile

import keras
import numpy as np
from keras import layers, optimizers, regularizers

import tf_reg
from tests.probes.network import BACKEND, X, Y, network, probe, proximal, trained, zeros
from tf_reg_cli.errors import UserError


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
