"""DropoutSchedule: the rate that it sets is the rate that training drops at."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.tools import slow_on_tensorflow
from tf_reg import DropBlock2D, DropConnect, DropoutSchedule, StochasticDepth

pytestmark = pytest.mark.contract
BACKEND = keras.backend.backend()
X = np.ones((512, 2, 2, 2), "float32")

MEMBERS = {
    "Dropout": layers.Dropout,
    "SpatialDropout2D": layers.SpatialDropout2D,
    "StochasticDepth": StochasticDepth,
    "DropBlock2D": lambda rate: DropBlock2D(rate, block_size=2),
    "DropConnect": lambda rate: DropConnect(layers.Dense(64, use_bias=False, kernel_initializer="ones"), rate),
}


class Count(layers.Layer):
    """Multiplies by a weight of 1, and counts how often Python runs it: once a trace where the backend compiles."""

    calls = 0

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        self.calls += 1
        return self.scale * x


def zeros(y, prediction):
    """A loss that says at which rate its input was dropped: of ones, the square's mean is 1 / (1 - rate)."""
    return ops.mean(ops.square(prediction), axis=(1, 2, 3))


def model_of(layer):
    model = keras.Sequential([keras.Input(X.shape[1:]), layer, Count()])
    model.compile(keras.optimizers.SGD(0.0), zeros)
    return model


def fit(model, *callbacks, epochs):
    return model.fit(X, X, batch_size=256, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def expected(member, rate):
    """The mean square: of ones, or of a sum of two kernel weights that are 1 / (1 - rate) or 0."""
    return 2 * rate / (1 - rate) + 4 if member is MEMBERS["DropConnect"] else 1 / (1 - rate)


@pytest.mark.parametrize(
    "member",
    [pytest.param(m, id=n, marks=() if n == "Dropout" else slow_on_tensorflow) for n, m in MEMBERS.items()],
)
def test_training_drops_at_the_rate_that_was_set(member):
    plan = [0.5, 0.0, 0.25, 0.25, 0.8]
    model = model_of(member(0.5))
    history = fit(model, DropoutSchedule(lambda epoch: plan[epoch]), epochs=5)
    assert history["dropout_rate"] == plan
    assert history["loss"] == pytest.approx([expected(member, rate) for rate in plan], rel=0.25)
    assert history["loss"][1] == pytest.approx(expected(member, 0.0), rel=1e-6)
    assert model.layers[0].rate == 0.8
    assert model.layers[0].get_config()["rate"] == 0.8


@pytest.mark.parametrize("member", [layers.Dropout, StochasticDepth])
def test_it_takes_effect_in_a_model_that_has_been_trained(member):
    model = model_of(member(0.5))
    fit(model, epochs=1)
    model.layers[0].rate = 0.0  # unknown to the compiled step where it is Keras' own
    history = fit(model, DropoutSchedule(lambda epoch: [0.0, 0.9][epoch]), epochs=2)
    assert history["loss"][0] == pytest.approx(1.0)
    assert history["loss"][1] == pytest.approx(10.0, rel=0.5)


@slow_on_tensorflow
@pytest.mark.skipif(BACKEND == "torch", reason="torch traces nothing")
def test_only_layers_of_keras_need_a_new_trace():
    traces = {}
    for layer in (layers.Dropout(0.5), StochasticDepth(0.5)):
        model = model_of(layer)
        fit(model, epochs=1)
        before = model.layers[1].calls
        fit(model, DropoutSchedule(lambda epoch: 0.1 * epoch), epochs=3)
        traces[type(layer).__name__] = model.layers[1].calls - before
    assert traces["StochasticDepth"] == 0
    assert traces["Dropout"] >= 3


def test_layers_are_chosen_by_name_or_path():
    inner = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5, name="drop")], name="inner")
    outer = layers.Dropout(0.5, name="drop_2")
    model = keras.Sequential([keras.Input((4,)), inner, outer, layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 4), "float32")
    model.fit(x, x[:, :1], verbose=0, callbacks=[DropoutSchedule(lambda epoch: 0.1, layers="inner/*")])
    assert (inner.layers[0].rate, outer.rate) == (0.1, 0.5)
    model.fit(x, x[:, :1], verbose=0, callbacks=[DropoutSchedule(lambda epoch: 0.2, layers="drop*")])
    assert (inner.layers[0].rate, outer.rate) == (0.2, 0.2)
    with pytest.raises(
        ValueError, match=r"no dropout layer that matches layers='dorp'.*layers are: inner/drop, drop_2"
    ):
        model.fit(x, x[:, :1], verbose=0, callbacks=[DropoutSchedule(lambda epoch: 0.2, layers="dorp")])


def test_the_dropout_inside_of_attention_stays():
    inputs = keras.Input((3, 4))
    attention = layers.MultiHeadAttention(2, 2, dropout=0.5)
    model = keras.Model(inputs, attention(inputs, inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"no dropout layer that matches.*are: none"):
        model.fit(np.ones((2, 3, 4)), np.ones((2, 3, 4)), verbose=0, callbacks=[DropoutSchedule(lambda epoch: 0.2)])


@pytest.mark.parametrize("member", [layers.Dropout, layers.AlphaDropout, layers.GaussianDropout, StochasticDepth])
def test_a_layer_that_was_made_with_rate_zero_can_drop(member):
    model = model_of(member(0.0, seed=3))
    fit(model, epochs=1)
    history = fit(model, DropoutSchedule(lambda epoch: [0.0, 0.9][epoch]), epochs=2)
    assert history["loss"][0] == pytest.approx(1.0)
    assert history["loss"][1] > 1.5
    draws = [ops.convert_to_numpy(model(X, training=True)) for _ in range(2)]
    assert (draws[0] != draws[1]).any()


def test_a_schedule_that_starts_at_zero_goes_on_from_a_checkpoint(tmp_path):
    model = model_of(layers.Dropout(0.5))
    schedule = DropoutSchedule(lambda epoch: [0.0, 0.5][epoch])
    fit(model, schedule, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Count": Count, "zeros": zeros})
    history = loaded.fit(X, X, initial_epoch=1, epochs=2, verbose=0, callbacks=[schedule]).history
    assert history["loss"] == pytest.approx([2.0], rel=0.25)
    loaded.save(tmp_path / "model.keras")


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_out_of_range(rate):
    with pytest.raises(ValueError, match="The rate of a DropoutSchedule is the share that is dropped"):
        fit(model_of(layers.Dropout(0.5)), DropoutSchedule(lambda epoch: rate), epochs=1)


def test_a_schedule_can_be_called():
    with pytest.raises(ValueError, match=r"schedule is a function of the epoch.*Received: schedule=0.5"):
        DropoutSchedule(0.5)


def test_keras_schedules_do():
    decay = keras.optimizers.schedules.PolynomialDecay(0.5, decay_steps=2, end_learning_rate=0.0)
    history = fit(model_of(layers.Dropout(0.5)), DropoutSchedule(decay), epochs=3)
    assert history["dropout_rate"] == pytest.approx([0.5, 0.25, 0.0])
