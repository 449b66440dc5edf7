"""The proximal step of channels whose numbers lie in several weights: minima, optimizers, and the operator itself."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy.optimize import brentq, minimize

import tf_reg
from tests.optimizers.solving import VARIANTS, on_jax, rate_of
from tests.tools import slow_on_tensorflow
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.channel_operator import prox_of
from tf_reg.penalties.channel_parts import Part
from tf_reg.penalties.channel_penalty import ChannelLasso, ChannelPenalty

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("float64")]
SAMPLES, CHANNELS, STRENGTH = 60, 6, 0.3


@functools.cache
def problem():
    """Two inputs, and targets of which some need neither."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(SAMPLES, 4)), rng.normal(size=(SAMPLES, 2)) * 2
    true = rng.normal(size=(7, CHANNELS)) * (np.arange(CHANNELS) % 2)
    features = np.concatenate([first, second, np.ones((SAMPLES, 1))], axis=1)
    return features, features @ true + 0.3 * rng.normal(size=(SAMPLES, CHANNELS))


def network():
    """`last` keeps its kernel, the identity, so that the loss of each channel is a problem of its own."""
    first, second = keras.Input((4,), dtype="float64"), keras.Input((2,), dtype="float64")
    dense = functools.partial(layers.Dense, CHANNELS, kernel_initializer="zeros", dtype="float64")
    total = layers.Add(dtype="float64")([dense(name="a")(first), dense(name="b", use_bias=False)(second)])
    last = dense(name="last", use_bias=False, trainable=False)
    model = keras.Model([first, second], last(total))
    last.kernel.assign(np.eye(CHANNELS))
    return model


def solution():
    """For each target: the minimum of `mean squares + strength * norm`, by SciPy's root of its norm."""
    features, targets = problem()
    gram, cross = (2 * features.T @ other / SAMPLES / CHANNELS for other in (features, targets))
    found = np.zeros_like(cross)
    for channel in range(CHANNELS):
        if np.linalg.norm(cross[:, channel]) <= STRENGTH:
            continue

        def weights(norm, channel=channel):
            return np.linalg.solve(gram + STRENGTH / norm * np.eye(7), cross[:, channel])

        norm = brentq(lambda r, w=weights: np.linalg.norm(w(r)) - r, 1e-6, 1e3, xtol=1e-14)
        found[:, channel] = weights(norm)
    return found


def numbers(model):
    a, b = model.get_layer("a"), model.get_layer("b")
    kernel, bias = a.get_weights()
    return np.concatenate([kernel, b.get_weights()[0], bias[None]])


def slopes(kernel, bias, other):
    """The gradients of the mean squares, by hand."""
    features, targets = (ops.convert_to_tensor(one) for one in problem())
    w = ops.concatenate([kernel, other, ops.reshape(bias, (1, -1))])
    slope = 2 * ops.transpose(features) @ (features @ w - targets) / SAMPLES / CHANNELS
    return [slope[:4], slope[6], slope[4:6]]


def train(optimizer, steps):
    model = network()
    tf_reg.regularize(model, ChannelLasso(STRENGTH, size_weights=False))
    optimizer.build(model)
    variables = model.trainable_variables
    assert [v.shape for v in variables] == [(4, CHANNELS), (CHANNELS,), (2, CHANNELS)]
    if keras.backend.backend() != "jax":
        for _ in range(steps):
            optimizer.apply(slopes(*(ops.stop_gradient(v) for v in variables)), variables)
        return numbers(model)
    import jax

    def one(state, _):
        trainable, own = state
        return optimizer.stateless_apply(own, slopes(*trainable), trainable), None

    start = [v.value for v in variables], [v.value for v in optimizer.variables]
    (trained, _), _ = jax.jit(lambda state: jax.lax.scan(one, state, None, length=steps))(start)
    for variable, value in zip(variables, trained, strict=True):
        variable.assign(value)
    return numbers(model)


def test_the_solution_is_a_minimum():
    """Of the whole problem, for another solver of SciPy that knows nothing of channels."""
    features, targets = problem()

    def objective(flat):
        w = flat.reshape(7, CHANNELS)
        return np.square(features @ w - targets).mean() + STRENGTH * np.sqrt(np.square(w).sum(axis=0) + 1e-16).sum()

    found = solution()
    least = minimize(objective, np.full(found.size, 0.1), method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10**6})
    assert objective(found.ravel()) <= least.fun + 1e-7
    assert 0 < (found == 0).all(axis=0).sum() < CHANNELS


def test_it_trains_to_the_minimum():
    expected = solution()
    found = train(Proximal(keras.optimizers.SGD(1.0, momentum=0.5)), 60)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found == 0, expected == 0)


@on_jax
@pytest.mark.parametrize("name", VARIANTS)
def test_each_optimizer_trains_to_the_minimum(name):
    expected = solution()
    found = train(Proximal(VARIANTS[name][1](rate_of(name, "decaying", 8000))), 8000)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found == 0, expected == 0)


# The operator at channels whose numbers lie in a kernel of a convolution, one before a flattening, and a bias.
PARTS = [
    (Part(0, 2, 3, [4, 0, 2], 2.0, 1.5, 3), (2, 2, 5, 1)),
    (Part(0, 1, 3, [0, 2, 4, 1, 3, 5], 2.0, 1.5, 3), (3, 6)),
    (Part(0, 0, 3, None, 2.0, 1.5, 3), (3,)),
]
RULES = {
    "lasso": ChannelLasso(0.7),
    "mcp": ChannelPenalty(tf_reg.MCP(0.5, 4.0)),
    "scad": ChannelPenalty(tf_reg.SCAD(0.5)),
    "log_sum": ChannelPenalty(tf_reg.LogSum(0.7, 0.5)),
}


class Plain:
    """As much of a regularizer as the operator needs, for weights that are no variables."""

    def __init__(self, rule, part):
        self.rule, self.parts, self.variable, self.regularizer, self.part = rule, [part], self, self, part
        self.trainable = True

    def members(self, group):
        return self.all


def operator(rule, values, steps):
    own = [Plain(rule, part) for part, _ in PARTS]
    for one in own:
        one.all = own
    new = prox_of(own, [ops.convert_to_tensor(v) for v in values], [ops.convert_to_tensor(s) for s in steps])
    return [ops.convert_to_numpy(one) for one in new]


def columns(values):
    """The numbers of each channel, by loops."""
    found = []
    for channel in range(3):
        first = [values[0][i, j, [4, 0, 2][channel], 0] for i in range(2) for j in range(2)]
        second = [values[1][i, [[0, 1], [2, 3], [4, 5]][channel][k]] for k in range(2) for i in range(3)]
        found.append(np.array([*first, *second, values[2][channel]]))
    return found


def objective(rule, new, old, steps):
    """`sum (w - v)^2 / (2 step) + R(w)`."""
    norms = ops.convert_to_tensor(np.array([np.linalg.norm(one) for one in columns(new)]))
    penalty = float(ops.convert_to_numpy(ops.sum(rule.penalty.of_norms(norms, 2.0)))) * 1.5
    return penalty + sum((np.square(n - o) / (2 * s)).sum() for n, o, s in zip(new, old, steps, strict=True))


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_the_operator_is_a_minimum(name, diagonal):
    """Beside brute force, and beside the closed form for columns of one matrix."""
    rng = np.random.default_rng(3)
    values = [rng.normal(size=shape) * 1.5 for _, shape in PARTS]
    values[2] *= [1.0, 0.1, 1.0]
    steps = [np.exp(rng.normal(size=shape)) if diagonal else np.array(0.4) for _, shape in PARTS]
    new = operator(RULES[name], values, steps)
    least = objective(RULES[name], new, values, steps)
    for _ in range(200):
        scale = 10 ** rng.uniform(-6, 0)
        other = [n + scale * rng.normal(size=n.shape) for n in new]
        assert objective(RULES[name], other, values, steps) >= least - 1e-9
    # numbers of no channel stay
    np.testing.assert_array_equal(new[0][:, :, [1, 3]], values[0][:, :, [1, 3]])
    matrix = np.stack(columns(values), axis=1)
    wide = np.stack(columns([np.broadcast_to(s, v.shape) for s, v in zip(steps, values, strict=True)]), axis=1)
    step = ops.convert_to_tensor(wide if diagonal else np.array(0.4)) * 1.5
    block = RULES[name].penalty.block(ops.convert_to_tensor(matrix), step, (0,), 2.0)
    np.testing.assert_allclose(np.stack(columns(new), axis=1), ops.convert_to_numpy(block), rtol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_step_of_zero_changes_nothing(name):
    values = [np.random.default_rng(4).normal(size=shape) for _, shape in PARTS]
    for new, old in zip(operator(RULES[name], values, [np.array(0.0)] * 3), values, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-12)


def test_the_three_point_inequality():
    """`R(p) + |p - v|^2/2s + |p - u|^2/2s <= R(u) + |u - v|^2/2s` for each u: so it is for convex penalties."""
    rng = np.random.default_rng(5)
    values = [rng.normal(size=shape) for _, shape in PARTS]
    steps = [np.exp(rng.normal(size=shape)) for _, shape in PARTS]
    new = operator(RULES["lasso"], values, steps)
    zero = [np.full_like(s, np.inf) for s in steps]
    for _ in range(100):
        other = [rng.normal(size=shape) for _, shape in PARTS]
        between = objective(RULES["lasso"], new, other, steps) - objective(RULES["lasso"], new, new, zero)
        left = objective(RULES["lasso"], new, values, steps) + between
        assert left <= objective(RULES["lasso"], other, values, steps) + 1e-9


@pytest.mark.parametrize("width", [1, pytest.param(3, marks=slow_on_tensorflow)])
def test_parts_go_out_and_in(width):
    """`put` is the inverse of `matrix`, at random places."""
    rng = np.random.default_rng(width)
    for axis, shape in enumerate([(7, 3, 2), (3, 8, 2), (2, 3, 9)]):
        places = rng.permutation(shape[axis])[: 2 * width].tolist()
        part = Part(0, axis, 2, places, 1.0, 1.0, 1)
        value = rng.normal(size=shape)
        matrix = ops.convert_to_numpy(part.matrix(ops.convert_to_tensor(value)))
        expected = [np.moveaxis(value, axis, 0)[places[channel::2]].ravel() for channel in range(2)]
        np.testing.assert_array_equal(np.sort(matrix, axis=0), np.sort(np.stack(expected, axis=1), axis=0))
        new = ops.convert_to_numpy(part.put(ops.convert_to_tensor(value), ops.convert_to_tensor(matrix * 2)))
        twice = np.moveaxis(value.copy(), axis, 0)
        twice[places] *= 2
        np.testing.assert_array_equal(new, np.moveaxis(twice, 0, axis))


def test_a_part_of_a_smaller_weight():
    kept = np.array([True, False, True, True, False, False])
    assert Part(0, 1, 6, None, 2.0, 1.0, 3).cut(kept) == Part(0, 1, 3, None, 2.0, 1.0, 3)
    assert Part(0, 1, 3, [5, 3, 0], 2.0, 1.0, 3).cut(kept) == Part(0, 1, 2, [2, 0], 2.0, 1.0, 3)
    assert Part(0, 1, 2, [4, 5], 2.0, 1.0, 3).cut(kept) is None
