"""TargetSparsity: the share of zeros that was asked for is met, kept, and said where it isn't."""

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.callbacks.strength_models import L1, data, fit, kernels, mlp, strength, zero_share
from tests.tools import slow_on_tensorflow
from tf_reg.callbacks.regularization_logger import RegularizationLogger
from tf_reg.callbacks.strength import proximal_of
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.measure.zeros import sparsity
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract
BACKEND = keras.backend.backend()


def share_of(parts):
    return float(np.mean(np.concatenate([part.ravel() for part in parts]) == 0))


def test_a_target_share_of_weights_is_met_frozen_and_refitted():
    """The middle layer's penalty gives no zeros, so its weights don't count."""
    model = mlp(L1(1e-3), keras.regularizers.L2(1e-4), L1(1e-3))
    target = TargetSparsity(0.8, refit_epochs=4)
    history = fit(model, target)
    first, second, last = kernels(model)
    assert share_of([first, last]) == pytest.approx(0.8, abs=0.01)
    assert np.abs(second).mean() > 0.05
    assert history["zero_share"][-1] == pytest.approx(share_of([first, last]), abs=1e-6)
    assert history["refit"] == sorted(history["refit"])
    assert (history["refit"][0], history["refit"][-1]) == (0.0, 1.0)
    assert all((value == 0) == (refit == 1) for value, refit in zip(history["strength"], history["refit"], strict=True))
    assert proximal_of(model.optimizer).frozen
    assert strength(model) == 0.0
    fit(model, epochs=1)
    for old, new in zip((first, last), kernels(model)[::2], strict=True):
        np.testing.assert_array_equal(old == 0, new == 0)
        assert np.abs(old - new).max() > 0  # the survivors go on learning
    model.layers[0].kernel.assign(ops.ones((30, 40)))  # as a callback does that brings back older weights
    with pytest.warns(UserWarning, match=r"froze at it, and other weights came later: the share is 0\."):
        target.on_train_end()


@pytest.mark.slow
def test_a_target_share_of_groups_is_met_to_the_nearest_group():
    model = mlp(GroupLasso(1e-3, "inputs"), SparseGroupLasso(1e-4, 1e-3, "inputs"), None)
    fit(model, TargetSparsity(0.75, of="groups"))
    groups = np.concatenate([np.all(kernel == 0, axis=1) for kernel in kernels(model)])
    assert groups.size == 70
    assert abs(groups.mean() - 0.75) <= max(0.01, 0.5001 / groups.size)


@pytest.mark.slow
def test_a_target_share_of_parameters_is_met():
    model = mlp(GroupLasso(1e-3), None, units=100)
    fit(model, TargetSparsity(0.5, of="parameters"))
    total = sparsity(model).total
    assert 1 - total.live / total.parameters == pytest.approx(0.5, abs=0.01)
    assert total.dead_outputs > 30


@pytest.mark.slow
def test_a_strength_far_too_high_comes_down_and_weights_revive():
    model = mlp(L1(1e-3), L1(1e-3))
    history = fit(model, TargetSparsity(0.6, initial=1e4), epochs=30)
    assert history["zero_share"][0] > 0.95
    assert zero_share(model) == pytest.approx(0.6, abs=0.01)


@slow_on_tensorflow
def test_under_a_loss_scale_optimizer_with_several_steps_per_execution():
    keras.config.set_dtype_policy("mixed_float16")
    options = {} if BACKEND == "torch" else {"steps_per_execution": 4}  # keras on torch has none
    model = mlp(L1(1e-3), L1(1e-3), **options)
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    history = fit(model, TargetSparsity(0.7), RegularizationLogger())
    assert zero_share(model) == pytest.approx(0.7, abs=0.01)
    assert history["strength"][-1] == 0.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # keras says so of every such dataset
def test_with_batches_that_nobody_counted():
    """They are counted in the first epoch, of 16 batches."""
    tf = pytest.importorskip("tensorflow")
    batches = tf.data.Dataset.from_tensor_slices(data()).batch(16).filter(lambda x, y: True)
    model = mlp(L1(1e-3), L1(1e-3), optimizer=Proximal(optimizers.Adam(3e-3)))
    history = model.fit(batches, epochs=14, shuffle=False, verbose=0, callbacks=[TargetSparsity(0.7)]).history
    assert np.isnan(history["zero_share"][0])
    assert zero_share(model) == pytest.approx(0.7, abs=0.01)


@pytest.mark.slow
def test_one_callback_serves_two_models_in_turn():
    callback = TargetSparsity(0.7)
    first = mlp(L1(1e-3), L1(1e-3))
    fit(first, callback)
    second = mlp(L1(1e-2), L1(1e-2), units=20)
    fit(second, callback)
    assert zero_share(first) == pytest.approx(0.7, abs=0.01)
    assert zero_share(second) == pytest.approx(0.7, abs=0.01)


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity", "ignore:The output doesn't depend")  # 4 epochs are too few
@pytest.mark.parametrize("keep", [True, False])
def test_zeros_kept_from_the_first_step_on(keep):
    """A strength that falls after a while brings weights back, unless zeros are kept."""

    class Fall(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            share = zero_share(self.model)
            self.shares.append(share)
            if share > 0.3:
                proximal_of(self.model.optimizer).strength = 0.0

    fall = Fall()
    fall.shares = []
    model = mlp(L1(1e-3), L1(1e-3))
    fit(model, TargetSparsity(0.8, keep_zeros=keep), fall, epochs=4)
    assert max(fall.shares) > 0.3
    assert (fall.shares == sorted(fall.shares)) is keep


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
def test_a_target_out_of_reach_is_said_and_nothing_is_frozen():
    model = mlp(L1(1e-30), L1(1e-30))  # the strength rises by a factor of 1e9 at most
    with pytest.warns(UserWarning, match=r"TargetSparsity\(0.9, of='weights'\) did not reach it: the share is 0.0000"):
        history = fit(model, TargetSparsity(0.9, keep_zeros=False), epochs=2)
    assert history["refit"] == [0.0, 0.0]
    assert not proximal_of(model.optimizer).frozen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0.0}, "target is a share"),
        ({"target": 1.0}, "target is a share"),
        ({"target": 90}, "target is a share"),
        ({"target": 0.5, "of": "layers"}, "of is one of 'weights', 'groups', 'channels', 'parameters', 'flops'"),
        ({"target": 0.5, "tolerance": 0.0}, "tolerance is a share"),
        ({"target": 0.5, "refit_epochs": -1}, "refit_epochs is a number of epochs"),
        ({"target": 0.5, "refit_epochs": 1.5}, "refit_epochs is a number of epochs"),
        ({"target": 0.5, "initial": 0.0}, "initial is a strength above 0"),
    ],
)
def test_bad_arguments_of_a_target(options, message):
    with pytest.raises(ValueError, match=message):
        TargetSparsity(**options)


def test_what_a_target_needs():
    with pytest.raises(ValueError, match="refit_epochs must be below the 2 of fit"):
        fit(mlp("l1"), TargetSparsity(0.5, refit_epochs=2), epochs=2)
    with pytest.raises(ValueError, match=r"\(of='weights'\) needs weights with a penalty that gives zeros"):
        fit(mlp("l2"), TargetSparsity(0.5), epochs=1)
    with pytest.raises(ValueError, match=r"needs kernels with a regularizer that has groups"):
        fit(mlp("l1"), TargetSparsity(0.5, of="groups"), epochs=1)
