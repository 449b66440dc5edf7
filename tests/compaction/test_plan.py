"""What a plan says of the sizes of a model before and after compaction."""

from __future__ import annotations

import keras
import pytest
from keras import layers, ops

from tests.compaction.filling import no_warning_of_checks, no_warning_of_masks
from tests.compaction.random_models import random_model
from tests.tools import mostly_slow
from tf_reg.compaction.compact import compact
from tf_reg.compaction.plan import plan_compaction

pytestmark = [pytest.mark.contract, no_warning_of_checks, no_warning_of_masks]


@pytest.mark.parametrize("seed", mostly_slow([*range(20), 204, 271], 0))
def test_the_plan_says_how_large_the_model_becomes(seed):
    model = random_model(seed)
    for multiple in (None, 4):
        plan = plan_compaction(model, multiple)
        small = compact(model, round_to=multiple)
        assert plan.parameters == (model.count_params(), small.count_params())
        assert plan.multiply_adds is not None
        again = plan_compaction(small).multiply_adds
        assert again is not None
        assert again[0] == plan.multiply_adds[1]
        for layer in plan.layers if multiple and not plan.removal.analysis.not_zero else ():
            if not layer.name.startswith("multi_head"):  # this one loses whole heads
                assert layer.after % 4 == 0 or layer.after == layer.before


@pytest.mark.slow
def test_multiply_adds_of_known_networks():
    """As published: 3.86 billion (He et al. 2016) and 300 million (Sandler et al. 2018)."""
    known = {"ResNet50": 3_857_973_248, "MobileNetV2": 300_774_272}
    for name, expected in known.items():
        with keras.StatelessScope(initialize_variables=False):
            model = getattr(keras.applications, name)(weights=None)
        assert plan_compaction(model).multiply_adds == (expected, expected)


@pytest.mark.parametrize("operation", [ops.log, ops.rsqrt, ops.reciprocal, lambda x: 1 / x, lambda x: ops.tanh(x) / x])
def test_what_is_divided_by_is_not_filled_with_zeros(operation):
    inputs = keras.Input((3,))
    positive = layers.Dense(8, "softplus", name="positive")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="last")(operation(positive)))
    kernel = ops.convert_to_numpy(model.get_layer("last").kernel).copy()
    kernel[[1, 4, 5]] = 0
    model.get_layer("last").kernel.assign(kernel)
    assert compact(model, round_to=4).get_layer("positive").units == 5
