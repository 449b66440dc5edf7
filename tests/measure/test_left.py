"""Live parameters are those that compaction leaves."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.compaction.random_models import random_model
from tests.tools import mostly_slow
from tf_reg.compaction import rebuild
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction
from tf_reg.measure.zeros import sparsity

pytestmark = pytest.mark.contract


def parameters_of(model):
    """The numbers that are or could be trained."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


PLAIN = () if keras.backend.backend() == "jax" else (0, 1)  # JAX compiles every operation


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize("seed", mostly_slow(range(20), *PLAIN))
def test_live_parameters_are_what_compaction_leaves(seed):
    model = random_model(seed)
    report = sparsity(model)
    small = rebuild.Rebuilt(plan_compaction(model).removal).model
    assert report.compactable
    assert report.total.parameters == parameters_of(model)
    assert report.total.live == parameters_of(small)
    for layer in model.layers:
        if isinstance(layer, layers.Dense | layers.Conv2D):
            assert report.layers[layer.name].live == parameters_of(small.get_layer(layer.name))


def test_a_bias_that_compaction_makes_is_live():
    first, last = layers.Dense(3, name="first"), layers.Dense(2, use_bias=False, name="last")
    model = keras.Sequential([keras.Input((4,)), first, last])
    first.kernel.assign(ops.convert_to_numpy(first.kernel) * np.array([1.0, 1.0, 0.0]))
    first.bias.assign([1.0, 1.0, 1.0])
    assert sparsity(model).layers["last"].live == 2 * 2 + 2
    assert sparsity(model).total.live == parameters_of(compact(model))


def test_a_layer_that_has_no_part_in_the_outputs_does_not_live():
    class Net(keras.Model):
        pass

    inputs = keras.Input((3,))
    model = Net(inputs, layers.Dense(2, name="used")(inputs))
    model.unused = layers.Dense(4, name="unused")
    model.unused.build((None, 3))
    report = sparsity(model)
    live = {path: layer.live for path, layer in report.layers.items()}
    assert live in ({"used": 8, "unused": 0}, {"used": 8})  # Keras 3.10 doesn't know the other one
    assert report.total.live == parameters_of(compact(model))
