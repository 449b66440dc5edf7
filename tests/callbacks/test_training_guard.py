"""A training that goes wrong stops, or is spoken of, and what is said is the cause."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tf_reg.callbacks import checkpoints
from tf_reg.measure.not_finite import is_finite

pytestmark = pytest.mark.contract
X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = X[:, :1] + 2
at_once = pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras on torch has no steps_per_execution")


def network(rate=1e-3, activation="relu", regularizer=None, inner=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(8, activation, name="first", kernel_regularizer=regularizer),
            layers.Dropout(0.2),
            *([inner] if inner else []),
            layers.Dense(1, name="last"),
        ]
    )
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def fit(model, x=X, y=Y, locate=False, others=(), epochs=3):
    model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=[tf_reg.TrainingGuard(locate), *others])


def with_one(array, value):
    changed = array.copy()
    changed[40, 0] = value
    return changed


class NoGradient(keras.Layer):
    """Gives back what it takes; its gradient is 0 * inf."""

    def call(self, inputs):
        return inputs + ops.sqrt(ops.square(inputs) * 0)


def block():
    return keras.Sequential([keras.Input((8,)), layers.Dense(8, name="inner"), layers.Lambda(ops.log)], name="block")


CAUSES = {
    "inputs": (lambda: (network(), with_one(X, np.nan), Y), "The inputs of the batch have NaN"),
    "targets": (lambda: (network(), X, with_one(Y, np.inf)), "The targets or sample weights of the batch have NaN"),
    "an output": (lambda: (network(1e30), X, Y), "batch 2: the loss is .* The output of last is the first"),
    "an inner layer": (lambda: (network(inner=block()), X, Y), "The output of block/lambda.* is the first"),
    "the penalty": (lambda: (network(regularizer=keras.regularizers.L2(1e38)), X, Y), "by that of first/kernel"),
    "the loss": (lambda: (network(1e8, "linear"), X, Y * 1e4), "batch 2: .* the loss of them is the first"),
    "a gradient": (lambda: (network(inner=NoGradient()), X, Y), "weights are NaN .* update of the weights of first"),
}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.filterwarnings("ignore:In epoch 1 the penalty:UserWarning")
def test_the_first_that_is_not_finite_is_named(cause):
    made, words = CAUSES[cause]
    model, x, y = made()
    before = model.get_weights()
    with pytest.raises(FloatingPointError, match=f"Training diverged in epoch 1, .*{words}"):
        fit(model, x, y, locate=True)
    if cause in ("an inner layer", "the penalty", "a gradient"):  # in the first batch
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        assert all(np.isfinite(array).all() for array in model.get_weights())


def test_it_stops_at_once_and_leaves_checkpoints_alone(tmp_path):
    class Spoils(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 6:
                self.model.layers[0].kernel.assign(np.full((3, 8), np.nan))

    saved = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    model = network(activation="linear")
    with pytest.raises(FloatingPointError, match=r"in epoch 2, batch 3: the loss is nan\. Lower the learning rate"):
        fit(model, others=[saved, tf_reg.Resume(tmp_path / "checkpoints"), Spoils()])
    good = keras.saving.load_model(tmp_path / "model.keras").get_weights()
    assert all(np.isfinite(array).all() for array in good)
    kept = checkpoints.last(tmp_path / "checkpoints")
    assert kept.path.name == checkpoints.name_of(1, 0)
    for place, array in enumerate(good):
        assert any(np.array_equal(array, kept.arrays[f"variable-{one}"]) for one in range(kept.facts["variables"])), (
            place
        )


def test_weights_that_a_relu_hides_are_found_at_the_end_of_the_epoch():
    class Spoils(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                self.model.layers[0].kernel.assign(np.full((3, 8), np.inf))

    with pytest.raises(FloatingPointError, match="Training diverged in epoch 1: weights are NaN or infinite"):
        fit(network(), others=[Spoils()])


def test_resume_alone_writes_no_weights_that_are_broken(tmp_path):
    model = network(1e30)
    with pytest.warns(UserWarning, match="Training diverged in epoch 1: .* no other is written"):
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0, callbacks=[tf_reg.Resume(tmp_path, every=1)])
    kept = checkpoints.last(tmp_path)
    assert kept.path.name == checkpoints.name_of(0, 1)
    assert all(np.isfinite(kept.arrays[f"variable-{place}"]).all() for place in range(len(model.variables)))


def test_a_second_training_with_resume_begins_at_the_checkpoint(tmp_path):
    def train(locate):
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([9], [1e-3, 1e30])
        with pytest.raises(FloatingPointError) as caught:
            fit(network(rate), locate=locate, others=[tf_reg.Resume(tmp_path)], epochs=4)
        return str(caught.value)

    first, second = train(False), train(True)
    assert first.startswith("Training diverged in epoch 3, batch 4: ")
    assert second.startswith("Training diverged in epoch 3, batch 4: ")
    assert "The output of last is the first that has NaN or infinity" in second


@pytest.mark.parametrize("proximal", [False, True])
def test_a_penalty_that_hides_the_data(proximal):
    def train(strength):
        model = network(1e-6, regularizer=keras.regularizers.L1(strength))
        if proximal:
            model.compile(tf_reg.Proximal(keras.optimizers.SGD(1e-6)), "mse")
        fit(model, epochs=1)

    train(1.0)  # says nothing: a warning would be an error
    with pytest.warns(UserWarning, match=r"In epoch 1 the penalty is .*: the data hardly matter") as said:
        train(1e5)
    assert sum("penalty is" in str(one.message) for one in said) == 1


def test_a_loss_without_the_penalty_is_no_alarm():
    class Own(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return ops.mean(ops.square(y - y_pred)) * 1e-3

    model = Own([keras.Input((3,)), layers.Dense(1, kernel_regularizer=keras.regularizers.L2(10.0))])
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    fit(model)  # a warning would be an error


def test_a_loss_that_explodes_in_the_first_epoch():
    with pytest.warns(
        UserWarning, match=r"The loss rose from .* in the first batch to a mean of .* Lower the learning"
    ):
        fit(network(0.5, activation="linear"), epochs=1)


def test_a_dead_network_is_said_once_when_it_dies():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, name="only", kernel_regularizer="l1")])
    model.compile(tf_reg.Proximal(keras.optimizers.SGD(1e-3), strength=1e5), "mse")
    callbacks = [tf_reg.RegularizationLogger(), tf_reg.TrainingGuard()]
    with pytest.warns(UserWarning, match="dead|data hardly matter") as said:
        model.fit(X, Y, batch_size=16, epochs=3, verbose=0, callbacks=callbacks)
    dead = [str(one.message) for one in said if "dead" in str(one.message)]
    assert len(dead) == 1
    assert dead[0].startswith("After epoch 1: The output doesn't depend on the input any more: all weights of only")


@at_once
def test_where_it_can_not_locate():
    model = network()
    model.compile("sgd", "mse", steps_per_execution=2)
    with pytest.raises(ValueError, match="locate=True needs a model that is compiled with steps_per_execution=1"):
        fit(model, locate=True)


@at_once
def test_several_steps_at_once():
    model = network(1e30)
    model.compile(keras.optimizers.SGD(1e30), "mse", steps_per_execution=2)
    with pytest.raises(FloatingPointError, match="epoch 1, batch 2: the loss is"):
        fit(model)


def test_large_numbers_in_double_precision_are_finite():
    large = 1e30 if keras.backend.backend() == "jax" else 1e300  # JAX has single precision alone
    assert is_finite({"a": np.array([large]), "b": [np.array([1]), None]})
    assert is_finite(np.zeros((0, 3), "float16"))
    assert not is_finite([np.zeros(2), np.array([0.0, np.nan], "float16")])
