"""Rules take effect in training: in the loss, in the proximal step, and after a model was compiled or saved."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.rules.networks import L1, L2, data, linear, one_step, weights_and_gradients
from tests.tools import slow_on_tensorflow


@pytest.mark.contract
def test_the_next_step_has_the_penalty_and_the_moments():
    """Adam by hand, going on from the moments of three steps without penalty."""
    model, x, y = linear(keras.optimizers.Adam(0.1))
    optimizer = model.optimizer
    moments = {v.path: ops.convert_to_numpy(v).astype("float64") for v in optimizer.variables}
    m, v = (next(value for path, value in moments.items() if path.endswith(f"kernel_{name}"))
            for name in ("momentum", "velocity"))  # fmt: skip
    kernel, _, gradient, _ = weights_and_gradients(model, x, y)
    tf_reg.regularize(model, L2)
    one_step(model, x, y)
    gradient = gradient + 2 * 0.5 * kernel
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    rate = 0.1 * np.sqrt(1 - 0.999**4) / (1 - 0.9**4)
    assert np.abs(m).max() > 0.01
    np.testing.assert_allclose(model.get_weights()[0], kernel - rate * m / (np.sqrt(v) + 1e-7), atol=1e-6)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 4


@slow_on_tensorflow
@pytest.mark.contract
def test_reported_losses_have_the_penalty_from_then_on():
    model, x, y = linear("sgd", metrics=["mse"], jit_compile=False)
    tf_reg.regularize(model, L2)
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    penalty = 0.5 * np.sum(model.get_weights()[0] ** 2)
    assert result["loss"] == pytest.approx(result["mse"] + penalty, rel=1e-5)
    tf_reg.remove_regularizers(model)
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert result["loss"] == pytest.approx(result["mse"], rel=1e-6)
    assert not model.jit_compile


@pytest.mark.contract
def test_a_built_proximal_takes_the_new_penalty_over():
    model, x, y = linear(tf_reg.Proximal(keras.optimizers.SGD(0.1)))
    model.layers[0].kernel.assign(model.layers[0].kernel * 0.1)
    assert [row.acts_in for row in tf_reg.regularize(model, L1).weights] == ["proximal step"]
    kernel, bias, kernel_gradient, bias_gradient = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    moved = kernel - 0.1 * kernel_gradient
    expected = np.sign(moved) * np.maximum(np.abs(moved) - 0.1 * 0.25, 0)
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], bias - 0.1 * bias_gradient, atol=1e-6)
    assert (expected == 0).any()

    tf_reg.regularize(model, L2)  # instead of L1
    kernel, _, kernel_gradient, _ = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    np.testing.assert_allclose(model.get_weights()[0], (kernel - 0.1 * kernel_gradient) / 1.1, atol=1e-6)

    model.compile("sgd", "mse")
    assert [row.acts_in for row in tf_reg.regularizers_of(model).weights] == ["loss"]
    kernel, _, kernel_gradient, _ = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    np.testing.assert_allclose(model.get_weights()[0], kernel - 0.01 * (kernel_gradient + kernel), atol=1e-6)


@slow_on_tensorflow
def test_a_proximal_gives_what_was_removed_back():
    model, x, y = linear(tf_reg.Proximal(keras.optimizers.SGD(0.1)))
    tf_reg.regularize(model, L1)
    one_step(model, x, y)
    tf_reg.remove_regularizers(model)
    kernel, _, gradient, _ = weights_and_gradients(model, x, y)
    one_step(model, x, y)
    np.testing.assert_allclose(model.get_weights()[0], kernel - 0.1 * gradient, atol=1e-6)


def test_a_proximal_built_by_hand_belongs_to_the_model_from_then_on():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(2)])
    optimizer = tf_reg.Proximal(keras.optimizers.SGD(0.1))
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mse")
    tf_reg.regularize(model, L1)
    model.compile("sgd", "mse")
    assert [row.acts_in for row in tf_reg.regularizers_of(model).weights] == ["loss"]


def test_a_penalty_that_another_model_pays_is_not_taken_from_it():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(2, name="dense", kernel_regularizer="l1")])
    model = keras.Sequential([keras.Input((5,)), inner])
    model.compile(tf_reg.Proximal("sgd"), "mse")
    one_step(model, *data(model))
    with pytest.raises(ValueError, match="dense/kernel is in the proximal step of an optimizer of another model"):
        tf_reg.regularize(inner, L2)
    assert [row.acts_in for row in tf_reg.regularize(model, L2).weights] == ["proximal step"]


@slow_on_tensorflow
def test_in_mixed_precision_a_proximal_is_found_inside_the_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    model, _, _ = linear(tf_reg.Proximal("sgd"))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert [row.acts_in for row in tf_reg.regularize(model, L1).weights] == ["proximal step"]


@pytest.mark.contract
def test_from_a_callback_in_the_middle_of_fit():
    model, x, y = linear(keras.optimizers.SGD(0.0))

    class Later(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                tf_reg.regularize(self.model, L2)

    losses = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[Later()]).history["loss"]
    assert losses[1] - losses[0] == pytest.approx(0.5 * np.sum(model.get_weights()[0] ** 2), rel=1e-4)


def test_compiled_models_inside_of_the_model_are_made_anew_too():
    inner, x, y = linear(keras.optimizers.SGD(0.0), metrics=["mse"])
    outer = keras.Sequential([keras.Input((5,)), inner])
    tf_reg.regularize(outer, L2)
    result = inner.evaluate(x, y, verbose=0, return_dict=True)
    assert result["loss"] - result["mse"] == pytest.approx(0.5 * np.sum(inner.get_weights()[0] ** 2), rel=1e-4)


@slow_on_tensorflow
@pytest.mark.contract
def test_a_proximal_goes_on_after_a_save(tmp_path):
    model, x, y = linear(tf_reg.Proximal(keras.optimizers.Adam(0.1)))
    tf_reg.regularize(model, L1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        one_step(each, x, y)
    np.testing.assert_allclose(loaded.get_weights()[0], model.get_weights()[0], atol=1e-6)
    assert [row.acts_in for row in tf_reg.regularizers_of(loaded).weights] == ["proximal step"]
