"""RegularizationLogger: its numbers are those of numpy and of Keras' own losses."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests import models_under_test as models
from tests.callbacks.logged_models import compiled, fit, penalty_of, regularized
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.callbacks.regularization_logger import RegularizationLogger
from tf_reg.measure.zeros import sparsity
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract
BUILDERS = [build for build in models.BUILDERS if build is not models.unregularized]


@pytest.mark.parametrize("name", mostly_slow([build.__name__ for build in BUILDERS], "dense"))
def test_losses_and_penalty_add_up(name):
    model = compiled(getattr(models, name))
    history = fit(model, RegularizationLogger())
    assert history["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6, abs=1e-9)
    assert history["penalty"][-1] == pytest.approx(sum(map(ops.convert_to_numpy, model.losses)), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=2e-6)
    np.testing.assert_allclose(np.add(history["val_data_loss"], history["penalty"]), history["val_loss"], rtol=2e-6)
    assert not [key for key in history if "/" in key or "group" in key or key == "strength"]


def test_training_data_loss_is_the_loss_without_penalty_where_weights_stand_still():
    model = compiled(models.dense, optimizer=keras.optimizers.SGD(0.0))
    history = fit(model, RegularizationLogger())
    np.testing.assert_allclose(np.add(history["mse"], history["penalty"]), history["loss"], rtol=2e-6)


@slow_on_tensorflow
def test_activity_regularizers_and_added_losses_are_no_weight_penalty():
    model = compiled(
        lambda: keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(4, kernel_regularizer="l1", activity_regularizer="l2"),
                layers.ActivityRegularization(l1=0.1),
                layers.Dense(1),
            ]
        )
    )
    history = fit(model, RegularizationLogger())
    assert history["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6)
    np.testing.assert_allclose(np.add(history["val_data_loss"], history["penalty"]), history["val_loss"], rtol=2e-6)
    assert history["val_data_loss"][-1] > history["val_mse"][-1] + 1e-3


@slow_on_tensorflow
def test_per_layer_numbers_against_numpy():
    model = compiled(models.nested_and_shared, optimizer=keras.optimizers.SGD(0.0))
    kernel = model.get_layer("a").get_layer("dense").kernel
    kernel.assign(np.array([[0.0, 2.0], [0.0, -5e-4], [0.0, 1.0]]))
    history = fit(model, RegularizationLogger(per_layer=True), epochs=1)
    assert history["penalty/a/dense"] == [pytest.approx(0.01 * 3.0005)]
    assert history["sparsity/a/dense"] == [0.5]
    assert history["weight_norm/a/dense"] == [pytest.approx(math.sqrt(5 + 25e-8))]
    paths = ["a/dense", "b/dense", "shared/dense", "dense"]
    assert sum(history[f"penalty/{path}"][0] for path in paths) == pytest.approx(history["penalty"][0])
    weights = np.concatenate([ops.convert_to_numpy(kernel).ravel() for kernel in regularized(model)])
    assert history["sparsity"] == [pytest.approx(np.mean(weights == 0))]
    assert history["near_sparsity"] == [pytest.approx(np.mean(np.abs(weights) < 1e-3))]


@slow_on_tensorflow
def test_a_model_without_regularizers_has_a_sparsity_too():
    model = compiled(models.unregularized, optimizer=keras.optimizers.SGD(0.0))
    model.layers[0].kernel.assign(np.eye(6, 1))
    history = fit(model, RegularizationLogger(per_layer=True))
    assert history["penalty"] == [0.0, 0.0]
    assert history["sparsity"] == history["near_sparsity"] == [pytest.approx(5 / 6)] * 2
    assert not [key for key in history if "/" in key]
    np.testing.assert_allclose(history["val_data_loss"], history["val_loss"])


def test_sparsity_is_the_one_number_that_sparsity_gives():
    """Some weights pay a penalty, some don't, some are frozen, some have one axis."""
    model = compiled(
        lambda: keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(4, use_bias=False, trainable=False, name="frozen"),
                layers.BatchNormalization(gamma_regularizer="l1", name="gates"),
                layers.Dense(1, kernel_regularizer="l1", bias_regularizer="l1", name="head"),
            ]
        ),
        optimizer=keras.optimizers.SGD(0.0),
    )
    model.layers[0].kernel.assign(np.eye(6, 4))
    model.layers[1].gamma.assign([1.0, 0.0, 1e-4, 0.0])
    model.layers[2].bias.assign([5e-4])
    history = fit(model, RegularizationLogger(per_layer=True), epochs=1)
    report = sparsity(model)
    assert history["sparsity"] == [pytest.approx(report.total.sparsity)] == [pytest.approx((20 + 2) / (24 + 4 + 5))]
    assert history["near_sparsity"] == [pytest.approx((20 + 2 + 2) / 33)]
    assert history["sparsity/gates"] == [report.layers["gates"].sparsity] == [0.5]
    assert [key for key in history if key.startswith("sparsity/")] == ["sparsity/gates", "sparsity/head"]


@pytest.mark.parametrize("policy", mostly_slow(["mixed_bfloat16", "mixed_float16"]))
def test_other_precisions(policy):
    keras.config.set_dtype_policy(policy)
    model = compiled(models.dense)
    history = fit(model, RegularizationLogger())
    assert history["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6)
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=1e-2)


def grouped(optimizer):
    return compiled(
        lambda: keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(5, kernel_regularizer=GroupLasso(1e-9), name="outputs"),
                layers.Dense(4, kernel_regularizer=SparseGroupLasso(1e-9, 1e-9, "inputs"), name="inputs"),
                layers.Dense(1, kernel_regularizer="l2", name="plain"),
            ]
        ),
        optimizer=optimizer,
    )


OPTIMIZERS = {
    "sgd": lambda inner: inner,
    "proximal": lambda inner: Proximal(inner, strength=0.25),
    "wrapped": lambda inner: keras.optimizers.LossScaleOptimizer(Proximal(inner, strength=0.25)),
}


@pytest.mark.parametrize("optimizer", mostly_slow(OPTIMIZERS, "proximal"))
def test_dead_groups_against_numpy_and_the_strength_of_a_proximal(optimizer):
    model = grouped(OPTIMIZERS[optimizer](keras.optimizers.SGD(0.0)))
    for layer, index in [("outputs", np.s_[:, [1, 3]]), ("inputs", np.s_[2]), ("plain", np.s_[2:])]:
        kernel = np.array(ops.convert_to_numpy(model.get_layer(layer).kernel))
        kernel[index] = 0.0
        kernel[0, 0] = 0.0  # a zero more that kills no group
        model.get_layer(layer).kernel.assign(kernel)
    history = fit(model, RegularizationLogger(per_layer=True))
    assert history["dead_groups"] == [3, 3]
    assert history["dead_groups/outputs"] == [2, 2]
    assert history["dead_groups/inputs"] == [1, 1]
    assert "dead_groups/plain" not in history
    assert history.get("strength") == (None if optimizer == "sgd" else [0.25, 0.25])


@slow_on_tensorflow
def test_the_strength_of_a_schedule_is_logged_as_it_is_at_the_next_step():
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 6, 0.0)
    model = compiled(models.dense, optimizer=Proximal("sgd", strength=schedule))
    history = fit(model, RegularizationLogger())  # 3 steps an epoch
    assert history["strength"] == [pytest.approx(0.5), pytest.approx(0.0)]
