"""What `Proximal.build` makes, what is remembered until then, and that TensorFlow traces the step once more for it."""

import keras
import numpy as np
import pytest
from keras import optimizers

import tf_reg
from tests.optimizers.loops import L1, RATE, compile, descend, kernel_of, layer, no_loss, sequential, sgd
from tests.optimizers.training import array, fit, kernel, make

pytestmark = pytest.mark.contract

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function is TensorFlow's")


def counted_step(model, optimizer, **options):
    """A compiled step over a model that has only a penalty, and the list that gets an entry a trace."""
    import tensorflow as tf

    traces = []

    def step():
        traces.append(None)
        variables = model.trainable_variables
        descend(lambda: sum(model.losses) + 0.0 * tf.reduce_sum(variables[0].value), optimizer, variables)

    return tf.function(step, **options), traces


def assert_paid(model, steps):
    np.testing.assert_allclose(array(kernel_of(model)), 1 - steps * RATE * L1, rtol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("inner_built", [False, True], ids=["fresh", "inner built"])
def test_a_step_that_builds_is_traced_twice(inner_built, jit_compile):
    """The first trace has the penalty in the gradient and is thrown away, since it made variables."""
    model, inner = sequential(layer()), sgd()
    if inner_built:
        inner.build(model.trainable_variables)
    step, traces = counted_step(model, tf_reg.Proximal(inner), jit_compile=jit_compile)
    for count in (1, 2):
        step()
        assert len(traces) == 2
        assert_paid(model, count)
    kernel_of(model).assign(np.full((2, 1), RATE * L1 / 4))
    step()
    assert (array(kernel_of(model)) == 0).all()


@on_tensorflow
def test_inside_an_outer_function():
    import tensorflow as tf

    model = sequential(layer())
    step, traces = counted_step(model, tf_reg.Proximal(sgd()))
    outer = tf.function(lambda: step())
    for count in (1, 2):
        outer()
        assert_paid(model, count)
    assert len(traces) <= 4  # the outer function is traced twice too


@on_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_fit_is_traced_twice_and_never_again(jit_compile):
    calls = []

    def loss(y, p):
        calls.append(None)
        return keras.ops.mean(p * 0.0)

    model = sequential(layer())
    model.compile(tf_reg.Proximal(sgd()), loss, jit_compile=jit_compile)
    x, y = np.ones((4, 2)), np.ones((4, 1))
    model.fit(x, y, verbose=0)
    traces = len(calls)
    assert traces <= 4
    model.fit(x, y, epochs=2, verbose=0)
    assert len(calls) == traces
    assert_paid(model, 3)


def test_strength_is_remembered_until_build():
    optimizer = tf_reg.Proximal(sgd(), strength=3.0)
    assert float(optimizer.strength) == 3.0
    optimizer.strength = keras.ops.convert_to_tensor(0.5)
    assert float(optimizer.strength) == 0.5
    copy = tf_reg.Proximal.from_config(optimizer.get_config())
    for one in (optimizer, copy):
        model = compile(sequential(layer()), one)
        one.build(model.trainable_variables)
        assert float(array(one.strength)) == 0.5
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
        np.testing.assert_allclose(array(kernel_of(model)), 1 - RATE * L1 * 0.5, rtol=1e-5)
        assert one.get_config()["strength"] == 0.5


def test_freeze_is_remembered_until_build():
    model = make(tf_reg.Proximal(optimizers.SGD(0.1), strength=0.0))
    start = kernel(model)
    start[0] = 0.0
    model.layers[0].kernel.assign(start)
    optimizer = model.optimizer
    optimizer.freeze()
    assert optimizer.frozen
    fit(model)
    assert optimizer.frozen
    assert (kernel(model)[0] == 0).all()
    assert (kernel(model)[1:] != start[1:]).any()
    optimizer.unfreeze()
    fit(model)
    assert (kernel(model)[0] != 0).any()
    untouched = tf_reg.Proximal("sgd")
    untouched.freeze()
    untouched.unfreeze()
    assert not untouched.frozen


def test_build_takes_a_model():
    model = sequential(layer())
    optimizer = tf_reg.Proximal(sgd())
    optimizer.build(model)
    step = no_loss(model, optimizer, "eager")
    for count in (1, 2):
        step()
        assert_paid(model, count)
    assert [row.acts_in for row in tf_reg.regularizers_of(model).weights] == ["proximal step"]
    with pytest.raises(ValueError, match=r"expects a model that has its variables\. Received: 'empty'"):
        tf_reg.Proximal("sgd").build(keras.Sequential([keras.layers.Dense(1)], name="empty"))


def test_the_order_of_the_variables_is_the_file_format():
    optimizer = tf_reg.Proximal(optimizers.SGD(0.1, momentum=0.9))
    optimizer.build([keras.Variable(np.ones(2, "float32"), name="w")])
    names = [variable.name for variable in optimizer.variables]
    assert names == [
        "iteration",
        "learning_rate",
        "strength",
        "frozen",
        "tau",
        "pending",
        "iteration",
        "learning_rate",
        "w_momentum",
    ]
