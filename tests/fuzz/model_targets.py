"""The functions of models that answer at once."""

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers, ops

import tf_reg
from tests.fuzz.domains import (
    POSITIVE,
    STRENGTH,
    Domain,
    count,
    is_many,
    is_model,
    made,
    optional,
    same,
    word,
)  # fmt: skip
from tests.fuzz.targets import Target
from tests.right_calls import factored


def dense(seed=0):
    """A new model with zeros in it."""
    rng = np.random.default_rng(seed)
    names = {"hidden": int(rng.integers(1, 5)), "last": 2}
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(size, name=name) for name, size in names.items())])
    for layer in model.layers:
        layer.kernel.assign(np.where(rng.random(layer.kernel.shape) < 0.3, 0, rng.normal(size=layer.kernel.shape)))
    return model


def convolutional(seed=0):
    """A new model with a penalty."""
    inner = layers.Conv2D(1 + seed % 3, 2, kernel_regularizer="l1", name="hidden")
    return keras.Sequential([keras.Input((3, 3, 1)), inner, layers.Flatten(), layers.Dense(2, name="last")])


def models(*makers):
    """Models that are made for the case."""
    made = st.builds(lambda make, seed: make(seed), st.sampled_from(makers), st.integers(0, 999))
    return same(made, is_model)


MODEL = models(dense, convolutional)
ONE_MODEL = models(dense)


def numbers_of(model):
    return [ops.convert_to_numpy(variable) for variable in model.trainable_variables]


def counts_zeros(report, given):
    """Zeros as NumPy counts them, of each weight and of all."""
    kernels = {layer.name: np.array(layer.kernel) for layer in given["model"].layers if layer.built and layer.weights}
    for path, row in report.layers.items():
        assert row.weights == kernels[path].size
        assert row.zeros == row.weights - np.count_nonzero(kernels[path]), path
    assert set(report.layers) == set(kernels)


def all_counted(report, given):
    assert sum(group.size for group in report.groups) >= 2, report


def keeps_model(plan, given):
    assert plan is not None
    assert str(plan)


def is_cut(model, given):
    """No weight below the threshold is left, and those above it are as they were."""
    if given.get("of", "weights") == "weights":
        for old, new in zip(numbers_of(given["model"]), numbers_of(model), strict=True):
            kept = new != 0
            np.testing.assert_array_equal(new[kept], old[kept])
            assert np.all(np.abs(old[~kept & (old.ndim > 1)]) <= given["value"] + 1e-12)


RULES = Domain(
    st.sampled_from(
        [
            lambda: keras.regularizers.L1(0.1),
            lambda: tf_reg.GroupLasso(0.1),
            lambda: {"last": keras.regularizers.L1(0.1)},
            lambda: {"*/kernel": tf_reg.MCP(0.1)},
            lambda: {layers.Dense: "l2"},
            lambda: "l1",
        ]
    ).map(lambda make: (make(), None)),
    lambda value: isinstance(value, (str, dict)) or callable(value),
)
POLICY = word("error", "ignore")


def lists_rules(found, given):
    """Each weight with a regularizer is in the table, and no other one."""
    there = [one.path.partition("/")[2] for one in given["model"].trainable_variables if one.regularizer is not None]
    assert [row.path for row in found.weights] == there


def none_left(answer, given):
    assert not [row for row in tf_reg.regularizers_of(given["model"]).weights if row.regularizer is not None]


def has_factors(answer, given):
    """A large weight has a small factor, and all of them are finite."""
    for claim in factored().optimizer.factored():
        factors = ops.convert_to_numpy(claim.factor)
        assert np.all(np.isfinite(factors))
        assert np.all(factors >= 0)


TARGETS = [
    Target("sparsity", tf_reg.sparsity, {"model": ONE_MODEL}, ("model",), counts_zeros),
    Target("channels", tf_reg.channels, {"model": MODEL}, ("model",), all_counted),
    Target(
        "plan_compaction",
        tf_reg.plan_compaction,
        {"model": MODEL, "round_to": optional(count(1, 2, 8))},
        ("model",),
        keeps_model,
    ),
    Target(
        "threshold",
        tf_reg.threshold,
        {"model": MODEL, "value": STRENGTH, "of": word("weights", "channels")},
        ("model", "value"),
        is_cut,
    ),
    Target(
        "regularize",
        tf_reg.regularize,
        {"model": ONE_MODEL, "rules": RULES, "unmatched": POLICY, "unsaved": POLICY},
        ("model", "rules"),
        lists_rules,
    ),
    Target("regularizers_of", tf_reg.regularizers_of, {"model": MODEL}, ("model",), lists_rules),
    Target(
        "remove_regularizers", tf_reg.remove_regularizers, {"model": MODEL, "unsaved": POLICY}, ("model",), none_left
    ),
    Target(
        "set_penalty_factors",
        tf_reg.set_penalty_factors,
        {
            "model": made(factored, could=is_model),
            "pilot": made(factored, lambda: factored().get_weights(), could=lambda v: is_model(v) or is_many(v)),
            "gamma": POSITIVE,
            "epsilon": STRENGTH,
            "scale": optional(POSITIVE),
        },
        ("model", "pilot"),
        has_factors,
    ),
]
