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
    assert_same,
    claimed,
    data,
    lasso,
    matmul,
    on_jax,
    rate_of,
    scan,
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
    """Within 5e-3 of the full-batch optimum; every zero is exact, and none is wrong.

    RMSprop with its usual memory (rho=0.9) ends about 1e-2 away: a batch's gradient makes up a tenth of what it is
    divided by, so large ones count less, and the map's step knows nothing of that.
    """
    import jax

    x, y, penalty, expected = lasso()
    steps, batch = 10_000, 20
    rows = np.random.default_rng(1).integers(SAMPLES, size=(steps, batch))
    xs, ys = jax.numpy.asarray(x), jax.numpy.asarray(y)
    memory = {"rho": 0.999} if name.startswith("rmsprop") else {}
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, "decaying", steps, 0.5), **memory))
    variable = claimed(expected.shape, penalty, optimizer)
    found = scan(variable, optimizer, lambda w, i: 2 * xs[i].T @ (xs[i] @ w - ys[i]) / batch, rows)
    print(name, "zeros", (found == 0).sum(), "of", (expected == 0).sum(), "error", np.abs(found - expected).max())
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert (expected[found == 0] == 0).all()
    assert (found == 0).any()
