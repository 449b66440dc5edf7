"""The functions that answer at once: on models, tables, numbers, and TensorFlow 1's names."""

import math

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers, ops

import tf_reg
from tests.fuzz import penalty_formulas as formulas
from tests.fuzz.domains import (
    POSITIVE,
    STRENGTH,
    Domain,
    count,
    is_many,
    is_model,
    is_numbers,
    made,
    optional,
    real,
    same,
    weights,
    word,
)  # fmt: skip
from tests.fuzz.targets import Target
from tests.right_calls import COLUMNS, factored, on_columns, table


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


PROBABILITIES = Domain(
    st.builds(
        lambda seed, rows, classes, form: _probabilities(seed, rows, classes, form),
        st.integers(0, 99),
        st.sampled_from([6]),
        st.just(3),
        st.sampled_from(["as it is", "a list", "a tensor", ">f8", "float16", "bfloat16"]),
    ),
    is_numbers,
)
TRUTH = Domain(
    st.sampled_from(
        [
            [0, 1, 2, 0, 1, 2],
            np.array([0, 1, 2, 0, 1, 2], ">i2"),
            np.array([[0], [1], [2], [0], [1], [2]]),
            np.eye(3)[[0, 1, 2, 0, 1, 2]],
            np.array([0, 1, 2, 0, 1, 2], "float16"),
            np.repeat(np.array([0, 1, 2, 0, 1, 2]), 2)[::2],
        ]
    ).map(lambda value: (value, np.array([0, 1, 2, 0, 1, 2]))),
    is_many,
)


def _probabilities(seed, rows, classes, form):
    logits = np.random.default_rng(seed).normal(size=(rows, classes))
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if form == "as it is":
        return exact, exact
    if form == "a list":
        return exact.tolist(), exact
    if form in ("a tensor", "bfloat16"):
        tensor = ops.convert_to_tensor(exact, "float32" if form == "a tensor" else form)
        return tensor, formulas.as_float64(tensor)
    return exact.astype(form), exact.astype(form).astype("float64")


def is_calibration_error(answer, given):
    """The sum over the bins, in NumPy."""
    table, bins = given["probabilities"], given.get("bins", 15)
    confidence, right = table.max(axis=1), table.argmax(axis=1) == given["y_true"]
    place = np.ceil(confidence * bins).astype(int)
    gaps = [abs(right[place == one].sum() - confidence[place == one].sum()) for one in set(place)]
    assert math.isclose(answer, sum(gaps) / len(table), abs_tol=1e-9), (answer, sum(gaps) / len(table))


SOURCE = Domain(
    st.sampled_from(
        [
            COLUMNS,
            {"x": [0, 1, 2, 3], "z": [1.0, 1, 1, 1], "y": [0.5, 1, 2, 4]},
            {"x": np.arange(4, dtype=">i4"), "z": np.ones(8)[::2], "y": np.array([0.5, 1, 2, 4], "float16")},
        ]
    ).map(lambda value: (value, COLUMNS)),
    lambda value: isinstance(value, (dict, str)) or is_many(value) or hasattr(value, "__fspath__"),
)


def keeps_cells(found, given):
    """The numbers of the columns are those that were given."""
    for column in found.columns:
        np.testing.assert_allclose(np.ravel(found.x[column.input_name]), given["source"][column.name])
    if given.get("target") is not None:
        np.testing.assert_allclose(np.ravel(found.y), given["source"][given["target"]])


def is_norm(found, given):
    kernel = np.array(on_columns()[0].layers[-1].kernel, "float64")
    for name, norm in zip(found.names, found.norms, strict=True):
        assert math.isclose(norm, np.linalg.norm(kernel[list(given["groups"][name])]), rel_tol=1e-5, abs_tol=1e-9)


TABLE = made(lambda: table(), could=lambda value: False)
COLUMN_GROUPS = same(st.just(0).map(lambda _: on_columns()[1]), lambda value: isinstance(value, dict))
ON_COLUMNS = made(lambda: on_columns()[0], could=is_model)
NAMES = same(st.sampled_from([(), [], ["z"], ("z",)]), is_many)
REGULARIZERS = made(
    lambda: keras.regularizers.L1(0.1), lambda: tf_reg.MCP(0.1), lambda: None, lambda: 3, could=lambda value: True
)
ANY_OPTIMIZER = made(lambda: factored().optimizer)


def is_map(answer, given):
    """None, or an operator that leaves zeros at zero."""
    assert answer is None or not np.any(ops.convert_to_numpy(answer(np.zeros((3, 2)), 0.5)))
    assert (answer is None) == (type(given.get("regularizer")) not in (keras.regularizers.L1, tf_reg.MCP)) or not given


def is_proximal(answer, given):
    """None, or the `Proximal` that was given."""
    assert answer is None or isinstance(answer, tf_reg.Proximal)
    assert not given or answer is given["optimizer"]


LEARNED = made(lambda: keras.Regularizer, could=lambda value: isinstance(value, type))
SOME_WEIGHTS = Domain(
    st.lists(weights((3,), (2, 2)).right, min_size=1, max_size=3).map(
        lambda pairs: ([np.asarray(p[0]) if isinstance(p[0], list) else p[0] for p in pairs], [p[1] for p in pairs])
    ),
    is_many,
)
TERMS = Domain(
    st.sampled_from([[0.5], [0.5, 0.25], [0.5, None]]).map(
        lambda sizes: ([one and keras.regularizers.L1(one) for one in sizes], sum(one or 0 for one in sizes))
    ),
    is_many,
)
FEW = Domain(
    st.sampled_from([[0.5], [0.5, 0.25]]).map(
        lambda sizes: (tuple(keras.regularizers.L1(one) for one in sizes), sum(sizes))
    ),
    is_many,
)
VARIABLES = made(lambda: [keras.Variable(np.ones(2))], lambda: (keras.Variable(np.ones((1, 2))),), could=is_many)
RATES = Domain(POSITIVE.right, lambda value: callable(value) or POSITIVE.could(value))


def is_elastic(answer, given):
    l1 = given.get("scale_l1", given.get("scale", 1.0))
    assert real(ops.convert_to_tensor(getattr(answer, "l1", l1))) <= l1 * (1 + 1e-6)


def sums(argument):
    """A sum of L1 penalties is the L1 penalty of the sum."""

    def check(answer, given):
        found = formulas.as_float64(answer(ops.convert_to_tensor([3.0, -1.0])))
        assert math.isclose(found, 4 * given[argument], rel_tol=1e-5)

    return check


def is_penalty(answer, given):
    total = sum(np.abs(one).sum() for one in given["weights_list"])
    assert math.isclose(formulas.as_float64(answer), 0.1 * total, rel_tol=6e-2, abs_tol=1e-3)


def steps(answer, given):
    assert answer.built
    assert math.isclose(real(answer.learning_rate), given["learning_rate"], rel_tol=1e-6)


L1S = {"l1_regularization_strength": STRENGTH, "l2_regularization_strength": STRENGTH}
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
    Target("proximal_map", tf_reg.proximal_map, {"regularizer": REGULARIZERS}, ("regularizer",), is_map, partial=True),
    Target("proximal_of", tf_reg.proximal_of, {"optimizer": ANY_OPTIMIZER}, ("optimizer",), is_proximal, partial=True),
    Target("register_prox", tf_reg.register_prox, {"regularizer_class": LEARNED}, ("regularizer_class",)),
    Target(
        "expected_calibration_error",
        tf_reg.expected_calibration_error,
        {"y_true": TRUTH, "probabilities": PROBABILITIES, "bins": count(1, 5, 100)},
        ("y_true", "probabilities"),
        is_calibration_error,
    ),
    Target(
        "read_table",
        tf_reg.read_table,
        {
            "source": SOURCE,
            "target": word("y"),
            "task": optional(word("regression")),
            "categorical": same(st.sampled_from([(), []]), is_many),
            "drop": NAMES,
        },
        ("source", "target"),
        keeps_cells,
        aliases={"source": "table"},
    ),
    Target("column_features", tf_reg.column_features, {"table": TABLE, "least": count(1, 2)}, ("table",)),
    Target(
        "column_norms",
        tf_reg.column_norms,
        {"model": ON_COLUMNS, "groups": COLUMN_GROUPS},
        ("model", "groups"),
        is_norm,
    ),
    Target("tf1.l1_regularizer", tf_reg.tf1.l1_regularizer, {"scale": STRENGTH}, ("scale",), is_elastic),
    Target("tf1.l2_regularizer", tf_reg.tf1.l2_regularizer, {"scale": STRENGTH}, ("scale",), is_elastic),
    Target(
        "tf1.l1_l2_regularizer",
        tf_reg.tf1.l1_l2_regularizer,
        {"scale_l1": STRENGTH, "scale_l2": STRENGTH},
        check=is_elastic,
    ),
    Target(
        "tf1.sum_regularizer",
        tf_reg.tf1.sum_regularizer,
        {"regularizer_list": TERMS},
        ("regularizer_list",),
        sums("regularizer_list"),
    ),
    Target("tf1.SumRegularizer", tf_reg.tf1.SumRegularizer, {"terms": FEW}, ("terms",), sums("terms")),
    Target(
        "tf1.apply_regularization",
        tf_reg.tf1.apply_regularization,
        {"regularizer": made(lambda: keras.regularizers.L1(0.1), could=callable), "weights_list": SOME_WEIGHTS},
        ("regularizer", "weights_list"),
        is_penalty,
    ),
    Target(
        "tf1.ProximalGradientDescentOptimizer",
        tf_reg.tf1.ProximalGradientDescentOptimizer,
        {"learning_rate": RATES, **L1S, "var_list": VARIABLES},
        ("learning_rate", "var_list"),
        steps,
    ),
    Target(
        "tf1.ProximalAdagradOptimizer",
        tf_reg.tf1.ProximalAdagradOptimizer,
        {"learning_rate": RATES, "initial_accumulator_value": POSITIVE, **L1S, "var_list": VARIABLES},
        ("learning_rate", "var_list"),
        steps,
    ),
]
