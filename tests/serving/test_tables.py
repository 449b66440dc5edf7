"""Tables of TensorFlow in layers of a user's own are written with the model, or the layer is named."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import predicted, serve

X = np.random.default_rng(0).integers(0, 4, (5, 4)).astype("float32")


def table(kind=tf.lookup.StaticHashTable):
    filled = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2], tf.int64), tf.constant([0.3, 0.7]))
    return kind(filled, 0.1)


class Looking(layers.Layer):
    """Adds what a table says of its inputs, wherever the table comes from."""

    def __init__(self, find, **options):
        super().__init__(**options)
        self.find = find

    def call(self, x):
        found = self.find(self).lookup(tf.cast(x, tf.int64))
        return x + tf.ensure_shape(found, x.shape)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def model_with(layer):
    return keras.Sequential([keras.Input((4,)), layer, layers.Dense(2, activation="softmax")])


@pytest.mark.parametrize("where", ["attribute", "within"])
def test_a_table_is_served(tmp_path, where):
    layer = Looking((lambda self: self.table) if where == "attribute" else lambda self: self.tables["a"][0])
    setattr(layer, *(("table", table()) if where == "attribute" else ("tables", {"a": [table()]})))
    model = model_with(layer)
    path = tf_reg.export(model, tmp_path / "m", examples=X, gpu=False, signatures=["serving_uint8"])
    np.testing.assert_allclose(serve(path, X)["probabilities"], predicted(model, X), atol=1e-6)
    assert tf_reg.verify_saved_model(path, model, X, gpu=False).difference < 1e-6


ELSEWHERE = table()


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda self: ELSEWHERE, "is no attribute of the layer. Make it in `__init__` or `build`"),
        (lambda self: table(), "is no attribute of the layer"),
        (lambda self: self.table, "uses a MutableHashTable, which a request could change"),
    ],
    ids=["of the module", "made in the call", "of another kind"],
)
def test_a_table_that_can_not_be_written(tmp_path, find, message):
    layer = Looking(find, name="looking")
    layer.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)
    with pytest.raises(ValueError, match=rf"The layer 'looking' \(Looking\) .*{message}"):
        tf_reg.export(model_with(layer), tmp_path / "m", examples=X, gpu=False)


def test_variables_of_tensorflow_are_weights(tmp_path):
    layer = Looking(lambda self: self.table)
    layer.table, layer.own = table(), tf.Variable(tf.random.stateless_normal((100, 100), (1, 2)))
    layer.find = lambda self: type(
        "Found", (), {"lookup": lambda _, x: tf.reduce_mean(self.own) + 0 * tf.cast(x, "float32")}
    )()
    assert tf_reg.export(model_with(layer), tmp_path / "m", examples=X).name == "1"
