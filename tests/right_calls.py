"""A right value of every argument that must be given to each public function and class."""

import functools
import uuid

import keras
import numpy as np
from keras import layers

import tf_reg


@functools.cache
def model():
    return keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(2, name="dense")])


@functools.cache
def factored():
    made = keras.Sequential([keras.Input((4,)), layers.Dense(2, kernel_regularizer="l1")])
    made.compile(tf_reg.Proximal("sgd", penalty_factors=True), "mse")
    return made


@functools.cache
def classifier():
    made = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(2, "softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


DATA = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12.0)


@functools.cache
def linear():
    made = keras.Sequential([keras.Input((4,)), layers.Dense(1, kernel_regularizer="l1")])
    made.compile(tf_reg.Proximal("sgd"), "mse")
    return made


COLUMNS = {"x": np.arange(4.0), "z": np.ones(4), "y": np.array([0.5, 1, 2, 4])}


@functools.cache
def table():
    return tf_reg.read_table(COLUMNS, "y")


@functools.cache
def on_columns():
    features = tf_reg.column_features(table())
    return keras.Model(features.inputs, layers.Dense(1)(features.outputs)), features.groups


CHOSEN = {
    "build_model": lambda: linear,
    "data": lambda: DATA,
    "strengths": lambda: [1e3],
    "epochs": lambda: 2,
    "verbose": lambda: 0,
}


def plan(epoch):
    return 0.5


L1 = keras.regularizers.L1(0.1)
VARIABLES = {"var_list": lambda: [keras.Variable(np.ones(2))]}
# A right value of every argument that must be given, by name; those of a function are called.
CALLS = {
    "ChannelLasso": {},
    "ChannelPenalty": {"penalty": lambda: tf_reg.GroupLasso(0.1)},
    "ColumnLasso": {"strength": lambda: 0.1, "groups": lambda: [[0], [1, 2]]},
    "DropBlock2D": {},
    "DropConnect": {"layer": lambda: layers.Dense(2)},
    "DropoutSchedule": {"schedule": lambda: plan},
    "GapController": {},
    "GroupLasso": {},
    "LogSum": {},
    "Lq": {},
    "MCP": {},
    "Proximal": {"inner_optimizer": lambda: keras.optimizers.SGD(0.1)},
    "Refit": {"epochs": lambda: 2},
    "RegularizationLogger": {},
    "Resume": {"folder": lambda: "checkpoints"},
    "Reweight": {},
    "SCAD": {},
    "SparseGroupLasso": {},
    "StochasticDepth": {},
    "StochasticWeightAveraging": {},
    "StrengthSchedule": {"schedule": lambda: plan},
    "TargetSparsity": {"target": lambda: 0.5},
    "TemperatureScaling": {},
    "TrainingGuard": {},
    "channels": {"model": model},
    "calibrate": {"model": classifier, "x": lambda: np.ones((4, 4)), "y": lambda: np.arange(4) % 2},
    "column_features": {"table": lambda: table()},
    "column_norms": {"model": lambda: on_columns()[0], "groups": lambda: on_columns()[1]},
    "compact": {"model": model},
    "expected_calibration_error": {"y_true": lambda: [0, 1], "probabilities": lambda: np.full((2, 2), 0.5)},
    "plan_compaction": {"model": model},
    "mc_predict": {"model": model, "x": lambda: np.ones((2, 4)), "samples": lambda: 2},
    "proximal_map": {"regularizer": lambda: L1},
    "proximal_of": {"optimizer": lambda: keras.optimizers.SGD(0.1)},
    "read_table": {"source": lambda: COLUMNS},
    "register_prox": {"regularizer_class": lambda: keras.Regularizer},
    "regularize": {"model": model, "rules": lambda: L1},
    "regularizers_of": {"model": model},
    "remove_regularizers": {"model": model},
    "self_check": {"model": model},
    "set_penalty_factors": {"model": factored, "pilot": factored},
    "lambda_max": {"model": linear, "data": lambda: DATA},
    "regularization_path": CHOSEN,
    "cross_validate": CHOSEN,
    "stability_selection": CHOSEN | {"samples": lambda: 2},
    "shrink": {
        "model": classifier,
        "train": lambda: (np.ones((8, 4)), np.ones(8, "int32")),
        "validation": lambda: (np.ones((64, 4)), np.ones(64, "int32")),
        "max_drop": lambda: 0.5,
        "candidates": lambda: 1,
        "refit_epochs": lambda: 1,
    },
    "report": {
        "result": lambda: tf_reg.regularization_path(linear, DATA, [1e3], epochs=2, verbose=0),
        "file": lambda: f"{uuid.uuid4()}.html",
    },
    "sparsity": {"model": model},
    "threshold": {"model": model, "value": lambda: 0.1},
    "tf1.l1_regularizer": {"scale": lambda: 0.1},
    "tf1.l2_regularizer": {"scale": lambda: 0.1},
    "tf1.l1_l2_regularizer": {},
    "tf1.sum_regularizer": {"regularizer_list": lambda: [L1]},
    "tf1.SumRegularizer": {"terms": lambda: [L1]},
    "tf1.apply_regularization": {"regularizer": lambda: L1, "weights_list": lambda: [np.ones(2)]},
    "tf1.ProximalGradientDescentOptimizer": {"learning_rate": lambda: 0.1, **VARIABLES},
    "tf1.ProximalAdagradOptimizer": {"learning_rate": lambda: 0.1, **VARIABLES},
}
