"""The callbacks that move the strength: what they set takes effect, and a target is met."""

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

from tf_reg.callbacks.gap_controller import GapController
from tf_reg.callbacks.refit import Refit
from tf_reg.callbacks.regularization_logger import RegularizationLogger
from tf_reg.callbacks.strength import proximal_of
from tf_reg.callbacks.strength_schedule import StrengthSchedule
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.measure.zeros import sparsity
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

pytestmark = pytest.mark.contract
L1 = keras.regularizers.L1
BACKEND = keras.backend.backend()


class Counting(layers.Layer):
    """Counts how often Python runs it: once a trace where the backend compiles."""

    calls = 0

    def call(self, x):
        type(self).calls += 1
        return x


def data(examples=256, features=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, features)).astype("float32")
    y = x[:, :5] @ rng.normal(size=(5, 2)) + 0.1 * rng.normal(size=(examples, 2))
    return x, y.astype("float32")


def mlp(regularizer, optimizer=None, units=40, **options):
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(units, "tanh", kernel_regularizer=regularizer),
            layers.Dense(2, kernel_regularizer=None if isinstance(regularizer, GroupLasso) else regularizer),
        ]
    )
    optimizer = optimizer or Proximal(optimizers.Adam(3e-3))
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, epochs=12, **options):
    x, y = data()
    options = {"batch_size": 16, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options).history


def strength(model):
    return float(ops.convert_to_numpy(proximal_of(model.optimizer).strength))


def kernels(model):
    return [ops.convert_to_numpy(layer.kernel) for layer in model.layers if layer.weights and layer.kernel.regularizer]


def zero_share(model):
    return float(np.mean(np.concatenate([kernel.ravel() for kernel in kernels(model)]) == 0))


CALLBACKS = [
    lambda: StrengthSchedule(lambda epoch: 1.0),
    lambda: TargetSparsity(0.5),
    GapController,
    lambda: Refit(1),
]
NAMES = ["StrengthSchedule", "TargetSparsity", "GapController", "Refit"]


@pytest.mark.parametrize(("make", "name"), list(zip(CALLBACKS, NAMES, strict=True)), ids=NAMES)
def test_the_optimizer_must_have_a_strength_that_can_be_set(make, name):
    with pytest.raises(ValueError, match=f"{name} moves the strength.*Received a model whose optimizer is Adam"):
        fit(mlp("l1", "adam"), make())
    scheduled = Proximal("adam", strength=optimizers.schedules.ExponentialDecay(1.0, 10, 0.5))
    with pytest.raises(ValueError, match=f"{name} .*whose strength is a schedule"):
        fit(mlp("l1", scheduled), make())


def test_the_proximal_is_found_inside_others():
    inner = Proximal("adam")
    assert proximal_of(inner) is inner
    assert proximal_of(optimizers.LossScaleOptimizer(inner)) is inner
    assert proximal_of(optimizers.LossScaleOptimizer(optimizers.Adam())) is None
    assert proximal_of(None) is None


class SetAt(keras.callbacks.Callback):
    """Sets the strength after one batch, and keeps the share of zeros and the count of traces after each."""

    def __init__(self, batch, value):
        super().__init__()
        self.batch, self.value, self.seen = batch, value, []

    def on_train_batch_end(self, batch, logs=None):
        optimizer = proximal_of(self.model.optimizer)
        self.seen.append((zero_share(self.model), Counting.calls))
        if batch == self.batch:
            optimizer.strength = self.value


@pytest.mark.parametrize("jit_compile", [False, True] if BACKEND == "tensorflow" else ["auto"])
def test_a_strength_set_between_batches_takes_effect_without_retracing(jit_compile):
    model = keras.Sequential([keras.Input((30,)), Counting(), layers.Dense(2, kernel_regularizer=L1(1e-3))])
    model.compile(Proximal(optimizers.SGD(0.01), strength=0.0), "mse", jit_compile=jit_compile)
    setter = SetAt(4, 1e6)
    x, y = data()
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[setter])
    shares, calls = zip(*setter.seen, strict=True)
    assert shares == (0.0,) * 5 + (1.0,) * 3
    if BACKEND != "torch":
        assert len(set(calls)) == 1


def test_a_strength_per_epoch():
    model = mlp(L1(1e-3))
    history = fit(model, StrengthSchedule(lambda epoch: [0, 0.5, 1e5][epoch]), RegularizationLogger(), epochs=3)
    assert history["strength"] == [0.0, 0.5, 1e5]
    assert history["sparsity"][0] == 0.0
    assert history["sparsity"][2] == 1.0


def test_a_keras_schedule_of_epochs():
    schedule = optimizers.schedules.PiecewiseConstantDecay([0, 1], [4.0, 2.0, 1.0])
    model = mlp(L1(1e-3))
    history = fit(model, StrengthSchedule(schedule), epochs=4, initial_epoch=1)
    assert history["strength"] == [2.0, 1.0, 1.0]
    assert strength(model) == 1.0


def test_a_schedule_below_zero_or_none_at_all():
    with pytest.raises(ValueError, match="strength is a finite number"):
        fit(mlp("l1"), StrengthSchedule(lambda epoch: -1.0))
    with pytest.raises(ValueError, match="schedule is a function of the epoch"):
        StrengthSchedule(0.5)


def test_a_refit_keeps_the_choice_and_drops_the_penalty():
    model = mlp(L1(0.05))
    history = fit(model, Refit(3), RegularizationLogger(), epochs=6)
    assert history["refit"] == [0.0] * 3 + [1.0] * 3
    assert history["strength"] == [1.0] * 3 + [0.0] * 3
    assert history["sparsity"][2] > 0.1
    assert history["sparsity"][3:] == sorted(history["sparsity"][2:])[-3:]
    assert history["penalty"][-1] > history["penalty"][2]  # the survivors grow to their size


@pytest.mark.parametrize("epochs", [0, 1.5, True])
def test_a_refit_is_a_number_of_epochs(epochs):
    with pytest.raises(ValueError, match="epochs is a number of epochs, 1 or above"):
        Refit(epochs)


def test_a_refit_needs_epochs_before_it():
    with pytest.raises(ValueError, match="epochs must be below the 2 of fit"):
        fit(mlp("l1"), Refit(2), epochs=2)


def test_a_refit_after_a_refit_needs_a_penalty_again():
    """But a training that was cut off within its refit goes on."""
    model = mlp(L1(0.05))
    fit(model, Refit(2), epochs=3)
    fit(model, Refit(2), epochs=4, initial_epoch=2)
    with pytest.raises(ValueError, match=r"has the strength 0, as an earlier refit leaves it. Call its unfreeze\(\)"):
        fit(model, Refit(1), epochs=2)
    proximal = proximal_of(model.optimizer)
    proximal.unfreeze()
    proximal.strength = 0.5
    assert fit(model, Refit(1), epochs=2)["strength"] == [0.5, 0.0]


def test_a_target_share_of_weights_is_met_frozen_and_refitted():
    model = mlp(L1(1e-3))
    history = fit(model, TargetSparsity(0.8, refit_epochs=4))
    assert zero_share(model) == pytest.approx(0.8, abs=0.01)
    assert history["zero_share"][-1] == pytest.approx(zero_share(model), abs=1e-6)
    assert history["refit"] == sorted(history["refit"])
    assert (history["refit"][0], history["refit"][-1]) == (0.0, 1.0)
    assert all((value == 0) == (refit == 1) for value, refit in zip(history["strength"], history["refit"], strict=True))
    assert proximal_of(model.optimizer).frozen
    assert strength(model) == 0.0
    before = kernels(model)
    fit(model, epochs=1)
    for old, new in zip(before, kernels(model), strict=True):
        np.testing.assert_array_equal(old == 0, new == 0)
        assert np.abs(old - new).max() > 0  # the survivors go on learning


@pytest.mark.parametrize("regularizer", [GroupLasso(1e-3, "inputs"), SparseGroupLasso(1e-4, 1e-3, "inputs")])
def test_a_target_share_of_groups_is_met_to_the_nearest_group(regularizer):
    model = mlp(regularizer)
    fit(model, TargetSparsity(0.75, of="groups"))
    groups = np.concatenate([np.all(kernel == 0, axis=1) for kernel in kernels(model)])
    assert abs(groups.mean() - 0.75) <= max(0.01, 0.5001 / groups.size)


def test_a_target_share_of_parameters_is_met():
    model = mlp(GroupLasso(1e-3), units=100)
    fit(model, TargetSparsity(0.5, of="parameters"))
    total = sparsity(model).total
    assert 1 - total.live / total.parameters == pytest.approx(0.5, abs=0.01)
    assert total.dead_outputs > 30


def test_a_strength_far_too_high_comes_down_and_weights_revive():
    model = mlp(L1(1e-3))
    history = fit(model, TargetSparsity(0.6, initial=1e4), RegularizationLogger(), epochs=24)
    assert history["zero_share"][0] > 0.95
    assert zero_share(model) == pytest.approx(0.6, abs=0.01)


def test_with_a_map_now_and_then_only():
    model = mlp(L1(1e-3), Proximal(optimizers.Adam(3e-3), every=7))  # an epoch has 16 batches
    fit(model, TargetSparsity(0.7))
    assert zero_share(model) == pytest.approx(0.7, abs=0.01)


def test_weights_that_can_not_become_zero_do_not_count():
    model = mlp(L1(1e-3))
    model.layers[1].kernel_regularizer = keras.regularizers.L2(1e-4)
    model.layers[1].kernel.regularizer = keras.regularizers.L2(1e-4)
    fit(model, TargetSparsity(0.7))
    first, second = kernels(model)
    assert np.mean(first == 0) == pytest.approx(0.7, abs=0.01)
    assert np.abs(second).mean() > 0.05


@pytest.mark.skipif(BACKEND == "torch", reason="keras on torch has no steps_per_execution")
def test_with_several_steps_per_execution():
    model = mlp(L1(1e-3), steps_per_execution=4)
    fit(model, TargetSparsity(0.7))
    assert zero_share(model) == pytest.approx(0.7, abs=0.01)


def test_under_a_loss_scale_optimizer():
    keras.config.set_dtype_policy("mixed_float16")
    model = mlp(L1(1e-3))
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer)
    history = fit(model, TargetSparsity(0.7), RegularizationLogger())
    assert zero_share(model) == pytest.approx(0.7, abs=0.01)
    assert history["strength"][-1] == 0.0


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # keras says so of every such dataset
def test_batches_that_nobody_counted_are_counted_in_the_first_epoch():
    tf = pytest.importorskip("tensorflow")
    batches = tf.data.Dataset.from_tensor_slices(data()).batch(16).filter(lambda x, y: True)
    model = mlp(L1(1e-3))
    history = model.fit(batches, epochs=14, shuffle=False, verbose=0, callbacks=[TargetSparsity(0.7)]).history
    assert np.isnan(history["zero_share"][0])
    assert zero_share(model) == pytest.approx(0.7, abs=0.01)


@pytest.mark.slow
def test_one_callback_serves_two_models_in_turn():
    callback = TargetSparsity(0.7)
    first = mlp(L1(1e-3))
    fit(first, callback)
    second = mlp(L1(1e-2), units=20)
    fit(second, callback)
    assert zero_share(first) == pytest.approx(0.7, abs=0.01)
    assert zero_share(second) == pytest.approx(0.7, abs=0.01)


@pytest.mark.filterwarnings("ignore:TargetSparsity")  # 4 epochs are too few for it
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
    model = mlp(L1(1e-3))
    fit(model, TargetSparsity(0.8, keep_zeros=keep), fall, epochs=4)
    assert max(fall.shares) > 0.3
    assert (fall.shares == sorted(fall.shares)) is keep


def test_a_target_out_of_reach_is_said_and_nothing_is_frozen():
    model = mlp(L1(1e-30))  # the strength rises by a factor of 1e9 at most
    with pytest.warns(UserWarning, match=r"TargetSparsity\(0.9, of='weights'\) did not reach it: the share is 0.0000"):
        history = fit(model, TargetSparsity(0.9, keep_zeros=False), epochs=2)
    assert history["refit"] == [0.0, 0.0]
    assert not proximal_of(model.optimizer).frozen


def test_older_weights_that_come_back_are_noticed():
    class Restore(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.layers[0].kernel.assign(ops.ones((30, 40)))

    with pytest.warns(UserWarning, match="froze at it, and other weights came later: the share is 0.0"):
        fit(mlp(L1(1e-3)), Restore(), TargetSparsity(0.7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0.0}, "target is a share"),
        ({"target": 1.0}, "target is a share"),
        ({"target": 90}, "target is a share"),
        ({"target": 0.5, "of": "layers"}, "of is one of 'weights', 'groups', 'parameters'"),
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
    with pytest.raises(ValueError, match=r"TargetSparsity\(of='groups'\) needs kernels with a tf_reg.GroupLasso"):
        fit(mlp("l1"), TargetSparsity(0.5, of="groups"), epochs=1)


def controlled(losses, start=1.0, keys=("loss", "val_loss"), **options):
    """The strengths that a GapController sets while the losses go as given."""
    model = mlp("l1", Proximal("sgd", strength=start))
    controller = GapController(**options)
    controller.set_model(model)
    controller.on_train_begin()
    strengths = []
    for epoch, pair in enumerate(losses):
        logs = dict(zip(keys, pair, strict=True))
        controller.on_epoch_end(epoch, logs)
        assert logs["gap"] == pytest.approx(pair[1] - pair[0])
        assert logs["strength"] == pytest.approx(strength(model))
        strengths.append(logs["strength"])
    return strengths


def test_a_gap_that_grows_raises_the_strength():
    assert controlled([(1.0, 1.1), (0.8, 1.1), (0.6, 1.2)], factor=2.0) == [1.0, 2.0, 4.0]


def test_validation_that_suffers_without_a_gap_lowers_the_strength():
    assert controlled([(1.0, 1.1), (1.2, 1.3), (1.5, 1.6)], factor=2.0) == [1.0, 0.5, 0.25]


def test_all_well_changes_nothing():
    assert controlled([(1.0, 1.1), (0.8, 0.9), (0.6, 0.7)]) == [1.0, 1.0, 1.0]


def test_the_averages_forget_as_fast_as_they_are_told():
    losses = [(0.0, 1.0), (0.0, 3.0), (0.0, 2.0)]
    assert controlled(losses, factor=2.0, smoothing=0.0) == [1.0, 2.0, 2.0]
    assert controlled(losses, factor=2.0, smoothing=0.9) == [1.0, 2.0, 4.0]


def test_small_differences_and_bounds():
    assert controlled([(1.0, 1.1), (1.0, 1.15)], min_delta=0.1) == [1.0, 1.0]
    assert controlled([(1.0, 1.1), (0.0, 1.1), (-1.0, 1.1)], bounds=(0.1, 2.0)) == [1.0, 1.5, 2.0]


def test_which_losses_are_compared():
    keys = ("data_loss", "val_data_loss", "loss", "val_loss")
    model = mlp("l1")
    for options, gap in [({}, 1.0), ({"metric": "loss"}, 3.0)]:
        controller = GapController(**options)
        controller.set_model(model)
        controller.on_train_begin()
        logs = dict(zip(keys, (1.0, 2.0, 4.0, 7.0), strict=True))
        controller.on_epoch_end(0, logs)
        assert logs["gap"] == gap


def test_an_overfitting_model_is_held_back():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 30)).astype("float32"), rng.normal(size=(64, 2)).astype("float32")
    model = mlp(L1(1e-4), Proximal(optimizers.Adam(3e-3)))
    options = {"epochs": 8, "verbose": 0, "validation_data": (-x, y)}
    history = model.fit(x, y, callbacks=[GapController(factor=3.0)], **options).history
    assert history["strength"][-1] > 3.0
    np.testing.assert_allclose(history["gap"], np.subtract(history["val_loss"], history["loss"]), rtol=1e-6)


def test_an_epoch_without_the_losses_is_an_error():
    with pytest.raises(ValueError, match=r"compares 'loss' with 'val_loss'. Received the logs \['loss'\]"):
        fit(mlp("l1"), GapController(), epochs=1)
    with pytest.raises(ValueError, match="compares 'mse' with 'val_mse'"):
        fit(mlp("l1"), GapController(metric="mse"), epochs=1)
    with pytest.raises(ValueError, match="must be above zero"):
        fit(mlp("l1", Proximal("sgd", strength=0.0)), GapController(), epochs=1)


@pytest.mark.parametrize(
    "options", [{"factor": 1.0}, {"smoothing": 1.0}, {"min_delta": -1.0}, {"bounds": (0.0, 1.0)}, {"bounds": (2, 1)}]
)
def test_bad_arguments_of_a_gap_controller(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GapController(**options)


LANDINGS = {  # the data's seed, layers, regularizer, optimizer, share of what, target
    "digits, MLP, Adam, L1": (None, "mlp", L1(1e-4), optimizers.Adam, 1e-3, "weights", 0.9),
    "digits, CNN, SGD momentum, L1": (None, "cnn", L1(1e-2), "momentum", 2e-2, "weights", 0.8),
    "random, MLP, SGD momentum, groups": (1, "mlp", GroupLasso(1e-3, "inputs"), "momentum", 2e-2, "groups", 0.7),
    "digits, CNN, Adam, groups": (None, "cnn", GroupLasso(1e-5), optimizers.Adam, 3e-3, "groups", 0.5),
    "random, MLP, RMSprop, parameters": (2, "mlp", GroupLasso(1e-4), optimizers.RMSprop, 1e-3, "parameters", 0.6),
}


def landing_data(seed):
    if seed is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return (digits.images[..., None] / 16).astype("float32"), digits.target, 10
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1500, 8, 8, 1)).astype("float32")
    scores = x.reshape((1500, 64)) @ (rng.normal(size=(64, 4)) * (rng.random((64, 1)) < 0.3))
    return x, scores.argmax(axis=1), 4


def landing_layers(kind, regularizer):
    if kind == "mlp":
        return [layers.Flatten(), *(layers.Dense(n, "relu", kernel_regularizer=regularizer) for n in (120, 80))]
    convolutions = [layers.Conv2D(24, 3, s, activation="relu", kernel_regularizer=regularizer) for s in (1, 2)]
    return [*convolutions, layers.Flatten()]


@pytest.mark.slow
@pytest.mark.parametrize("name", LANDINGS)
def test_landings(name):
    seed, kind, regularizer, make, rate, of, target = LANDINGS[name]
    x, y, classes = landing_data(seed)
    model = keras.Sequential([keras.Input((8, 8, 1)), *landing_layers(kind, regularizer), layers.Dense(classes)])
    inner = optimizers.SGD(rate, momentum=0.9) if make == "momentum" else make(rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Proximal(inner), loss, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=15, verbose=0, callbacks=[TargetSparsity(target, of)]).history
    share, unit = history["zero_share"][-1], 1 / 208 if of == "groups" and kind == "mlp" else 1 / 48
    assert abs(share - target) <= max(0.01, 0.5001 * unit if of == "groups" else 0)
    assert history["accuracy"][-1] > 0.8  # the target isn't met with a dead network
    print(f"{name}: {100 * (share - target):+.2f} points, accuracy {history['accuracy'][-1]:.3f}")
