"""The networks of `keras.applications` with dead channels: what is left is what is needed, and computes the same."""

from __future__ import annotations

import keras
import pytest

from benchmarks import compaction_networks, dying
from tests.tools import mostly_long
from tf_reg.compaction.check import compare
from tf_reg.compaction.compact import compact

SMALL = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50V2")
SIZE = 75  # the least that all of them take


@pytest.mark.parametrize("name", mostly_long(compaction_networks.NETWORKS, *SMALL))
def test_what_is_left_is_what_is_needed(name):
    keras.utils.set_random_seed(0)
    model = dying.network(name, SIZE)
    channels, dead = dying.kill(model, 0.3, seed=0)
    small = compact(model)
    found = compare(model, small)
    assert found.checks
    assert found.largest <= 1e-5
    assert small.count_params() <= 1.02 * dying.parameters_at(model, channels.free, dead)
    assert small.count_params() < model.count_params()
