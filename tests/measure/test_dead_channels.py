"""Dead channels are those that tf_reg.channels finds, counted by one function."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.compaction.filling import filled, no_warning_of_masks
from tests.compaction.random_models import random_model
from tests.tools import mostly_slow
from tf_reg.compaction.coupled import channels, set_to_zero
from tf_reg.measure.dead_channels import DeadChannels, free_channels
from tf_reg.measure.zeros import sparsity

pytestmark = [pytest.mark.contract, no_warning_of_masks]


@pytest.mark.parametrize("seed", mostly_slow(range(4), 0))
def test_they_are_those_of_the_report(seed):
    model = filled(random_model(seed), seed)
    groups, random = channels(model).groups, np.random.default_rng(seed)
    counted = DeadChannels(groups)
    assert counted.measure() == 0
    for share in (0.3, 0.6):
        for group in groups:
            for role in ("made", "read"):
                chosen = random.random(group.size) < share
                set_to_zero((one, chosen) for one in group.with_role(role))
        for found, group in zip(counted.find(), groups, strict=True):
            np.testing.assert_array_equal(found, group.dead())
    report = sparsity(model)
    free = channels(model).free
    assert report.channels == sum(group.size for group in free)
    assert 0 < report.removed_channels <= report.channels


def test_a_model_without_channels_has_no_line_for_them():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.ones((1, 2)))
    assert free_channels(model) == ()
    assert DeadChannels(()).measure() == 0
    assert (sparsity(model).channels, "channels" in str(sparsity(model))) == (0, False)
