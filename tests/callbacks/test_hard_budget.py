"""TargetSparsity with an exact number: it is met to the last one, whatever the layers, optimizers and backends."""

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

from tests.callbacks.strength_models import L1, fit, kernels, mlp
from tests.tools import slow_on_tensorflow
from tf_reg.callbacks.regularization_logger import RegularizationLogger
from tf_reg.callbacks.strength import proximal_of
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.compaction.compact import compact
from tf_reg.compaction.coupled import channels
from tf_reg.compaction.plan import plan_compaction
from tf_reg.measure.zeros import sparsity
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.mcp import MCP

pytestmark = pytest.mark.contract


def alive_weights(model):
    return sum(int(np.count_nonzero(kernel)) for kernel in kernels(model))


def alive_inputs(model):
    return [int((kernel != 0).any(axis=1).sum()) for kernel in kernels(model)]


def convolutional(penalty, optimizer=None, bias=False):
    """Two convolutions, whose channels nothing holds, and a dense layer."""
    both = [
        layers.Conv2D(16, 3, padding="same", activation="relu", use_bias=bias, kernel_regularizer=penalty, name=name)
        for name in ("one", "two")
    ]
    model = keras.Sequential([keras.Input((6, 5, 1)), *both, layers.GlobalAveragePooling2D(), layers.Dense(2)])
    model.compile(optimizer or Proximal(optimizers.Adam(3e-3)), "mse")
    return model


def fit_images(model, *callbacks, epochs=12):
    random = np.random.default_rng(0)
    x = random.normal(size=(128, 6, 5, 1)).astype("float32")
    y = np.stack([x[:, 1:3].mean(axis=(1, 2, 3)), np.abs(x).mean(axis=(1, 2, 3))], axis=1)
    return model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def test_exactly_as_many_weights_stay():
    model = mlp(L1(1e-3), None, L1(1e-3))
    history = fit(model, TargetSparsity(0.813, exact=True, refit_epochs=2), epochs=6)
    count = 30 * 40 + 40 * 2
    assert alive_weights(model) == round(0.187 * count)
    assert history["zero_share"][-1] == pytest.approx(1 - round(0.187 * count) / count)
    assert history["refit"][-1] == 1.0
    assert proximal_of(model.optimizer).frozen
    assert min(np.count_nonzero(kernel) for kernel in kernels(model)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("keep_zeros", [None, False])
@pytest.mark.parametrize(
    "make", [lambda: optimizers.SGD(3e-2, momentum=0.9), lambda: optimizers.Adam(3e-3, use_ema=True)]
)
def test_exactly_as_many_weights_stay_with_other_optimizers(make, keep_zeros):
    model = mlp(L1(1e-3), MCP(1e-3, 100.0), optimizer=Proximal(make()))
    fit(model, TargetSparsity(0.9, exact=True, keep_zeros=keep_zeros))
    assert alive_weights(model) == 128


@slow_on_tensorflow
def test_under_a_loss_scale_and_without_frozen_layers():
    keras.config.set_dtype_policy("mixed_float16")
    model = mlp(L1(1e-3), L1(1e-3), L1(1e-3))
    model.layers[1].trainable = False
    model.compile(Proximal(optimizers.Adam(3e-3)), "mse")
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    fit(model, TargetSparsity(0.7, exact=True))
    first, frozen, last = kernels(model)
    assert np.count_nonzero(first) + np.count_nonzero(last) == round(0.3 * (1200 + 80))
    assert np.count_nonzero(frozen) == frozen.size


@pytest.mark.slow
def test_exactly_as_many_groups_stay():
    model = mlp(GroupLasso(1e-3, "inputs"), GroupLasso(1e-3, "inputs"), None)
    fit(model, TargetSparsity(0.6, of="groups", exact=True))
    assert sum(alive_inputs(model)) == 28


@pytest.mark.slow
def test_groups_in_blocks():
    model = mlp(GroupLasso(1e-3, "inputs"), GroupLasso(1e-3, "inputs"), None)
    fit(model, TargetSparsity(0.5, of="groups", exact=True, round_to=8))
    assert sum(alive_inputs(model)) == 32  # 35 at most
    assert all(count % 8 == 0 for count in alive_inputs(model))


@pytest.mark.slow
@pytest.mark.parametrize("round_to", [None, 4])
def test_exactly_as_many_channels_stay(round_to):
    model = convolutional(GroupLasso(1e-3))
    target = TargetSparsity(0.5, of="channels", exact=True, round_to=round_to)
    history = fit_images(model, target, RegularizationLogger())
    alive = [int((~group.dead()).sum()) for group in channels(model).free]
    assert sum(alive) == 16
    assert round_to is None or all(count % 4 == 0 for count in alive)
    assert history["dead_channels"][-1] == 16
    small = compact(model)
    assert [layer.filters for layer in small.layers[:2]] == alive
    assert "tf_reg.compact removes 16 of 32 channels" in str(sparsity(model))


@pytest.mark.slow
def test_channels_that_nobody_reads():
    """The penalty is on the numbers that read them, and there is none on those that make them."""
    readers = [layers.Dense(n, kernel_regularizer=GroupLasso(1e-3, "inputs")) for n in (20, 2)]
    model = keras.Sequential([keras.Input((30,)), layers.Dense(40, "tanh"), *readers])
    model.compile(Proximal(optimizers.Adam(3e-3)), "mse")
    fit(model, TargetSparsity(0.6, of="channels", exact=True))
    assert sum(int((~group.dead()).sum()) for group in channels(model).free) == 24


@pytest.mark.slow
@pytest.mark.parametrize("of", ["flops", "channels"])
def test_a_share_of_multiply_adds_and_of_channels_is_met(of):
    model = convolutional(GroupLasso(1e-3))
    fit_images(model, TargetSparsity(0.5, of=of, tolerance=0.03), epochs=20)
    before, after = plan_compaction(model).multiply_adds
    dead = np.concatenate([group.dead() for group in channels(model).free])
    share = 1 - after / before if of == "flops" else dead.mean()
    assert share == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_too_many_zeros_come_back_before_the_number_is_exact():
    model = mlp(L1(1e-3), L1(1e-3))
    history = fit(model, TargetSparsity(0.6, initial=1e4, exact=True), epochs=30)
    assert history["zero_share"][0] > 0.95
    assert alive_weights(model) == 512


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
@pytest.mark.filterwarnings("ignore:The output doesn't depend")
def test_zeros_that_never_come_back_are_said():
    model = mlp(L1(1e-3), L1(1e-3))
    for layer in model.layers:  # no gradient leads out of two layers of zeros
        layer.kernel.assign(ops.zeros(layer.kernel.shape))
    with pytest.warns(UserWarning, match=r"has too many zeros: 0 of 1,280 weights aren't zero, and 512 are to stay"):
        fit(model, TargetSparsity(0.6, exact=True), epochs=2)
    assert not proximal_of(model.optimizer).frozen


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
@pytest.mark.parametrize("refit_epochs", [0, 1])
def test_a_search_that_did_not_come_near_is_said_and_the_number_is_exact(refit_epochs):
    model = mlp(L1(1e-30), L1(1e-30))  # the strength rises by a factor of 1e9 at most
    with pytest.warns(UserWarning, match=r"set 1,152 of 1,280 weights to zero at once: the search had not come near"):
        fit(model, TargetSparsity(0.9, exact=True, refit_epochs=refit_epochs), epochs=2)
    assert alive_weights(model) == 128


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
@pytest.mark.filterwarnings("ignore:TargetSparsity.* at once", "ignore:The output doesn't depend")
def test_a_layer_that_becomes_zero_is_said():
    model = mlp(*[GroupLasso(1e-30, "inputs")] * 3, units=4)
    model.layers[0].kernel.assign(ops.ones((30, 4)))
    with pytest.warns(UserWarning, match="kept 2 of 38 groups, and none in dense"):
        fit(model, TargetSparsity(0.95, of="groups", exact=True, refit_epochs=0), epochs=1)
    assert sum(alive_inputs(model)) == 2


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
def test_channels_that_die_with_others_are_no_candidates():
    """A channel of the first layer has one reader, which is the smallest channel of the second."""
    first, second = (layers.Dense(4, use_bias=False, kernel_regularizer=GroupLasso(1e-30)) for _ in range(2))
    model = keras.Sequential([keras.Input((3,)), first, second, layers.Dense(1)])
    model.compile(Proximal(optimizers.SGD(0.0)), "mse")
    first.kernel.assign(np.ones((3, 4)) * [9.0, 3.0, 2.0, 1.0])
    rows = np.ones((4, 4))
    rows[0] = [0.0, 0.0, 0.0, 0.1]
    rows[:, 3] = [0.1, 0.0, 0.0, 0.0]
    second.kernel.assign(rows * [5.0, 4.0, 3.0, 1.0])
    with pytest.warns(UserWarning, match="at once: the search"):
        model.fit(
            np.ones((8, 3)), np.ones((8, 1)), verbose=0,
            callbacks=[TargetSparsity(0.25, of="channels", exact=True, refit_epochs=0)],
        )  # fmt: skip
    assert [group.dead().tolist() for group in channels(model).free] == [
        [True, False, False, False],
        [False, False, False, True],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exact": 1}, "exact is True or False"),
        ({"exact": True, "of": "flops"}, "exact=True takes 'weights', 'groups', 'channels'"),
        ({"exact": True, "of": "groups", "round_to": 0}, "round_to is a number of 1 or above"),
        ({"of": "groups", "round_to": 8}, "round_to takes exact=True"),
        ({"exact": True, "round_to": 8}, "round_to takes exact=True, and of='groups'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        TargetSparsity(0.5, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TargetSparsity.* steps to search")
def test_what_a_budget_needs():
    with pytest.raises(ValueError, match=r"must leave something. Received: target=0.9999, with which 0 of 1,?280"):
        fit(mlp("l1", "l1"), TargetSparsity(0.9999, exact=True), epochs=1)
    model = mlp(GroupLasso(1e-3, "inputs"), None)
    with pytest.raises(ValueError, match=r"with which 6, which is less than a block of round_to=8, of 30 groups"):
        fit(model, TargetSparsity(0.8, of="groups", exact=True, round_to=8), epochs=1)
    with pytest.raises(ValueError, match=r"needs channels that nothing holds"):
        fit_images(convolutional(GroupLasso(1e-3), bias=True), TargetSparsity(0.5, of="channels"), epochs=1)
