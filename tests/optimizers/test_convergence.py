"""Where Proximal converges to, against scikit-learn, in float64.

The whole table of optimizers runs on JAX, where thousands of steps are one compiled loop. One run to the end runs on
every backend.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.linear_model import LogisticRegression

from tests.optimizers.solving import (
    PROBLEMS,
    RATES,
    SAMPLES,
    VARIANTS,
    after_mini_batches,
    assert_same,
    data,
    matmul,
    on_jax,
    rate_of,
    solve,
    squares_slope,
)
from tf_reg.optimizers.proximal import Proximal

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]


@on_jax
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("name", "kind"), RATES)
def test_equals_scikit_learn(name, kind, problem):
    x, y, penalty, expected = PROBLEMS[problem]()
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, kind, 6000)))
    assert_same(solve(penalty, optimizer, squares_slope(x, y), expected.shape, 6000), expected)


@on_jax
@pytest.mark.parametrize(("name", "kind"), RATES)
def test_logistic_regression_equals_scikit_learn(name, kind):
    """liblinear minimises `sum |w| + C * sum of losses`: `L1(1 / (C n))` beside the mean loss."""
    x, y = data()
    labels = (y > 0).astype("float64")
    c = 0.2
    solver = LogisticRegression(l1_ratio=1.0, C=c, fit_intercept=False, solver="liblinear", tol=1e-12, max_iter=10_000)
    expected = solver.fit(x, labels).coef_[0]
    x, labels = ops.convert_to_tensor(x), ops.convert_to_tensor(labels)

    def slope(w):
        return matmul(ops.transpose(x), ops.sigmoid(matmul(x, w)) - labels) / SAMPLES

    factor = 5.0 if name in ("sgd", "momentum", "nesterov") else 1.0
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, kind, 8000, factor)))
    penalty = keras.regularizers.L1(1 / (c * SAMPLES))
    assert_same(solve(penalty, optimizer, slope, expected.shape, 8000), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "problem"), [("momentum", "multi_task_lasso"), ("adam", "lasso")])
def test_equals_scikit_learn_on_every_backend(name, problem):
    x, y, penalty, expected = PROBLEMS[problem]()
    optimizer = Proximal(VARIANTS[name][1](VARIANTS[name][0]))
    assert_same(solve(penalty, optimizer, squares_slope(x, y), expected.shape, 1500), expected)


@on_jax
@pytest.mark.parametrize("name", VARIANTS)
def test_mini_batches_with_a_decaying_rate(name):
    """Within 5e-3 of the full-batch optimum; every zero is exact, and none is wrong."""
    found, expected = after_mini_batches(name, Proximal)
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert (expected[found == 0] == 0).all()
    assert (found == 0).any()
