"""What has no public name in Keras: it is found in the Keras at hand, and a Keras without it gets a clear error."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tf_reg import _keras

pytestmark = pytest.mark.contract


class Outer(layers.Layer):
    def __init__(self):
        super().__init__()
        self.inner = layers.Bidirectional(layers.LSTM(2))
        self.scale = self.add_weight(shape=(), name="scale")
        self.fixed = self.add_weight(shape=(), trainable=False, name="fixed")

    def call(self, x):
        return self.scale * self.inner(x)


def test_layers_inside_a_layer():
    layer = Outer()
    layer(np.zeros((1, 3, 2), "float32"))
    assert _keras.direct_sublayers(layer) == [layer.inner]
    kinds = [type(part).__name__ for part in _keras.sublayers(layer)]
    assert kinds[:2] == ["Outer", "Bidirectional"]
    assert sorted(kinds[2:]) == ["LSTM", "LSTM", "LSTMCell", "LSTMCell"]


def test_variables_of_a_layer_itself():
    layer = Outer()
    layer(np.zeros((1, 3, 2), "float32"))
    assert [variable.name for variable in _keras.own_trainable_variables(layer)] == ["scale"]
    layer.trainable = False
    assert [variable.name for variable in _keras.own_trainable_variables(layer)] == ["scale"]
    assert not layer.trainable_variables


def test_masks():
    ids = ops.convert_to_tensor(np.array([[1, 0]]))
    assert _keras.mask_of(ids) is None
    mask = _keras.mask_of(layers.Embedding(3, 2, mask_zero=True)(ids))
    assert ops.convert_to_numpy(mask).tolist() == [[True, False]]


def test_the_call_that_made_a_tensor():
    shared = layers.Dense(4)
    first, second = keras.Input((4,)), keras.Input((4,))
    shared(first)
    operation, inputs = _keras.call_that_made(shared(second))
    assert operation is shared
    assert [tensor is second for tensor in inputs] == [True]


def test_a_built_layer_takes_state_while_it_is_open():
    model = keras.Sequential([keras.Input((2,)), layers.Dropout(0.0)])
    (layer,) = model.layers
    with _keras.open_for_state(layer):
        layer.seed_generator = keras.random.SeedGenerator(0)
    assert any(variable is layer.seed_generator.state for variable in model.variables)
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        layer.another = keras.random.SeedGenerator(0)


def test_a_keras_without_a_private_attribute_is_named():
    message = rf"tf_reg needs the attribute `_flatten_layers` of object\. .*Received: Keras {keras.__version__}"
    with pytest.raises(RuntimeError, match=message):
        _keras.sublayers(object())
