"""Dropout layers, callbacks and the optimizer: their constructors, what can be set on them, and configurations."""

import math

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers, ops

import tf_reg
from tests.fuzz.domains import (
    FLAG,
    POSITIVE,
    RATE,
    SHARE,
    STRENGTH,
    TEXT,
    Domain,
    count,
    is_many,
    is_path,
    made,
    number,
    optional,
    real,
    same,
    word,
)  # fmt: skip
from tests.fuzz.penalty_targets import config_of
from tests.fuzz.targets import Target
from tests.right_calls import linear, plan
from tests.tools import ROOT

BLOCK = Domain(
    st.sampled_from([(3, 3), (np.int8(3), [3, 3]), ((1, 5), [1, 5]), ([2, np.int64(1)], [2, 1])]),
    lambda value: is_many(value) or real(value) >= 1,
)
FORMAT = optional(word("channels_last", "channels_first"))
DENSE = made(lambda: layers.Dense(2), lambda: layers.Conv2D(2, 3), could=lambda value: isinstance(value, keras.Layer))
FUNCTION = made(lambda: plan, lambda: max, could=callable)
WARMTH = number(1e-30, 1e30, inside=[0.25, 0.5, 3.0])
WHOLE = count(1, 2, 100)
SIGNED = count(0, 7, least=-math.inf)
X = np.ones((2, 4, 4, 3), "float32")


def drops(layer, given):
    """Inference changes nothing, what training keeps is `x / (1 - rate)`, and the configuration makes an equal one."""
    assert math.isclose(layer.rate, given.get("rate", layer.rate), rel_tol=1e-6), (layer.rate, given)
    again = type(layer).from_config(layer.get_config())
    assert {**again.get_config(), "name": ""} == {**layer.get_config(), "name": ""}
    if layer.__class__ is not tf_reg.DropConnect:
        np.testing.assert_array_equal(ops.convert_to_numpy(layer(X)), X)
        trained = ops.convert_to_numpy(layer(X, training=True))
        kept = trained[trained != 0]
        np.testing.assert_allclose(kept, np.full(kept.shape, 1 / (1 - layer.rate)), rtol=1e-3)


def scales(layer, given):
    """The rows still sum up to 1, and the order of the classes stays."""
    probabilities = np.array([[0.7, 0.2, 0.1]], "float32")
    found = ops.convert_to_numpy(layer(probabilities))
    assert np.all(np.diff(found) <= 0), found
    assert layer.activation == "sigmoid" or math.isclose(found.sum(), 1, rel_tol=1e-4)
    assert math.isclose(layer.temperature, given.get("temperature", layer.temperature), rel_tol=1e-6)


def keeps(*names):
    """What was given is what the object has."""

    def check(made, given):
        for name in names:
            value = getattr(made, name)
            assert not isinstance(value, np.generic), (name, value)
            assert name not in given or value == given[name] or list(value) == list(given[name]), (name, value)

    return check


def is_steered(optimizer, given):
    """The strength and the wrapped optimizer are those that were given."""
    strength = given.get("strength", 1.0)
    assert math.isclose(real(optimizer.strength), strength, rel_tol=1e-6), (optimizer.strength, strength)
    assert optimizer.penalty_factors == given.get("penalty_factors", False)
    assert isinstance(optimizer.inner_optimizer, keras.optimizers.Optimizer)


OPTIMIZER = Domain(
    st.sampled_from(["sgd", "adam", lambda: keras.optimizers.SGD(0.1), lambda: keras.optimizers.Adam(0.1)]).map(
        lambda one: (one if isinstance(one, str) else one(), None)
    ),
    lambda value: isinstance(value, (str, dict, keras.optimizers.Optimizer, type)),
)
SCHEDULES = "a schedule|strength"
LEARNING = Domain(POSITIVE.right, lambda value: callable(value) or POSITIVE.could(value) or isinstance(value, dict))


def set_strength(value):
    optimizer = tf_reg.Proximal("sgd")
    optimizer.strength = value
    return optimizer


def set_built_strength(value):
    optimizer = linear().optimizer
    optimizer.build(linear().trainable_variables)
    optimizer.strength = value
    return optimizer


def set_rate(value):
    layer = tf_reg.StochasticDepth(0.25)
    layer.rate = value
    return layer


def set_temperature(value):
    layer = tf_reg.TemperatureScaling()
    layer.temperature = value
    return layer


def has(attribute):
    def check(made, given):
        assert math.isclose(real(getattr(made, attribute)), given["value"], rel_tol=1e-6)

    return check


def scheduled(value):
    """The strength that a schedule sets."""
    callback = tf_reg.StrengthSchedule(lambda epoch: value)
    callback.set_model(linear())
    callback.on_epoch_begin(0)
    return linear().optimizer


NEEDS = {"value": "strength|rate|temperature"}
FOLDERS = same(st.sampled_from(["checkpoints", ROOT / "checkpoints"]), is_path)
BOUNDS = Domain(
    st.sampled_from([((0.5, 2.0), (0.5, 2.0)), ([np.float32(0.5), 2], (0.5, 2)), ((1, 1), (1, 1))]), is_many
)


def _setter(name, call, domain, attribute):
    return Target(name, call, {"value": domain}, ("value",), check=has(attribute), aliases=NEEDS)


TARGETS = [
    Target(
        "DropBlock2D",
        tf_reg.DropBlock2D,
        {"rate": RATE, "block_size": BLOCK, "data_format": FORMAT, "seed": optional(SIGNED)},
        check=drops,
        partial=True,
    ),
    Target(
        "DropConnect", tf_reg.DropConnect, {"layer": DENSE, "rate": RATE, "seed": optional(SIGNED)}, ("layer",), drops
    ),
    Target(
        "StochasticDepth", tf_reg.StochasticDepth, {"rate": RATE, "seed": optional(SIGNED)}, check=drops, partial=True
    ),
    Target(
        "TemperatureScaling",
        tf_reg.TemperatureScaling,
        {"temperature": WARMTH, "activation": word("softmax", "sigmoid")},
        check=scales,
        partial=True,
    ),
    _setter("StochasticDepth.rate =", set_rate, RATE, "rate"),
    _setter("TemperatureScaling.temperature =", set_temperature, WARMTH, "temperature"),
    Target(
        "DropoutSchedule",
        tf_reg.DropoutSchedule,
        {"schedule": FUNCTION, "layers": TEXT},
        ("schedule",),
        check=keeps("layers"),
    ),
    Target("StrengthSchedule", tf_reg.StrengthSchedule, {"schedule": FUNCTION}, ("schedule",), keeps("schedule")),
    _setter("StrengthSchedule's schedule", scheduled, STRENGTH, "strength"),
    Target(
        "GapController",
        tf_reg.GapController,
        {
            "factor": number(1, math.inf, inside=[1.5, 2.0], closed=False),
            "metric": optional(TEXT),
            "smoothing": RATE,
            "min_delta": STRENGTH,
            "bounds": BOUNDS,
        },
        check=keeps("factor", "metric", "smoothing", "min_delta", "bounds"),
        partial=True,
    ),
    Target("Refit", tf_reg.Refit, {"epochs": WHOLE}, ("epochs",), keeps("epochs")),
    Target(
        "RegularizationLogger",
        tf_reg.RegularizationLogger,
        {
            "per_layer": FLAG,
            "near_zero": POSITIVE,
            "update_freq": Domain(
                st.one_of(WHOLE.right, st.just(("epoch", "epoch"))),
                lambda value: isinstance(value, str) or WHOLE.could(value),
            ),
        },
        check=keeps("per_layer", "near_zero", "update_freq"),
    ),
    Target(
        "Resume",
        tf_reg.Resume,
        {"folder": FOLDERS, "every": optional(WHOLE), "reread": FLAG},
        ("folder",),
        check=keeps("every", "reread"),
        partial=True,
    ),
    Target(
        "Reweight",
        tf_reg.Reweight,
        {
            "every": WHOLE,
            "epsilon": POSITIVE,
            "scale": optional(POSITIVE),
            "start": count(0, 1, 2, least=0),
            "end": optional(count(3, 9)),
        },
        check=keeps("every", "epsilon", "scale", "start", "end"),
        partial=True,
    ),
    Target(
        "StochasticWeightAveraging",
        tf_reg.StochasticWeightAveraging,
        {"epochs": WHOLE, "data": optional(same(st.just(X), lambda value: True))},
        check=keeps("epochs"),
    ),
    Target(
        "TargetSparsity",
        tf_reg.TargetSparsity,
        {
            "target": SHARE,
            "of": word("weights", "groups", "channels"),
            "tolerance": SHARE,
            "refit_epochs": optional(count(0, 3, least=0)),
            "initial": optional(POSITIVE),
            "keep_zeros": optional(FLAG),
            "exact": same(st.just(False), lambda value: isinstance(value, (bool, np.bool_))),
            "round_to": optional(same(st.nothing(), lambda value: False)),
        },
        ("target",),
        check=keeps("target", "tolerance", "of", "refit_epochs", "initial"),
        partial=True,
    ),
    Target("TrainingGuard", tf_reg.TrainingGuard, {"locate": FLAG}, check=keeps("locate"), partial=True),
    Target(
        "Proximal",
        tf_reg.Proximal,
        {
            "inner_optimizer": OPTIMIZER,
            "strength": STRENGTH,
            "name": optional(TEXT),
            "penalty_factors": FLAG,
            "dual_averaging": FLAG,
        },
        ("inner_optimizer",),
        check=is_steered,
    ),
    _setter("Proximal.strength =", set_strength, STRENGTH, "strength"),
    _setter("Proximal.strength = (built)", set_built_strength, STRENGTH, "strength"),
    config_of(tf_reg.DropBlock2D, 0.5, name="a"),
    config_of(tf_reg.DropConnect, layers.Dense(2, name="inner"), 0.5, name="a"),
    config_of(tf_reg.StochasticDepth, 0.5, name="a"),
    config_of(tf_reg.TemperatureScaling, 2.0, name="a"),
    config_of(tf_reg.Proximal, keras.optimizers.SGD(0.125)),
]
