import math

import keras
import numpy as np
import pytest
from keras import callbacks, layers, ops

import tf_reg
from tests import models_under_test as models
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso, SparseGroupLasso

pytestmark = pytest.mark.contract
BATCH, EXAMPLES = 8, 21  # a last batch that isn't full


def compiled(build, **options):
    model = build()
    options = {"optimizer": "adam", "loss": "mse", "metrics": [keras.metrics.MeanSquaredError("mse")], **options}
    model.compile(**options)
    return model


def fit(model, *callback_list, epochs=2, **options):
    x, y = models.inputs_of(model, EXAMPLES), np.ones((EXAMPLES, 1), "float32")
    options = {"validation_data": (x, y), "batch_size": BATCH, "verbose": 0, **options}
    return model.fit(x, y, epochs=epochs, callbacks=list(callback_list), **options).history


def regularized(model):
    return [variable for variable in model.trainable_variables if variable.regularizer is not None]


def penalty_of(model):
    return sum(
        float(ops.convert_to_numpy(variable.regularizer(ops.convert_to_tensor(variable))))
        for variable in regularized(model)
    )


@pytest.mark.parametrize("build", models.BUILDERS, ids=models.NAMES)
def test_losses_and_penalty_add_up(build):
    model = compiled(build)
    history = fit(model, tf_reg.RegularizationLogger())
    assert history["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6, abs=1e-9)
    assert history["penalty"][-1] == pytest.approx(sum(map(ops.convert_to_numpy, model.losses)), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=2e-6)
    np.testing.assert_allclose(np.add(history["val_data_loss"], history["penalty"]), history["val_loss"], rtol=2e-6)


def test_training_data_loss_is_the_loss_without_penalty_where_weights_stand_still():
    model = compiled(models.dense, optimizer=keras.optimizers.SGD(0.0))
    history = fit(model, tf_reg.RegularizationLogger())
    np.testing.assert_allclose(np.add(history["mse"], history["penalty"]), history["loss"], rtol=2e-6)


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
    history = fit(model, tf_reg.RegularizationLogger())
    assert history["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6)
    np.testing.assert_allclose(np.add(history["val_data_loss"], history["penalty"]), history["val_loss"], rtol=2e-6)
    assert history["val_data_loss"][-1] > history["val_mse"][-1] + 1e-3


def test_per_layer_numbers_against_numpy():
    model = compiled(models.nested_and_shared, optimizer=keras.optimizers.SGD(0.0))
    kernel = model.get_layer("a").get_layer("dense").kernel
    kernel.assign(np.array([[0.0, 2.0], [0.0, -5e-4], [0.0, 1.0]]))
    history = fit(model, tf_reg.RegularizationLogger(per_layer=True), epochs=1)
    assert history["penalty/a/dense"] == [pytest.approx(0.01 * 3.0005)]
    assert history["sparsity/a/dense"] == [0.5]
    assert history["weight_norm/a/dense"] == [pytest.approx(math.sqrt(5 + 25e-8))]
    paths = ["a/dense", "b/dense", "shared/dense", "dense"]
    assert sum(history[f"penalty/{path}"][0] for path in paths) == pytest.approx(history["penalty"][0])
    weights = np.concatenate([ops.convert_to_numpy(kernel).ravel() for kernel in regularized(model)])
    assert history["sparsity"] == [pytest.approx(np.mean(weights == 0))]
    assert history["near_sparsity"] == [pytest.approx(np.mean(np.abs(weights) < 1e-3))]


def test_per_layer_keys_are_opt_in():
    assert not [key for key in fit(compiled(models.dense), tf_reg.RegularizationLogger()) if "/" in key]


def test_a_model_without_regularizers_has_no_sparsity():
    history = fit(compiled(models.unregularized), tf_reg.RegularizationLogger(per_layer=True))
    assert history["penalty"] == [0.0, 0.0]
    assert not [key for key in history if "sparsity" in key]
    np.testing.assert_allclose(history["val_data_loss"], history["val_loss"])


@pytest.mark.parametrize("logger_first", [True, False])
def test_averaged_weights_are_validated_with_their_own_penalty(logger_first):
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    model = compiled(models.dense, optimizer=optimizer)
    both = [tf_reg.RegularizationLogger(), callbacks.SwapEMAWeights()]
    history = fit(model, *(both if logger_first else reversed(both)))
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=1e-5)
    assert abs(history["val_loss"][0] - history["penalty"][0] - history["val_mse"][0]) > 1e-4


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


def test_a_reader_that_stands_before_the_logger_is_named(tmp_path):
    with pytest.warns(UserWarning, match=r"behind CSVLogger, EarlyStopping .*Put it first"):
        fit(
            compiled(models.dense),
            callbacks.CSVLogger(str(tmp_path / "log.csv")),
            callbacks.EarlyStopping("val_loss"),
            tf_reg.RegularizationLogger(),
        )


class BatchLogs(callbacks.Callback):
    """Keeps the keys of each batch's logs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((batch, logs.get("penalty")))


@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_every_n_batches(steps_per_execution):
    if steps_per_execution > 1 and keras.backend.backend() == "torch":
        pytest.skip("keras on torch has no steps_per_execution")
    model = compiled(models.dense, steps_per_execution=steps_per_execution)
    reader = BatchLogs()
    fit(model, tf_reg.RegularizationLogger(update_freq=2), reader, batch_size=3)  # 7 batches an epoch
    logged = [batch for batch, penalty in reader.seen if penalty is not None]
    first = reader.seen[0][0]  # of several batches at once, Keras 3.10 names the first, newer Keras the last
    assert logged == ([1, 3, 5] if steps_per_execution == 1 else {0: [3, 6], 2: [2, 5, 8]}[first]) * 2
    assert len({penalty for _, penalty in reader.seen if penalty is not None}) == len(logged)


@pytest.mark.slow
def test_one_logger_serves_two_models_in_turn():
    logger = tf_reg.RegularizationLogger()
    fit(compiled(models.recurrent), logger)
    model = compiled(models.convolutions)
    assert fit(model, logger)["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_other_precisions(policy):
    keras.config.set_dtype_policy(policy)
    model = compiled(models.dense)
    history = fit(model, tf_reg.RegularizationLogger())
    assert history["penalty"][-1] == pytest.approx(penalty_of(model), rel=1e-6)
    np.testing.assert_allclose(history["val_data_loss"], history["val_mse"], rtol=1e-2)


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


def test_a_metric_named_data_loss_is_left_alone():
    metrics = [keras.metrics.MeanSquaredError("data_loss"), keras.metrics.MeanSquaredError("mse")]
    model = compiled(
        lambda: keras.Sequential([keras.Input((6,)), layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1e4))]),
        optimizer=keras.optimizers.SGD(0.0),
        metrics=metrics,
    )
    history = fit(model, tf_reg.RegularizationLogger())
    assert history["val_data_loss"] == history["val_mse"]


class Subclass(tf_reg.RegularizationLogger):
    """Overrides what the logger has, as a user may."""

    batches = 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


def test_a_subclass_keeps_its_hooks(tmp_path):
    logger = Subclass(update_freq=2)
    with pytest.warns(UserWarning, match="behind CSVLogger"):
        fit(compiled(models.dense), callbacks.CSVLogger(str(tmp_path / "log.csv")), logger, batch_size=3)
    assert logger.batches == 2 * 7


def grouped(optimizer="sgd"):
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


@pytest.mark.parametrize("optimizer", ["sgd", "proximal"])
def test_dead_groups_against_numpy(optimizer):
    rate_zero = keras.optimizers.SGD(0.0)
    model = grouped(Proximal(rate_zero) if optimizer == "proximal" else rate_zero)
    for layer, index in [("outputs", np.s_[:, [1, 3]]), ("inputs", np.s_[2]), ("plain", np.s_[:])]:
        kernel = np.array(ops.convert_to_numpy(model.get_layer(layer).kernel))
        kernel[index] = 0.0
        kernel[0, 0] = 0.0  # a zero more that kills no group
        model.get_layer(layer).kernel.assign(kernel)
    history = fit(model, tf_reg.RegularizationLogger(per_layer=True))
    assert history["dead_groups"] == [3, 3]
    assert history["dead_groups/outputs"] == [2, 2]
    assert history["dead_groups/inputs"] == [1, 1]
    assert "dead_groups/plain" not in history


def test_no_groups_no_key():
    assert not [key for key in fit(compiled(models.dense), tf_reg.RegularizationLogger()) if "group" in key]


@pytest.mark.parametrize("wrap", [lambda inner: inner, keras.optimizers.LossScaleOptimizer], ids=["bare", "wrapped"])
def test_the_strength_of_a_proximal_is_logged(wrap):
    model = compiled(models.dense, optimizer=wrap(Proximal("sgd", strength=0.25)))
    assert fit(model, tf_reg.RegularizationLogger())["strength"] == [0.25, 0.25]
    assert "strength" not in fit(compiled(models.dense), tf_reg.RegularizationLogger())


def test_the_strength_of_a_schedule_is_logged_as_it_is_at_the_next_step():
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, 6, 0.0)
    model = compiled(models.dense, optimizer=Proximal("sgd", strength=schedule))
    history = fit(model, tf_reg.RegularizationLogger())  # 3 steps an epoch
    assert history["strength"] == [pytest.approx(0.5), pytest.approx(0.0)]
