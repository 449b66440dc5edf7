"""Where Proximal ends up, against scikit-learn and against the optimality conditions, in float64.

The whole table of optimizers runs on JAX, where thousands of steps are one compiled loop. On every backend: 50 steps
equal to the maps written out in numpy, and one run to the end.
"""

from __future__ import annotations

import functools
import operator

import keras
import numpy as np
import pytest
from keras import ops, optimizers
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, MultiTaskLasso

from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="a compiled loop over the steps is JAX's")

# Keras' own on torch computes in float32 whatever it is given; on TensorFlow the operator wants matrices.
matmul = operator.matmul if keras.backend.backend() == "torch" else ops.matmul

SAMPLES, FEATURES, TASKS, ALPHA = 200, 50, 4, 0.1


def decay(rate, steps):
    """From `rate` to a thousandth of it."""
    return optimizers.schedules.ExponentialDecay(rate, 1, 1e-3 ** (1 / steps))


# A learning rate for thousands of steps on this data, and the optimizer. What RMSprop divides by follows the gradient
# within ten steps, so near a weight whose gradient is small its steps grow; centered, they grow everywhere in a full
# batch, as the variance goes to zero. It converges with a decaying rate, or with a larger epsilon, which bounds them.
VARIANTS = {
    "sgd": (0.1, optimizers.SGD),
    "momentum": (0.05, functools.partial(optimizers.SGD, momentum=0.9)),
    "nesterov": (0.05, functools.partial(optimizers.SGD, momentum=0.9, nesterov=True)),
    "adam": (0.05, optimizers.Adam),
    "amsgrad": (0.05, functools.partial(optimizers.Adam, amsgrad=True)),
    "adamw": (0.05, functools.partial(optimizers.AdamW, weight_decay=0.0)),
    "rmsprop": (0.01, functools.partial(optimizers.RMSprop, epsilon=1e-4)),
    "rmsprop_momentum": (0.005, functools.partial(optimizers.RMSprop, momentum=0.9)),
    "rmsprop_centered": (0.01, functools.partial(optimizers.RMSprop, centered=True)),
    "rmsprop_centered_momentum": (
        0.005,
        functools.partial(optimizers.RMSprop, centered=True, momentum=0.9, epsilon=1e-2),
    ),
    "adagrad": (1.0, optimizers.Adagrad),
}
CONSTANT = [name for name in VARIANTS if name != "rmsprop_centered"]
RATES = [(name, "constant") for name in CONSTANT] + [(name, "decaying") for name in VARIANTS]


@pytest.fixture(autouse=True)
def _float64():
    keras.config.set_floatx("float64")
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    yield
    keras.config.set_floatx("float32")
    if keras.backend.backend() == "jax":
        jax.config.update("jax_enable_x64", False)


@functools.cache
def data(tasks=None):
    """Random features, and targets that a few of them explain."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, FEATURES))
    true = np.zeros((FEATURES, tasks or 1))
    true[rng.choice(FEATURES, 9, replace=False)] = 2 * rng.normal(size=(9, tasks or 1))
    y = x @ true + 0.5 * rng.normal(size=(SAMPLES, tasks or 1))
    return x, y if tasks else y[:, 0]


# What scikit-learn solves, as a penalty in Keras' terms beside the mean squared error: 2 alpha, see docs/migration.md.
def lasso():
    x, y = data()
    found = Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y).coef_
    return x, y, keras.regularizers.L1(2 * ALPHA), found


def elastic_net():
    x, y = data()
    solver = ElasticNet(alpha=ALPHA, l1_ratio=0.6, fit_intercept=False, tol=1e-14, max_iter=100_000)
    return x, y, keras.regularizers.L1L2(2 * ALPHA * 0.6, ALPHA * 0.4), solver.fit(x, y).coef_


def multi_task_lasso():
    """`alpha * sum of row norms` beside `1/2n` squares: the mean over samples and tasks is `1/(n tasks)` squares."""
    x, y = data(TASKS)
    solver = MultiTaskLasso(alpha=3 * ALPHA, fit_intercept=False, tol=1e-14, max_iter=100_000)
    penalty = GroupLasso(2 * 3 * ALPHA / TASKS, groups="inputs", size_weights=False)
    return x, y, penalty, solver.fit(x, y).coef_.T


PROBLEMS = {"lasso": lasso, "elastic_net": elastic_net, "multi_task_lasso": multi_task_lasso}


def squares_slope(x, y):
    """The gradient of the mean squared error."""
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    return lambda w: 2 * matmul(ops.transpose(x), matmul(x, w) - y) / ops.cast(ops.size(y), "float64")


def claimed(shape, penalty, optimizer):
    variable = keras.Variable(np.zeros(shape), dtype="float64")
    variable.regularizer = penalty
    optimizer.build([variable])
    return variable


def solve(penalty, optimizer, slope, shape, steps):
    """Full-batch training from zero. On JAX in one compiled loop."""
    variable = claimed(shape, penalty, optimizer)
    if keras.backend.backend() != "jax":
        for _ in range(steps):
            optimizer.apply([slope(ops.stop_gradient(variable))], [variable])
        return ops.convert_to_numpy(variable)
    return scan(variable, optimizer, lambda w, _: slope(w), np.arange(steps))


def scan(variable, optimizer, slope, inputs):
    import jax

    def step(state, seen):
        trainable, own = state
        return optimizer.stateless_apply(own, [slope(trainable[0], seen)], trainable), None

    start = [variable.value], [own.value for own in optimizer.variables]
    (trainable, _), _ = jax.jit(lambda state: jax.lax.scan(step, state, inputs))(start)
    return np.asarray(trainable[0])


def rate_of(name, kind, steps, factor=1.0):
    rate = VARIANTS[name][0] * factor
    return rate if kind == "constant" else decay(rate, steps)


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert 0 < (expected == 0).sum() < expected.size


@on_jax
@pytest.mark.contract
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("name", "kind"), RATES)
def test_equals_scikit_learn(name, kind, problem):
    x, y, penalty, expected = PROBLEMS[problem]()
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, kind, 6000)))
    assert_same(solve(penalty, optimizer, squares_slope(x, y), expected.shape, 6000), expected)


@on_jax
@pytest.mark.contract
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


@pytest.mark.contract
@pytest.mark.slow
@pytest.mark.parametrize("name", ["momentum", "adam"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_equals_scikit_learn_on_every_backend(name, problem):
    x, y, penalty, expected = PROBLEMS[problem]()
    optimizer = Proximal(VARIANTS[name][1](VARIANTS[name][0]))
    assert_same(solve(penalty, optimizer, squares_slope(x, y), expected.shape, 1500), expected)


# The rules of Keras' optimizers with the step in their own metric, once more, in numpy and for one variable.
def by_hand(name, penalty, slope, shape, steps):
    options = VARIANTS[name][1].keywords if isinstance(VARIANTS[name][1], functools.partial) else {}
    momentum, nesterov = options.get("momentum", 0.0), options.get("nesterov", False)
    schedule = rate_of(name, "decaying", steps)
    w, m, v, mean, top, tau = (np.zeros(shape) for _ in range(6))
    v = v + 0.1 if name == "adagrad" else v
    for t in range(1, steps + 1):
        g = slope(w)
        lr = float(ops.convert_to_numpy(schedule(t - 1)))  # on TensorFlow a schedule computes in float32
        if name in ("adam", "adamw", "amsgrad"):
            m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
            top = np.maximum(top, v)
            step = lr * np.sqrt(1 - 0.999**t) / (np.sqrt(top if name == "amsgrad" else v) + 1e-7)
            moved, tau = step * m / (1 - 0.9**t), step
        else:
            if name.startswith("rmsprop"):
                v, mean = 0.9 * v + 0.1 * g * g, 0.9 * mean + 0.1 * g
                under = v - mean * mean if "centered" in name else v
                factor = 1 / np.sqrt(under + options.get("epsilon", 1e-7))
            elif name == "adagrad":
                v = v + g * g
                factor = 1 / np.sqrt(v + 1e-7)
            else:
                factor = 1.0
            m, tau = momentum * m + lr * factor * g, momentum * tau + lr
            moved = momentum * m + lr * factor * g if nesterov else m
            step = (momentum * tau + lr if nesterov else tau) * factor
        w = w - moved
        w = np.sign(w) * np.maximum(np.abs(w) - step * penalty, 0)
    return w


@pytest.mark.contract
@pytest.mark.parametrize("name", VARIANTS)
def test_fifty_steps_are_the_same_on_every_backend(name):
    x, y = data()
    expected = by_hand(name, 0.2, lambda w: 2 * x.T @ (x @ w - y) / SAMPLES, (FEATURES,), 50)
    optimizer = Proximal(VARIANTS[name][1](rate_of(name, "decaying", 50)))
    found = solve(keras.regularizers.L1(0.2), optimizer, squares_slope(x, y), (FEATURES,), 50)
    # Keras on TensorFlow casts an optimizer's Python floats, such as its momentum, to float64 by way of float32.
    tolerance = 1e-5 if keras.backend.backend() == "tensorflow" else 1e-9
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(found == 0, expected == 0)


@on_jax
@pytest.mark.contract
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


def tension(found, slope, l1):
    """Per group, how far the gradient of the data is from what the penalty's slope can balance; and the group norms."""
    left = -slope
    if l1:
        left = np.where(found == 0, np.sign(left) * np.maximum(np.abs(left) - l1, 0), left - l1 * np.sign(found))
    return left, np.sqrt((found**2).sum(0)), np.sqrt((left**2).sum(0))


@on_jax
@pytest.mark.contract
@pytest.mark.parametrize("l1", [0.0, 0.05], ids=["group", "sparse_group"])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "amsgrad", "rmsprop", "rmsprop_momentum", "adagrad"])
def test_optimality_conditions_of_groups(name, l1):
    """An active group's slope is the penalty's; a dead group's is strictly inside the ball; to 1e-5."""
    rng = np.random.default_rng(3)
    x, y = data()
    hidden = rng.normal(size=(FEATURES, 12)) * np.array([1.5] * 4 + [0.0] * 8) * (rng.random((FEATURES, 12)) < 0.3)
    y = x @ hidden + 0.3 * rng.normal(size=(SAMPLES, 12))
    strength = 0.03
    penalty = SparseGroupLasso(l1, strength) if l1 else GroupLasso(strength)
    optimizer = Proximal(VARIANTS[name][1](VARIANTS[name][0] * (5 if "sgd" in name or "nest" in name else 1)))
    slope = squares_slope(x, y)
    found = solve(penalty, optimizer, slope, hidden.shape, 6000)
    weight = strength * np.sqrt(FEATURES)
    left, norms, pull = tension(found, np.asarray(slope(ops.convert_to_tensor(found))), l1)
    alive = norms > 0
    assert 2 <= alive.sum() <= 4
    assert (pull[~alive] < weight * (1 - 1e-3)).all()
    balance = left[:, alive] - weight * found[:, alive] / norms[alive]
    np.testing.assert_allclose(np.where(found[:, alive] == 0, 0, balance), 0, atol=1e-5)
    assert ((found[:, alive] == 0).any()) == bool(l1)


@on_jax
@pytest.mark.contract
def test_a_strength_at_the_critical_value_leaves_nothing():
    """lambda_max: the largest slope at zero. Just above it all is zero, just below something lives."""
    x, y = data()
    critical = np.abs(2 * x.T @ y / SAMPLES).max()
    for factor, lives in ((1.0001, False), (0.9, True)):
        optimizer = Proximal(optimizers.Adam(0.01), strength=factor)
        found = solve(keras.regularizers.L1(float(critical)), optimizer, squares_slope(x, y), (FEATURES,), 2000)
        assert (found != 0).any() == lives
