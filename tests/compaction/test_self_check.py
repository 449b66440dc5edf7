"""A user learns what compaction can do for a network, and the network stays as it is."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tests.compaction.random_models import random_model
from tests.compaction.test_compact import filled, mlp, numpy
from tests.compaction.test_coupled import residual
from tf_reg.compaction import rebuild
from tf_reg.compaction.self_check import GroupCheck, self_check

pytestmark = pytest.mark.contract


def test_the_report_says_what_was_killed_removed_and_held():
    model = filled(residual())
    before = [numpy(variable) for variable in model.variables]
    report = self_check(model, share=0.5)
    assert report.groups == (GroupCheck("stem + shared", 4, 2, 2, 0), GroupCheck("project", 5, 2, 2, 0))
    assert report.held == {"barrier (LayerNormalization)": 3, "output of the model": 2}
    assert report.parameters[1] < report.parameters[0] == model.count_params()
    assert report.passed
    assert all((numpy(now) == old).all() for now, old in zip(model.variables, before, strict=True))
    lines = str(report).splitlines()
    assert lines[0].split() == ["channels", "before", "killed", "removed", "after"]
    assert lines[1].split()[3:] == ["4", "2", "2", "2"]
    assert lines[3] == "3 channels are held: barrier (LayerNormalization)"
    assert lines[-1] == "Passed: 4 of 4 killed channels are cut out, and the outputs are the same."


def test_a_constant_before_zero_padding_is_said_to_stay():
    stack = [layers.Conv2D(12, 3, activation="sigmoid"), layers.Conv2D(2, 3, padding="same"), layers.Flatten()]
    report = self_check(filled(keras.Sequential([keras.Input((6, 6, 2)), *stack, layers.Dense(2)])), share=0.5)
    assert [(group.killed, group.removed, group.left) for group in report.groups] == [(6, 3, 3), (1, 1, 0)]
    assert report.verdict.endswith("3 stay: they are a constant that isn't zero before zero padding.")


def test_the_share_is_met_and_one_stays_alive():
    model = mlp()
    killed = [[group.killed for group in self_check(model, share).groups] for share in (0.01, 0.5, 0.99)]
    assert killed == [[1, 1], [2, 2], [3, 2]]
    assert str(self_check(model, seed=1)) == str(self_check(model, seed=1))


def test_a_wrong_rewrite_is_called_a_fault(monkeypatch):
    rows = rebuild.Removal.rows
    monkeypatch.setattr(rebuild.Removal, "rows", lambda self, read: np.roll(rows(self, read), 1))
    report = self_check(mlp(), share=0.5)
    assert not report.passed
    assert report.verdict.startswith("Fault: the compacted network computes something else.")


def test_what_no_check_can_tell_is_said():
    model = mlp()
    model.get_layer("last").kernel.assign(numpy(model.get_layer("last").kernel) * 0)
    report = self_check(model)
    assert not report.passed
    assert report.verdict.startswith("Not checked: the outputs of your model are constant on random inputs.")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_models_pass(seed):
    report = self_check(filled(random_model(seed), seed), 0.4, seed)
    assert report.difference.within_rounding, report
    assert all(group.removed == group.killed - group.left for group in report.groups), report


@pytest.mark.slow
def test_mobilenet_passes():
    report = self_check(keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25))
    assert report.passed, report
    assert len(report.groups) == 14
    assert all(group.removed == group.killed == round(0.3 * group.before) for group in report.groups)
