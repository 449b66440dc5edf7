"""The strength of a `Proximal` while it trains: it is found, set between batches, by a plan, and dropped in a refit."""

import keras
import pytest
from keras import layers, optimizers

from tests.callbacks.strength_models import L1, data, fit, mlp, strength, zero_share
from tests.tools import slow_on_tensorflow
from tf_reg.callbacks.gap_controller import GapController
from tf_reg.callbacks.refit import Refit
from tf_reg.callbacks.regularization_logger import RegularizationLogger
from tf_reg.callbacks.strength import proximal_of
from tf_reg.callbacks.strength_schedule import StrengthSchedule
from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract
BACKEND = keras.backend.backend()


class StopAt(keras.callbacks.Callback):
    """Ends the training with an epoch, as EarlyStopping does."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == self.epoch


class Counting(layers.Layer):
    """Counts how often Python runs it: once a trace where the backend compiles."""

    calls = 0

    def call(self, x):
        type(self).calls += 1
        return x


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
        fit(mlp("l1", optimizer="adam"), make())
    scheduled = Proximal("adam", strength=optimizers.schedules.ExponentialDecay(1.0, 10, 0.5))
    with pytest.raises(ValueError, match=f"{name} .*whose strength is a schedule"):
        fit(mlp("l1", optimizer=scheduled), make())


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


@slow_on_tensorflow
@pytest.mark.filterwarnings("ignore:The output doesn't depend")
def test_a_strength_per_epoch():
    model = mlp(L1(1e-3), L1(1e-3))
    plan = [0.0, 0.5, 1e5, 1e5]
    history = fit(model, StrengthSchedule(plan.__getitem__), RegularizationLogger(), epochs=4)
    assert history["strength"] == plan
    assert history["sparsity"][0] == 0.0
    assert history["sparsity"][3] == 1.0
    schedule = optimizers.schedules.PiecewiseConstantDecay([0, 1], [4.0, 2.0, 1.0])
    history = fit(model, StrengthSchedule(schedule), epochs=4, initial_epoch=1)
    assert history["strength"] == [2.0, 1.0, 1.0]
    assert strength(model) == 1.0


def test_a_schedule_below_zero_or_none_at_all():
    with pytest.raises(ValueError, match="strength is a finite number"):
        fit(mlp("l1"), StrengthSchedule(lambda epoch: -1.0))
    with pytest.raises(ValueError, match="schedule is a function of the epoch"):
        StrengthSchedule(0.5)


@slow_on_tensorflow
def test_a_refit_keeps_the_choice_and_drops_the_penalty():
    """And a training that was cut off within its refit goes on, but a new one needs a penalty again."""
    model = mlp(L1(0.05), L1(0.05))
    history = fit(model, Refit(3), RegularizationLogger(), epochs=6)
    assert history["refit"] == [0.0] * 3 + [1.0] * 3
    assert history["strength"] == [1.0] * 3 + [0.0] * 3
    assert history["sparsity"][2] > 0.1
    assert history["sparsity"][3:] == sorted(history["sparsity"][2:])[-3:]
    assert history["penalty"][-1] > history["penalty"][2]  # the survivors grow to their size
    assert fit(model, Refit(2), epochs=7, initial_epoch=5)["refit"] == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"has the strength 0, as an earlier refit leaves it. Call its unfreeze\(\)"):
        fit(model, Refit(1), epochs=2)
    proximal = proximal_of(model.optimizer)
    proximal.unfreeze()
    proximal.strength = 0.5
    assert fit(model, Refit(1), epochs=2)["strength"] == [0.5, 0.0]


@pytest.mark.parametrize("epochs", [0, 1.5, True])
def test_a_refit_is_a_number_of_epochs(epochs):
    with pytest.raises(ValueError, match="epochs is a number of epochs, 1 or above"):
        Refit(epochs)


def test_a_refit_needs_epochs_before_it():
    with pytest.raises(ValueError, match="epochs must be below the 2 of fit"):
        fit(mlp("l1"), Refit(2), epochs=2)


@pytest.mark.parametrize("callbacks", [[StopAt(1)], [keras.callbacks.TerminateOnNaN(), StopAt(2)]])
def test_a_refit_that_never_came_is_said(callbacks):
    model = mlp(L1(1e-3))
    with pytest.warns(UserWarning, match=r"Refit\(2\) never refitted: .* before the last 2 of the 5 epochs"):
        history = fit(model, Refit(2), *callbacks, epochs=5)
    assert history["refit"] == [0.0] * len(history["refit"])
    assert not proximal_of(model.optimizer).frozen


def test_a_refit_that_was_cut_short_has_come():
    history = fit(mlp(L1(1e-3)), Refit(3), StopAt(2), epochs=5)
    assert history["refit"] == [0.0, 0.0, 1.0]
