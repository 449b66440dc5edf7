"""RegularizationLogger among other callbacks: averages, readers of logs, batches, models in turn, and its arguments."""

import keras
import numpy as np
import pytest
from keras import callbacks, layers, ops

import tf_reg
from tests import models_under_test as models
from tests.callbacks.logged_models import compiled, fit, penalty_of
from tests.tools import mostly_slow, slow_on_tensorflow
from tf_reg.measure.meter import Meter

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("logger_first", mostly_slow([True, False], True))
def test_averaged_weights_are_validated_with_their_own_penalty(logger_first):
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    model = compiled(models.dense, optimizer=optimizer)
    both = [tf_reg.RegularizationLogger(), callbacks.SwapEMAWeights()]
    history = fit(model, *(both if logger_first else reversed(both)))
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=1e-5)
    assert abs(history["val_loss"][0] - history["penalty"][0] - history["val_mse"][0]) > 1e-4


@slow_on_tensorflow
def test_epochs_without_validation_have_no_val_data_loss():
    history = fit(compiled(models.dense), tf_reg.RegularizationLogger(), epochs=4, validation_freq=2)
    assert len(history["val_data_loss"]) == 2
    assert len(history["penalty"]) == 4


def test_readers_of_logs_see_every_key(tmp_path):
    stopping = callbacks.EarlyStopping(monitor="penalty", mode="max", patience=0)
    csv_file = tmp_path / "log.csv"
    history = fit(
        compiled(models.dense),
        tf_reg.RegularizationLogger(per_layer=True),
        callbacks.CSVLogger(str(csv_file)),
        stopping,
        epochs=20,
    )
    header = csv_file.read_text().splitlines()[0].split(",")
    assert set(history) | {"epoch"} == set(header)
    assert {"penalty", "sparsity", "near_sparsity", "val_data_loss"} < set(header)
    assert 0 < stopping.stopped_epoch < 19


class BatchLogs(callbacks.Callback):
    """Keeps the keys of each batch's logs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs.get("penalty")))


@slow_on_tensorflow
@pytest.mark.parametrize("steps_per_execution", mostly_slow([1, 3], 1))
def test_every_n_batches(steps_per_execution):
    if steps_per_execution > 1 and keras.backend.backend() == "torch":
        pytest.skip("keras on torch has no steps_per_execution")
    model = compiled(models.dense, steps_per_execution=steps_per_execution)
    reader = BatchLogs()
    fit(model, tf_reg.RegularizationLogger(update_freq=2), reader, batch_size=3)  # 7 batches an epoch
    logged = [batch for batch, penalty in reader.seen if penalty is not None]
    assert logged == ([1, 3, 5] if steps_per_execution == 1 else [2, 5]) * 2  # the last execution makes one step
    assert len({penalty for _, penalty in reader.seen if penalty is not None}) == len(logged)


@pytest.mark.slow
def test_one_logger_serves_two_models_in_turn():
    logger = tf_reg.RegularizationLogger()
    fit(compiled(models.recurrent), logger)
    model = compiled(models.convolutions)
    assert fit(model, logger)["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"near_zero": 0.0}, "`near_zero` must be above 0"),
        ({"near_zero": float("nan")}, "`near_zero` must be above 0"),
        ({"update_freq": 0}, "`update_freq` must be"),
        ({"update_freq": "batch"}, "`update_freq` must be"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tf_reg.RegularizationLogger(**options)


@keras.saving.register_keras_serializable(package="tests")
class VariableStrength(keras.Regularizer):
    """A penalty whose strength is a variable, and which returns a number a column."""

    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x):
        return self.strength * ops.sum(ops.abs(x), axis=0)


class MovesTheStrength(keras.Model):
    def __init__(self):
        super().__init__()
        self.strength = self.add_weight(shape=(), initializer="ones", trainable=False, name="strength")
        self.dense = layers.Dense(1, kernel_regularizer=VariableStrength(self.strength))

    def call(self, x):
        return self.dense(x)


class TenTimesMore(callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.strength.assign(10.0**epoch)


def test_a_strength_that_is_a_variable_is_read_anew():
    model = compiled(MovesTheStrength, optimizer=keras.optimizers.SGD(0.0))
    history = fit(model, tf_reg.RegularizationLogger(), TenTimesMore(), epochs=3)
    np.testing.assert_allclose(history["penalty"], history["penalty"][0] * np.array([1, 10, 100]), rtol=1e-5)
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=1e-3)


@slow_on_tensorflow
def test_a_metric_named_data_loss_is_left_alone():
    metrics = [keras.metrics.MeanSquaredError("data_loss"), keras.metrics.MeanSquaredError("mse")]
    model = compiled(
        lambda: keras.Sequential([keras.Input((6,)), layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1e4))]),
        optimizer=keras.optimizers.SGD(0.0),
        metrics=metrics,
    )
    history = fit(model, tf_reg.RegularizationLogger())
    assert history["val_data_loss"] == history["val_mse"]


@slow_on_tensorflow
@pytest.mark.parametrize(("metric", "penalties"), [("data_loss", 0), ("mse", 2)])
def test_a_validation_after_the_first_asks_for_the_penalty_alone_and_only_if_it_needs_it(
    monkeypatch, metric, penalties
):
    asked = []
    for name in ("measure", "penalty"):
        whole = getattr(Meter, name)
        monkeypatch.setattr(Meter, name, lambda self, name=name, whole=whole: asked.append(name) or whole(self))
    model = compiled(models.dense, metrics=[keras.metrics.MeanSquaredError(metric)])
    fit(model, tf_reg.RegularizationLogger(), epochs=3)
    assert (asked.count("measure"), asked.count("penalty")) == (1 + 3, penalties)


class Subclass(tf_reg.RegularizationLogger):
    """Overrides what the logger has, as a user may."""

    batches = 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


@pytest.mark.slow
def test_readers_that_stand_before_the_logger_are_named_and_a_subclass_keeps_its_hooks(tmp_path):
    logger = Subclass(update_freq=2)
    before = [callbacks.CSVLogger(str(tmp_path / "log.csv")), callbacks.EarlyStopping("val_loss")]
    with pytest.warns(UserWarning, match=r"behind CSVLogger, EarlyStopping .*Put it first"):
        fit(compiled(models.dense), *before, logger, callbacks.TerminateOnNaN(), batch_size=3)
    assert logger.batches == 2 * 7
