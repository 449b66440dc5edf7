"""Models that were built for tests of other parts of tf_reg: dead at random, they are compacted exactly."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests import dropout_models, models_under_test
from tests.compaction.random_models import Builder
from tests.rules import networks
from tests.tools import mostly_slow
from tests.uncertainty.test_graph_walk import branched
from tf_reg.compaction.check import compare
from tf_reg.compaction.plan import plan_compaction
from tf_reg.compaction.rebuild import Rebuilt

pytestmark = pytest.mark.contract
MODELS = {
    **{builder.__name__: builder for builder in models_under_test.BUILDERS if builder.__name__ != "subclassed"},
    **{name: make for name, (make, _) in dropout_models.MODELS.items() if name != "subclassed"},
    "two inputs": dropout_models.two_inputs,
    "network": networks.network,
    "heads": networks.attention,
}


@pytest.mark.parametrize("name", mostly_slow(MODELS, "network"))
def test_compacted_it_computes_the_same(name):
    keras.utils.set_random_seed(0)
    for seed in range(2):
        model = Builder(seed).fill(MODELS[name]())
        small = Rebuilt(plan_compaction(model).removal).model
        found = compare(model, small)
        assert found.within_rounding, found
        assert small.count_params() <= model.count_params()


def test_layers_of_tf_reg_hand_channels_on():
    model = dropout_models.residual()
    hidden = keras.Model(model.inputs, keras.layers.Dense(2, name="last")(model.outputs[0]))
    Builder(1).fill(hidden)
    kernel = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    hidden.get_layer("last").kernel.assign(kernel)
    plan = plan_compaction(hidden)
    assert not any("Drop" in reason or "Depth" in reason for reason in plan.held)


@pytest.mark.slow
def test_a_layer_that_isnt_known_in_a_nested_model_is_a_barrier():
    model = Builder(3).fill(branched())
    assert compare(model, Rebuilt(plan_compaction(model).removal).model).within_rounding
