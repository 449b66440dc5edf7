"""The one measuring core: its numbers are numpy's, they agree with each other, and they come in one transfer."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests import models_under_test as models
from tests.tools import mostly_slow
from tf_reg.measure import core
from tf_reg.measure.meter import Meter
from tf_reg.measure.zeros import LayerSparsity, sparsity
from tf_reg.penalties.group_lasso import GroupLasso

pytestmark = pytest.mark.contract


def sparse(model):
    """A model, called once, about half of whose weights are zero and a tenth near zero."""
    model(models.inputs_of(model, 2))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        value = rng.normal(size=variable.shape)
        variable.assign(
            np.where(rng.random(value.shape) < 0.5, 0.0, np.where(rng.random(value.shape) < 0.2, 1e-4, value))
        )
    return model


def grouped():
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.LSTM(2, recurrent_regularizer=GroupLasso(0.1, "inputs", layout="lstm"), name="lstm"),
            layers.Dense(6, kernel_regularizer=GroupLasso(0.1, "outputs"), bias_regularizer="l1", name="dense"),
        ]
    )


def sparse_recurrent():
    model = grouped()
    cell, dense = model.layers[0].cell, model.layers[1]
    kernel, recurrent = np.ones((3, 8)), np.ones((2, 8))
    kernel[:, [1, 3, 5, 7]] = recurrent[:, [1, 3, 5, 7]] = 0.0  # the second unit
    recurrent[0] = 0.0  # the state of the first
    cell.kernel.assign(kernel)
    cell.recurrent_kernel.assign(recurrent)
    dense.kernel.assign(np.where(np.arange(6) < 2, 0.0, np.ones((2, 6))))
    return model


@pytest.mark.parametrize("build", models.BUILDERS, ids=models.NAMES)
@pytest.mark.parametrize("report", mostly_slow([True, False], True))
def test_statistics_against_numpy(build, report):
    model = sparse(build())
    measured = Meter(model, near_zero=1e-3, report=report).measure()
    weights = [v for v in model.trainable_variables if v.regularizer is not None]
    values = np.concatenate([[], *(ops.convert_to_numpy(v).ravel() for v in weights)])
    total = measured.total
    assert (total.count, total.zeros, total.groups) == (values.size, (values == 0).sum(), 0)
    assert total.near_zeros == (np.abs(values) < 1e-3).sum()
    assert total.square_sum == pytest.approx((values**2).sum(), rel=1e-5)
    assert total.penalty == pytest.approx(sum(float(ops.convert_to_numpy(loss)) for loss in model.losses), rel=1e-5)
    assert measured.report.layers == (sparsity(model).layers if report else {})


@pytest.mark.parametrize("build", models.BUILDERS, ids=models.NAMES)
@pytest.mark.parametrize("report", mostly_slow([True, False], True))
def test_all_weights_of_the_model_as_sparsity_counts_them(build, report):
    model = sparse(build())
    measured = Meter(model, near_zero=1e-3, whole=True, report=report).measure()
    expected = sparsity(model)
    assert (measured.model.count, measured.model.zeros) == (expected.total.weights, expected.total.zeros)
    counted = [v for v in model.weights if v.name != "bias" or v.regularizer is not None]
    values = np.concatenate([ops.convert_to_numpy(v).ravel() for v in counted])
    assert (measured.model.count, measured.model.near_zeros) == (values.size, (np.abs(values) < 1e-3).sum())
    assert measured.zero_shares == {path: expected.layers[path].sparsity for path in measured.layers}


def test_groups_and_units_of_one_layer_are_measured_together():
    """The report is in the order of the layer's weights, whichever of them have a penalty."""
    model = sparse_recurrent()
    measured = Meter(model, report=True).measure()
    assert measured.report.layers == sparsity(model).layers
    assert measured.report.layers["lstm/lstm_cell"].dead_outputs == 1
    assert (measured.layers["lstm/lstm_cell"].groups, measured.layers["lstm/lstm_cell"].dead_groups) == (2, 1)
    assert (measured.layers["dense"].groups, measured.layers["dense"].dead_groups) == (6, 2)
    assert measured.layers["dense"].count == 2 * 6 + 6


def test_weights_without_entries():
    model = keras.Sequential(
        [
            keras.Input((0,)),
            layers.Dense(3, kernel_regularizer=GroupLasso(0.1), name="a"),
            layers.Dense(2, kernel_regularizer=GroupLasso(0.1, "inputs"), bias_regularizer="l1", name="b"),
        ]
    )
    measured = Meter(model, report=True).measure()
    assert measured.report.layers == sparsity(model).layers
    assert measured.report.layers["a"] == LayerSparsity(0, 0, 0, 0, 3, 3, 3, 3)
    assert (measured.layers["a"].count, measured.layers["a"].penalty, measured.layers["a"].groups) == (0, 0.0, 3)
    assert (measured.layers["b"].count, measured.layers["b"].zeros) == (3 * 2 + 2, 2)


def test_large_counts_are_exact(monkeypatch):
    model = sparse(models.dense())
    expected = Meter(model, report=True).measure()
    monkeypatch.setattr(core, "EXACT", 4)
    assert Meter(model, report=True).measure() == expected
    assert expected.total.zeros > 2 * 4


def test_one_transfer(monkeypatch):
    model = sparse_recurrent()
    meter = Meter(model, whole=True)
    transfers = []
    convert = ops.convert_to_numpy
    monkeypatch.setattr(ops, "convert_to_numpy", lambda x: transfers.append(x) or convert(x))
    meter.measure()
    assert len(transfers) == 1


def test_only_some_regularizers():
    model = sparse(models.dense())
    measured = Meter(model, of=lambda regularizer: isinstance(regularizer, keras.regularizers.L1)).measure()
    assert {path: layer.count for path, layer in measured.layers.items()} == {model.layers[0].name: 30}
