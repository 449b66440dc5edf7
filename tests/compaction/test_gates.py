"""A gate is the scale of a normalization: where a penalty makes it zero, the channel is a constant and goes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from tests.compaction.filling import filled, kept, numpy, zero
from tests.tools import slow_on_tensorflow
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.compaction.compact import compact
from tf_reg.measure.zeros import sparsity
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.mcp import MCP
from tf_reg.rules.regularize_model import regularize
from tf_reg.rules.regularizer_table import regularizers_of

pytestmark = pytest.mark.contract


def gated(padding="valid", activation="relu", gate=layers.BatchNormalization, second=None):
    """Two convolutions, with a gate and an activation behind each."""
    x = inputs = keras.Input((7, 7, 1))
    for name, convolution in (
        ("one", layers.Conv2D(6, 3, padding=padding, name="one")),
        ("two", second or layers.Conv2D(6, 3, padding=padding, name="two")),
    ):
        x = layers.Activation(activation)(gate(name=f"{name}_gate")(convolution(x)))
    return keras.Model(inputs, layers.Dense(2, name="last")(layers.GlobalAveragePooling2D()(x)))


def closed(model, places, beta):
    """The model with zero gates at some places behind the first convolution, and a shift there."""
    norm = filled(model).get_layer("one_gate")
    zero(norm.gamma, 0, places)
    shift = numpy(norm.beta).copy()
    shift[places] = beta
    norm.beta.assign(shift)
    return model


@pytest.mark.parametrize(
    ("padding", "activation", "beta", "stay"),
    [
        ("valid", "relu", 0.7, 4),
        ("same", "relu", -0.7, 4),
        ("same", "relu", 0.7, 6),
        pytest.param("valid", "swish", -0.7, 4, marks=pytest.mark.slow),
        pytest.param("same", "swish", 0.0, 4, marks=pytest.mark.slow),
        pytest.param("same", "swish", -0.7, 6, marks=pytest.mark.slow),
    ],
)
def test_what_a_closed_gate_makes_goes_unless_it_meets_zero_padding(padding, activation, beta, stay):
    """At the border some weights meet zeros of the padding in the place of the constant."""
    model = closed(gated(padding, activation), [1, 4], beta)
    assert kept(model)["one"] == stay
    report = sparsity(model)
    assert (report.layers["one_gate"].dead_outputs, report.layers["one_gate"].zeros) == (2, 2)


@pytest.mark.slow
def test_gates_before_depthwise_convolutions_and_in_residuals():
    model = closed(gated("same", second=layers.DepthwiseConv2D(3, padding="same", name="two")), [0, 3], -0.5)
    assert kept(model)["one"] == 4
    x = inputs = keras.Input((7, 7, 1))
    x = layers.Conv2D(6, 3, name="one")(x)
    y = layers.BatchNormalization(name="one_gate")(layers.Conv2D(6, 1, name="two")(x))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    model = closed(keras.Model(inputs, layers.Dense(2)(x)), [0, 3], 0.5)
    assert kept(model)["one"] == 6, "a residual sum is no constant if one of its terms is"


def fit(model):
    random = np.random.default_rng(0)
    x = random.normal(size=(192, 7, 7, 1)).astype("float32")
    y = np.stack([x[:, :3].mean(axis=(1, 2, 3)), np.abs(x).mean(axis=(1, 2, 3))], axis=1)
    target = TargetSparsity(0.5, exact=True)
    model.compile(Proximal(optimizers.Adam(3e-3)), "mse")
    model.fit(x, y, batch_size=16, epochs=10, verbose=0, callbacks=[target])
    return x, y


@slow_on_tensorflow
@pytest.mark.parametrize(
    "penalty", [keras.regularizers.L1(1e-3), pytest.param(MCP(1e-3, 300.0), marks=pytest.mark.slow)]
)
def test_from_a_penalty_on_gates_to_a_smaller_model(penalty, tmp_path):
    """Network slimming: train, count, cut out, save, load, and train on."""
    model = gated()
    regularize(model, {"**/gamma": penalty})
    x, y = fit(model)
    gates = [model.get_layer(name).gamma for name in ("one_gate", "two_gate")]
    closed_gates = [int((numpy(gate) == 0).sum()) for gate in gates]
    assert sum(closed_gates) == 6
    assert max(closed_gates) < 6, "no layer is dead"
    report = sparsity(model)
    assert [report.layers[name].dead_outputs for name in ("one_gate", "two_gate")] == closed_gates
    stay = kept(model)
    assert [6 - stay["one"], 6 - stay["two"]] == closed_gates

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    small = compact(loaded)
    for one in (loaded, small):
        assert [row.path for row in regularizers_of(one).weights] == ["one_gate/gamma", "two_gate/gamma"]
        assert float(sum(numpy(loss) for loss in one.losses)) == pytest.approx(
            float(sum(numpy(loss) for loss in model.losses)), rel=1e-5
        )
    np.testing.assert_allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    loaded.fit(x, y, epochs=1, verbose=0)
    again = [int((numpy(loaded.get_layer(name).gamma) == 0).sum()) for name in ("one_gate", "two_gate")]
    assert again == closed_gates
