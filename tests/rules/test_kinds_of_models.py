"""Rules on models of all kinds: not built, never called, nested, frozen, with LoRA, with attention."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests import models_under_test as models
from tests.rules.networks import L2, attention, network, paths, total
from tests.tools import on_tensorflow


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="'empty', in which dense, empty isn't built"):
        tf_reg.regularize(keras.Sequential([layers.Dense(2, name="dense")], name="empty"), L2)


class Gan(keras.Model):
    """Trained by parts and never called."""

    def __init__(self, *stack):
        super().__init__()
        self.gen = keras.Sequential([keras.Input((2,)), layers.Dense(3)], name="gen")
        self.disc = keras.Sequential([*stack, layers.Dense(1, name="judge")], name="disc")

    def train_step(self, data):
        return {"penalty": ops.convert_to_tensor(sum(self.disc.losses, 0.0))}


@on_tensorflow("on JAX, Keras' fit calls every model")
@pytest.mark.parametrize("fitted", [False, True])
def test_a_model_that_is_never_called_has_the_weights_of_its_parts(fitted):
    gan, x = Gan(keras.Input((3,))), np.ones((4, 3), "float32")
    gan.compile("sgd")
    if fitted:
        assert gan.fit(x, verbose=0).history["penalty"] == [0.0]
    assert paths(tf_reg.regularize(gan, {"disc": L2}, unsaved="ignore")) == ["disc/judge/kernel"]
    penalty = 0.5 * np.sum(np.square(gan.disc.layers[0].get_weights()[0]))
    assert gan.fit(x, verbose=0).history["penalty"] == pytest.approx([penalty], rel=1e-5)


def test_an_optimizer_that_a_model_keeps_as_an_attribute_takes_new_penalties():
    gan = Gan(keras.Input((3,)))
    gan.compile("sgd")
    gan.disc_optimizer = tf_reg.Proximal("sgd")
    gan.disc_optimizer.build(gan.disc.trainable_variables)
    table = tf_reg.regularize(gan, {"disc": L2}, unsaved="ignore")
    assert [weight.acts_in for weight in table.weights] == ["proximal step"]


def test_a_part_that_is_not_built_is_refused():
    with pytest.raises(ValueError, match="in which disc/judge isn't built"):
        tf_reg.regularize(Gan(), L2)
    gan = Gan(keras.Input((3,)))
    gan.norm = layers.BatchNormalization(name="norm")
    with pytest.raises(ValueError, match="in which norm isn't built"):
        tf_reg.regularize(gan, L2)


def test_frozen_weights_pay_nothing_and_the_table_says_so():
    model = network()
    model.get_layer("encoder").trainable = False
    table = tf_reg.regularize(model, L2)
    assert [row.acts_in for row in table.weights] == ["nothing (frozen)"] * 2 + ["loss"] * 2
    assert len(model.losses) == 2
    model.get_layer("encoder").trainable = True
    assert len(model.losses) == 4


def test_of_a_layer_with_lora_the_small_matrices_pay(tmp_path):
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="dense")])
    model.layers[0].enable_lora(2)
    table = tf_reg.regularize(model, L2)
    assert [(row.path, row.acts_in) for row in table.weights] == [
        ("dense/kernel", "nothing (frozen)"),
        ("dense/lora_kernel_a", "loss"),
        ("dense/lora_kernel_b", "loss"),
    ]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert str(tf_reg.regularizers_of(loaded)) == str(table)
    with pytest.raises(ValueError, match=r"'dense' \(Dense\) has one kernel_regularizer for several weights"):
        tf_reg.regularize(network_with_lora(), {"**/lora_kernel_a": L2})


def network_with_lora():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="dense")])
    model.layers[0].enable_lora(2)
    return model


BY_BACKEND = {models.recurrent, models.convolutions, models.subclassed}
MARKED = [pytest.param(each, marks=pytest.mark.contract if each in BY_BACKEND else ()) for each in models.BUILDERS]


@pytest.mark.parametrize("builder", MARKED, ids=models.NAMES)
def test_models_of_all_kinds(builder):
    """Nested, shared, recurrent, convolutional, subclassed: old regularizers go, every kernel has the new one, once."""
    model = builder()
    model(models.inputs_of(model, 2))
    tf_reg.remove_regularizers(model, unsaved="ignore")
    assert model.losses == []
    tf_reg.regularize(model, L2, unsaved="ignore")
    kernels = {id(v): v for v in model.trainable_variables if "kernel" in v.name}.values()
    expected = sum(0.5 * float(np.sum(np.square(ops.convert_to_numpy(kernel)))) for kernel in kernels)
    assert len(model.losses) == len(kernels) > 0
    assert total(model.losses) == pytest.approx(expected, rel=1e-5)


def test_a_group_lasso_has_the_layout_of_each_layer():
    model = keras.Sequential(
        [
            keras.Input((3, 6, 6, 2)),
            layers.TimeDistributed(layers.DepthwiseConv2D(2, name="depthwise")),
            layers.ConvLSTM2D(3, 2, name="film"),
            layers.SeparableConv2D(2, 2, name="separable"),
            layers.Conv2DTranspose(2, 2, name="transposed"),
            layers.Reshape((-1, 2)),
            layers.Bidirectional(layers.GRU(2, name="gru")),
            layers.Dense(2, name="dense"),
        ]
    )
    table = tf_reg.regularize(model, tf_reg.GroupLasso(0.1))
    found = {tuple(row.path.split("/")[-2:]): row.regularizer.layout for row in table.weights}
    assert found == {
        ("depthwise", "kernel"): "depthwise",
        ("conv_lstm_cell", "kernel"): "lstm",
        ("conv_lstm_cell", "recurrent_kernel"): "lstm",
        ("separable", "depthwise_kernel"): "depthwise",
        ("separable", "pointwise_kernel"): "kernel",
        ("transposed", "kernel"): "transposed",
        ("gru_cell", "kernel"): "gru",
        ("gru_cell", "recurrent_kernel"): "gru",
        ("dense", "kernel"): "kernel",
    }
    said = tf_reg.SparseGroupLasso(0.1, 0.1, layout="gru")
    assert tf_reg.regularize(model, {layers.GRU: said}).weights[-2].regularizer is said


def test_a_group_lasso_needs_inputs_and_outputs():
    model = attention()
    with pytest.raises(ValueError, match=r"heads/query/kernel can't have this rule\. layout_of knows"):
        tf_reg.regularize(model, tf_reg.GroupLasso(0.1))
    axes = tf_reg.GroupLasso(0.1, groups=(1,))
    assert [row.regularizer for row in tf_reg.regularize(model, {"heads": axes}).weights] == [axes] * 4
