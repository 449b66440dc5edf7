"""mc_predict of models with stateful recurrent layers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.tools import slow_on_tensorflow
from tf_reg import _keras, mc_predict

pytestmark = pytest.mark.contract
BATCH = 4


class Subclassed(keras.Model):
    """No graph of layers: all samples could go through it together, if it had no states."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent, self.drop, self.out = recurrent, layers.Dropout(0.5), layers.Dense(1)

    def call(self, x, training=False):
        return self.out(self.drop(self.recurrent(x), training=training))


def functional(recurrent):
    inputs = keras.Input(batch_shape=(BATCH, 6, 3))
    return keras.Model(inputs, layers.Dense(1)(recurrent(layers.Dropout(0.5)(inputs))))


RECURRENT = {
    "LSTM": lambda: layers.LSTM(4, stateful=True),
    "GRU with dropout": lambda: layers.GRU(4, stateful=True, dropout=0.2),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(4, stateful=True)),
}


def data(examples=BATCH):
    return np.random.default_rng(0).normal(size=(examples, 6, 3)).astype("float32")


def states(model):
    recurrent = [part for part in _keras.sublayers(model) if isinstance(part, layers.RNN)]
    return [ops.convert_to_numpy(state) for part in recurrent for state in keras.tree.flatten(part.states)]


@pytest.mark.parametrize("build", [Subclassed, pytest.param(functional, marks=slow_on_tensorflow)])
@pytest.mark.parametrize("name", ["LSTM", *(pytest.param(name, marks=slow_on_tensorflow) for name in [*RECURRENT][1:])])
def test_samples_start_from_the_states_which_stay(build, name):
    model, x = build(RECURRENT[name]()), data()
    fresh = mc_predict(model, x, samples=40, seed=0)
    model(x)
    before = states(model)
    assert any(np.abs(state).max() > 0 for state in before)
    later = mc_predict(model, x, samples=40, seed=0)
    for old, new in zip(before, states(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(later.mean - fresh.mean).max() > 1e-6
    assert later.spread.min() > 0
    np.testing.assert_array_equal(later.mean, mc_predict(model, x, samples=40, seed=0).mean)


def test_the_mean_is_the_prediction_where_next_to_nothing_drops():
    model, x = Subclassed(layers.LSTM(4, stateful=True)), data()
    model.drop.rate = 1e-7
    mean = mc_predict(model, x, samples=3, seed=0).mean
    np.testing.assert_allclose(mean, model.predict(x, batch_size=BATCH, verbose=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("examples", "batch_size"), [(8, 4), (3, 4), (4, 2)])
def test_another_number_of_examples_is_refused(examples, batch_size):
    model = Subclassed(layers.LSTM(4, stateful=True, name="memory"))
    model(data())
    message = (
        rf"batch of 4 examples: 'memory' is stateful .* Received: {examples} examples with batch_size={batch_size}"
    )
    with pytest.raises(ValueError, match=message):
        mc_predict(model, data(examples), samples=5, batch_size=batch_size)
