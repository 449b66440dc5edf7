"""Functions of regularizers and optimizers, and TensorFlow 1's names."""

import math

import keras
import numpy as np
from hypothesis import strategies as st
from keras import ops

import tf_reg
from tests.fuzz import penalty_formulas as formulas
from tests.fuzz.domains import (
    POSITIVE,
    STRENGTH,
    Domain,
    is_many,
    made,
    real,
    weights,
)  # fmt: skip
from tests.fuzz.targets import Target
from tests.right_calls import factored

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
    Target("proximal_map", tf_reg.proximal_map, {"regularizer": REGULARIZERS}, ("regularizer",), is_map, partial=True),
    Target("proximal_of", tf_reg.proximal_of, {"optimizer": ANY_OPTIMIZER}, ("optimizer",), is_proximal, partial=True),
    Target("register_prox", tf_reg.register_prox, {"regularizer_class": LEARNED}, ("regularizer_class",)),
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
