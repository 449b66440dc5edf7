"""Training under a penalty that rises."""

import keras
import numpy as np
import pytest

import tf_reg
from tests.tools import slow_on_tensorflow
from tf_reg.selection.examples import Examples
from tf_reg.selection.frontier import size_of
from tf_reg.selection.press import press

pytestmark = pytest.mark.contract
X = np.random.default_rng(0).normal(size=(160, 4)).astype("float32")
TRAIN = Examples(X, X[:, :1] * 2)


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(16, "relu")
    made = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(1)])
    made.compile(keras.optimizers.Adam(0.02), "mse")
    made.fit(TRAIN.inputs, TRAIN.targets, epochs=30, verbose=0)
    return made


def pressed(model, goal, penalty=None):
    penalty = penalty or tf_reg.ChannelLasso(1.0)
    return press(model, penalty, keras.optimizers.Adam(0.01), goal, lambda number: TRAIN, 8)


def natural_unit(model, penalty):
    """The loss of the best constant answer minus the model's own, divided by the penalty of its weights."""
    answers = model.predict(X, verbose=0)
    learned = np.square(TRAIN.targets - answers.mean()).mean() - np.square(TRAIN.targets - answers).mean()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    tf_reg.regularize(copy, penalty)
    return learned / float(keras.ops.convert_to_numpy(sum(copy.losses)))


@slow_on_tensorflow
def test_the_strength_doubles_four_times(model):
    found = pressed(model, 0)
    doubled = 2 ** (15 / 4)  # four looks for each doubling, the last of which only looks
    assert found.strength == pytest.approx(0.02 * doubled * natural_unit(model, tf_reg.ChannelLasso(1.0)), rel=1e-3)
    assert size_of(found.model).cost == 4 * 4 + 4 * 1  # a quarter of the units stays
    assert model.losses == []


def test_a_goal_that_is_reached_ends_the_training(model):
    found = pressed(model, size_of(model).cost)
    assert found.strength == pytest.approx(0.02 * natural_unit(model, tf_reg.ChannelLasso(1.0)), rel=1e-3)
