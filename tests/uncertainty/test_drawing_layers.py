"""mc_predict: which layers run as in training, and which arguments are refused."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.dropout_models import SEQUENCES, Conditional, Subclassed, images, mlp, random, sequences, two_inputs
from tf_reg import mc_predict

contract = pytest.mark.contract


@contract
def test_what_is_no_dropout_stays_in_inference_mode():
    stack = [layers.RandomFlip(), layers.GaussianNoise(1.0), layers.BatchNormalization(), layers.Dropout(1e-6)]
    model, x = images(*stack), random(3, 8, 8, 3)
    mean, _ = mc_predict(model, x, samples=5, seed=0)
    np.testing.assert_allclose(mean, model.predict(x, verbose=0), atol=1e-3)


@contract
def test_a_model_without_dropout_is_an_error():
    for model in (mlp(layers.Dropout(0.0)), mlp(layers.GaussianNoise(0.5)), sequences(layers.LSTM(3))):
        with pytest.raises(ValueError, match="mc_predict needs a model with dropout layers"):
            mc_predict(model, np.ones((1, 4), "float32"))


@contract
def test_dropout_that_inference_does_not_reach_is_an_error_and_can_be_chosen():
    conditional = Conditional()
    model = Subclassed(conditional)
    with pytest.raises(ValueError, match=r"reaches every dropout layer.*doesn't call \['dropout"):
        mc_predict(model, random(3, 4))
    _, spread = mc_predict(model, random(3, 4), layers=[conditional])
    assert spread["logits"].max() > 0
    functional = mlp(conditional)
    assert mc_predict(functional, random(3, 4), layers=[conditional]).spread.max() > 0


@contract
def test_some_layers_draw_alone():
    first, second = layers.Dropout(0.5), layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((4,)), first, second])
    mean, _ = mc_predict(model, np.ones((50, 4), "float32"), samples=1, layers=[second])
    assert set(np.unique(mean)) == {0.0, 2.0}
    assert set(np.unique(mc_predict(model, np.ones((50, 4)), samples=1, layers=second).mean)) == {0.0, 2.0}
    with pytest.raises(ValueError, match="layers must be layers of the model whose call takes `training`"):
        mc_predict(model, random(3, 4), layers=[layers.Dropout(0.5)])
    with pytest.raises(ValueError, match=r"layers must be one layer or several.*Received: none"):
        mc_predict(model, random(3, 4), layers=[])


class Unseeded(layers.Layer):
    def call(self, x, training=False):
        return x * keras.random.uniform(keras.ops.shape(x)) if training else x


@contract
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(0.0),
        layers.BatchNormalization,
        Unseeded,
        lambda: layers.LSTM(2),
    ],
    ids=["rate 0", "norm", "no generator", "cell of rate 0"],
)
def test_layers_that_cannot_draw_are_refused(make):
    layer = make()
    model = sequences(lambda x: layer(layers.Dropout(0.5)(x)))
    with pytest.raises(ValueError, match=r"layers that draw.*Received: .* self\.seed_generator = keras.random"):
        mc_predict(model, random(3, *SEQUENCES), layers=[layer])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples must be a positive integer. Received: samples=0"),
        ({"samples": 2.5}, "samples must be a positive integer"),
        ({"samples": True}, "samples must be a positive integer"),
        ({"x": [random(2, 4)] * 2}, r"x must have an array for each of the model's inputs: .*Received: 2 arrays"),
        ({"model": two_inputs(), "x": {"a": random(2, 4)}}, "inputs: a, b. Received: a dict of a"),
        ({"model": two_inputs(), "x": random(2, 4)}, "inputs: a, b. Received: 1 arrays"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"seed": -1}, "seed must be a non-negative integer or None. Received: seed=-1"),
        ({"x": np.ones((0, 4))}, "x is an array of shape"),
        ({"x": [np.ones((1, 4)), np.ones((2, 4))]}, "of the same number of examples"),
        ({"x": iter([])}, "For a data set, call mc_predict for each batch"),
        ({"x": np.float32(3)}, "x is an array of shape"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        mc_predict(**{"model": mlp(layers.Dropout(0.5)), "x": random(2, 4), **arguments})


@contract
def test_several_inputs_in_a_dict():
    model = two_inputs()
    mean, spread = mc_predict(model, {"a": random(5, 4), "b": random(5, 3)}, samples=9, batch_size=2)
    assert mean.shape == spread.shape == (5, 2)
