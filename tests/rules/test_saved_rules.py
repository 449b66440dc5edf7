"""Which regularizers a saved model keeps; the rest is named, and refused unless it is allowed. The table shows it."""

import keras
import numpy as np
import pytest
from keras import layers, ops, regularizers

import tf_reg
from tests.rules.networks import L1, L2, attention, network, paths, total


def test_projections_of_an_attention_share_one_regularizer():
    with pytest.raises(
        ValueError,
        match=r"'heads' \(MultiHeadAttention\) has one kernel_regularizer .* heads/query/kernel\. Make a rule",
    ):
        tf_reg.regularize(attention(), {"heads/query": L2})
    alone = attention()
    table = tf_reg.regularize(alone, {"heads/query": L2}, unsaved="ignore")
    assert [(row.path, row.saved) for row in table.weights] == [("heads/query/kernel", False)]
    assert "no" in str(table).splitlines()[2]
    tf_reg.regularize(alone, {"heads": L2})
    assert all(row.saved for row in tf_reg.regularizers_of(alone).weights)
    assert len(keras.models.clone_model(alone).losses) == 4


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    """A layer around a layer, as people write it: its config has nothing of what is inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(3, name="inner")

    def build(self, shape):
        if not self.inner.built:
            self.inner.build(shape)
        self.mixing = self.add_weight(shape=(3, 3), name="mixing")

    def call(self, inputs):
        return ops.matmul(self.inner(inputs), self.mixing)


@keras.saving.register_keras_serializable(package="tests")
class OpenBlock(Block):
    """One that keeps it."""

    def __init__(self, inner=None, mixing_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner or self.inner
        self.mixing_regularizer = regularizers.get(mixing_regularizer)

    def build(self, shape):
        super().build(shape)
        self.mixing.regularizer = self.mixing_regularizer

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        mixing = regularizers.serialize(self.mixing_regularizer)
        return super().get_config() | {"inner": inner, "mixing_regularizer": mixing}

    @classmethod
    def from_config(cls, config):
        return cls(**config | {"inner": keras.saving.deserialize_keras_object(config["inner"])})


def around(block):
    return keras.Sequential([keras.Input((4,)), block, layers.Dense(1, name="head")])


def test_custom_layers_that_would_lose_it_are_named():
    with pytest.raises(
        ValueError, match=r"block/inner/kernel \(Dense: no .*\), block/mixing \(Block: no .*\)\. Leave them out"
    ):
        tf_reg.regularize(around(Block(name="block")), L2)
    left_out = around(Block(name="block"))
    assert paths(tf_reg.regularize(left_out, {"block": None, "*": L2})) == ["head/kernel"]
    ignored = around(Block(name="block"))
    table = tf_reg.regularize(ignored, L2, unsaved="ignore")
    assert {row.path: row.saved for row in table.weights} == {
        "block/inner/kernel": False,
        "block/mixing": False,
        "head/kernel": True,
    }
    assert len(ignored.losses) == 3
    assert len(keras.models.clone_model(ignored).losses) == 1
    tf_reg.regularize(ignored, {"block/inner": None})
    tf_reg.remove_regularizers(ignored)
    assert ignored.losses == []


@keras.saving.register_keras_serializable(package="tests")
class Reading(layers.Layer):
    """One whose config reads its regularizer."""

    def __init__(self, l2=0.01, **kwargs):
        super().__init__(**kwargs)
        self.kernel_regularizer = regularizers.L2(l2)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel", regularizer=self.kernel_regularizer)

    def call(self, inputs):
        return ops.matmul(inputs, self.kernel)

    def get_config(self):
        return super().get_config() | {"l2": float(self.kernel_regularizer.l2)}


def test_a_config_that_reads_a_regularizer_hides_no_other():
    model = keras.Sequential([keras.Input((4,)), Reading(name="own"), Block(name="block"), layers.Dense(1)])
    with pytest.raises(
        ValueError, match=r"have: block/inner/kernel \(Dense: no .*\), block/mixing \(Block: no .*\)\. Leave"
    ):
        tf_reg.regularize(model, L2)
    with pytest.raises(
        ValueError, match=r"have: own/kernel \(Reading: no config has the kernel_regularizer of 'own'\)\. Leave"
    ):
        tf_reg.regularize(model, {"own": L1})
    table = tf_reg.regularize(model, L2, unsaved="ignore")
    assert [row.saved for row in table.weights] == [True, False, False, True]
    assert keras.models.clone_model(model).layers[0].kernel_regularizer.l2 == 0.5


def test_custom_layers_that_keep_it_are_as_good_as_keras_own():
    model = around(OpenBlock(name="block"))
    assert all(row.saved for row in tf_reg.regularize(model, L2).weights)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert total(clone.losses) == pytest.approx(total(model.losses), rel=1e-6)
    assert len(clone.losses) == 3


def test_a_regularizer_from_a_layers_own_code_comes_back_and_says_so():
    class Stubborn(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 2), name="kernel", regularizer="l2")

        def call(self, inputs):
            return ops.matmul(inputs, self.kernel)

    model = keras.Sequential([keras.Input((4,)), Stubborn(name="own")])
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"were taken away\. .* own/kernel \(Stubborn: no .*\)\. So it is where a layer's own code"
        ):
            tf_reg.remove_regularizers(model)
        assert len(model.losses) == 1
        tf_reg.regularize(model, L1, unsaved="ignore")
    tf_reg.remove_regularizers(model, unsaved="ignore")
    assert model.losses == []


def test_a_model_that_cannot_be_saved_loses_nothing_without_a_word():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2, name="dense")

        def call(self, inputs):
            return self.dense(inputs)

        def get_config(self):
            raise TypeError("no config")

    model = Net()
    model(np.zeros((1, 3)))
    assert [(row.path, row.saved) for row in tf_reg.regularize(model, L2).weights] == [("dense/kernel", False)]
    assert model.dense.kernel_regularizer is L2


def test_what_was_set_by_half_is_completed():
    """People set `layer.kernel_regularizer`, which does nothing, or `layer.kernel.regularizer`, which no file keeps."""
    model = network()
    model.get_layer("hidden").kernel_regularizer = L2
    model.get_layer("head").kernel.regularizer = L2
    assert [(row.path, row.saved) for row in tf_reg.regularizers_of(model).weights] == [("head/kernel", False)]
    assert all(row.saved for row in tf_reg.regularize(model, {layers.Dense: L2}).weights)
    assert len(model.losses) == len(keras.models.clone_model(model).losses) == 2


def test_the_table():
    model = network()
    model.get_layer("encoder").trainable = False
    table = tf_reg.regularize(model, {"conv1": regularizers.L1L2(1e-5, 1e-4), "hidden": square})
    expected = """
variable              shape         regularizer                acts in           saved
--------------------------------------------------------------------------------------
encoder/conv1/kernel  (3, 3, 2, 3)  L1L2(l1=1e-05, l2=0.0001)  nothing (frozen)  yes
hidden/kernel         (27, 4)       square                     loss              yes
--------------------------------------------------------------------------------------
2 of 10 variables, 162 weights"""
    assert str(table).splitlines() == expected.strip().splitlines()


def square(x):
    return ops.sum(ops.square(x))
