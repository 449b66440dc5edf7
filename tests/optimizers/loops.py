"""Models whose data has no gradient, and training loops of one's own on every backend."""

import keras
import numpy as np
from keras import layers, ops

START, L1, RATE = 2.0, 0.5, 0.1


def sgd():
    return keras.optimizers.SGD(RATE)


def layer():
    return layers.Dense(1, use_bias=False, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L1(L1))


def sequential(penalised):
    return keras.Sequential([keras.Input((2,)), penalised])


def compile(model, optimizer, **options):
    model.compile(optimizer, loss=lambda y, p: ops.mean(p * 0.0), **options)
    return model


def kernel_of(model):
    return model.trainable_variables[0]


def batch():
    return np.ones((4, 2), "float32"), np.ones((4, 1), "float32")


def descend(loss, optimizer, variables):
    """One step of an optimizer: the gradient of a loss, then `apply`. Returns the loss."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss()
        optimizer.apply(tape.gradient(value, [variable.value for variable in variables]), variables)
        return value
    if keras.backend.backend() == "torch":
        import torch

        for variable in variables:
            variable.value.grad = None
        value = loss()
        value.backward()
        with torch.no_grad():
            optimizer.apply([variable.value.grad for variable in variables], variables)
        return value.detach()
    import jax

    value, grads = jax.value_and_grad(_of_values(loss, variables))([variable.value for variable in variables])
    optimizer.apply(grads, variables)
    return value


def _of_values(loss, variables):
    def function(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss()

    return function


def no_loss(model, optimizer, way):
    """A step of a loop over a model whose loss is the penalty alone; `way` is eager or compiled."""
    variables = model.trainable_variables

    def loss():
        return sum(model.losses) + 0.0 * ops.sum(variables[0])

    if way == "eager":
        return lambda: descend(loss, optimizer, variables)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda: descend(loss, optimizer, variables))
    return _jitted(loss, optimizer, variables)


def _jitted(loss, optimizer, variables):
    import jax

    @jax.jit
    def step(values, state):
        grads = jax.grad(_of_values(loss, variables))(values)
        return optimizer.stateless_apply(state, grads, values)

    def run():
        results = step([v.value for v in variables], [v.value for v in optimizer.variables])
        for variable, value in zip((*variables, *optimizer.variables), (*results[0], *results[1]), strict=True):
            variable.assign(value)

    return run
