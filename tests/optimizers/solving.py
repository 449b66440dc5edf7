"""Problems with known solutions, the optimizers that solve them, and training loops from zero in float64."""

from __future__ import annotations

import functools
import operator

import keras
import numpy as np
import pytest
from keras import ops, optimizers
from sklearn.linear_model import ElasticNet, Lasso, MultiTaskLasso

from tf_reg.penalties.group_lasso import GroupLasso

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


@functools.cache
def data(tasks=None):
    """Random features, and targets that a few of them explain."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, FEATURES))
    true = np.zeros((FEATURES, tasks or 1))
    true[rng.choice(FEATURES, 9, replace=False)] = 2 * rng.normal(size=(9, tasks or 1))
    y = x @ true + 0.5 * rng.normal(size=(SAMPLES, tasks or 1))
    return x, y if tasks else y[:, 0]


# What scikit-learn solves, as a penalty in Keras' terms beside the mean squared error: 2 alpha, see the README.
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


def after_mini_batches(name, make):
    """The Lasso's weights after 10,000 mini-batches with a decaying rate, and the minimum. On JAX.

    RMSprop with its usual memory (rho=0.9) ends about 1e-2 away: a batch's gradient makes up a tenth of what it is
    divided by, so large ones count less, and the map's step knows nothing of that.
    """
    import jax

    x, y, penalty, expected = lasso()
    steps, batch = 10_000, 20
    rows = np.random.default_rng(1).integers(SAMPLES, size=(steps, batch))
    xs, ys = jax.numpy.asarray(x), jax.numpy.asarray(y)
    memory = {"rho": 0.999} if name.startswith("rmsprop") else {}
    optimizer = make(VARIANTS[name][1](rate_of(name, "decaying", steps, 0.5), **memory))
    variable = claimed(expected.shape, penalty, optimizer)
    return scan(variable, optimizer, lambda w, i: 2 * xs[i].T @ (xs[i] @ w - ys[i]) / batch, rows), expected
