"""Who looks at a wrapped optimizer sees the inner one, and who sets something on it sets it there."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, optimizers

from tests.optimizers.training import INNER, X, Y, array, fit, make
from tests.tools import mostly_slow
from tf_reg.optimizers.proximal import Proximal

pytestmark = pytest.mark.contract

SETTINGS = {  # all that Keras' `Optimizer` has, each with a value that changes a step
    "weight_decay": 0.25,
    "clipnorm": 0.5,
    "global_clipnorm": 0.5,
    "clipvalue": 0.25,
    "use_ema": True,
    "ema_momentum": 0.5,
    "ema_overwrite_frequency": 2,
    "loss_scale_factor": 4.0,
    "gradient_accumulation_steps": 2,
}
VALUES = {"kernel": [[1.0, -2.0], [0.5, 3.0]], "bias": [4.0, -1.0]}
OF_BUILD = {"use_ema", "gradient_accumulation_steps"}  # they make variables


def variables():
    return [keras.Variable(np.array(value, "float32"), name=name) for name, value in VALUES.items()]


def steps(optimizer, weights, count=5):
    """Run a few steps of a small problem; return the weights."""
    for step in range(count):
        optimizer.apply([ops.convert_to_tensor(2 * array(weight) - step) for weight in weights], weights)
    return [array(weight) for weight in weights]


def assert_equal(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_settings_are_all_that_keras_has():
    """A new one of a new Keras is forwarded without this list, but nothing here tests it."""
    config = keras.optimizers.Optimizer(0.1).get_config()
    assert set(config) - {"name", "learning_rate"} == set(SETTINGS)


@pytest.mark.parametrize("name", INNER)
def test_every_public_attribute_is_the_inner_optimizers(name):
    inner = INNER[name](clipnorm=0.5, use_ema=True, ema_momentum=0.75)
    optimizer = Proximal(inner)
    for built in (False, True):
        if built:
            optimizer.build(variables())
        for attribute in [one for one in vars(inner) if not one.startswith("_") and one not in ("name", "built")]:
            assert getattr(optimizer, attribute) is getattr(inner, attribute), attribute
    assert optimizer._model_variables_moving_average is inner._model_variables_moving_average


@pytest.mark.parametrize(
    ("setting", "built"),
    [(name, built) for name in SETTINGS for built in (False, True) if not (built and name in OF_BUILD)],
)
def test_a_setting_on_the_wrapper_is_one_on_the_inner_optimizer(setting, built):
    found = []
    for wrap in (lambda inner: inner, Proximal):
        average = {"use_ema": setting.startswith("ema"), "ema_overwrite_frequency": 3}
        optimizer, weights = wrap(optimizers.SGD(0.1, momentum=0.5, **average)), variables()
        plain = steps(wrap(optimizers.SGD(0.1, momentum=0.5, **average)), variables())
        if built:
            optimizer.build(weights)
        setattr(optimizer, setting, SETTINGS[setting])
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        assert getattr(inner, setting) == getattr(optimizer, setting) == SETTINGS[setting]
        found.append(steps(optimizer, weights))
        optimizer.finalize_variable_values(weights)
        found[-1] += [array(weight) for weight in weights]
        assert any((one != other).any() for one, other in zip(found[-1], plain * 2, strict=True))
    assert_equal(*found)


def test_what_only_one_kind_of_optimizer_has():
    sgd = Proximal(optimizers.SGD(0.1, momentum=0.5))
    sgd.momentum, sgd.nesterov = 0.75, True
    assert (sgd.inner_optimizer.momentum, sgd.inner_optimizer.nesterov) == (0.75, True)
    assert not hasattr(sgd, "beta_1")
    adam = Proximal("adam")
    adam.beta_1 = 0.5
    assert adam.inner_optimizer.beta_1 == 0.5
    assert not hasattr(adam, "momentum")
    with pytest.raises(AttributeError, match="betas"):
        _ = adam.betas


def test_what_is_the_wrappers_own_stays_its_own():
    class Odd(optimizers.SGD):
        """It has attributes with the names of Proximal's."""

        def __init__(self):
            super().__init__(0.1, name="odd")
            self.strength = 7.0
            self.late = "late"

    inner = Odd()
    optimizer = Proximal(inner, strength=0.5, name="mine")
    optimizer.strength, optimizer.new = 0.25, "new"
    assert (inner.name, inner.strength, hasattr(inner, "new")) == ("odd", 7.0, False)
    assert (optimizer.name, optimizer.strength, optimizer.new) == ("mine", 0.25, "new")
    optimizer.late = "later"
    assert inner.late == "later"


@pytest.mark.parametrize("by", ["var_names", "var_list"])
def test_variables_without_weight_decay(by):
    found = []
    for wrap in (lambda inner: inner, Proximal):
        optimizer, weights = wrap(optimizers.AdamW(0.1, weight_decay=0.5)), variables()
        optimizer.exclude_from_weight_decay(**{by: ["bias"] if by == "var_names" else weights[1:]})
        found.append(steps(optimizer, weights))
    assert_equal(*found)
    decayed = steps(Proximal(optimizers.AdamW(0.1, weight_decay=0.5)), variables())
    np.testing.assert_allclose(found[1][0], decayed[0], rtol=1e-6)
    assert (found[1][1] != decayed[1]).all()


def test_a_variable_as_a_new_value_is_not_taken_in():
    optimizer = Proximal(optimizers.SGD(0.1))
    optimizer.build(variables())
    own = len(optimizer.variables) - len(optimizer.inner_optimizer.variables)
    optimizer.strength = optimizer.learning_rate = keras.Variable(0.5)
    assert (float(array(optimizer.strength)), float(array(optimizer.learning_rate))) == (0.5, 0.5)
    assert len(optimizer.variables) - len(optimizer.inner_optimizer.variables) == own


def test_set_weights_sets_all():
    trained, other = Proximal(INNER["adam"]()), Proximal(INNER["adam"]())
    steps(trained, variables())
    with pytest.raises(ValueError, match="not yet been built"):
        other.set_weights(trained.variables)
    other.build(variables())
    other.set_weights(trained.variables)
    assert_equal([array(one) for one in other.variables], [array(one) for one in trained.variables])
    with pytest.raises(ValueError, match=r"one value for each of the 12 variables of 'proximal_\d+'. Received: 6"):
        other.set_weights(trained.inner_optimizer.variables)


def test_gradients_without_their_variables():
    optimizer, weights = Proximal("sgd"), variables()
    with pytest.raises(ValueError, match=r"Received: 1 gradients without variables for 'proximal(_\d+)?'"):
        optimizer.apply([ops.ones((2, 2))])
    optimizer.apply([], [])
    assert not optimizer.built
    optimizer.build(weights)
    with pytest.raises(ValueError, match="Received a list of 1 gradients"):
        optimizer.apply([ops.ones((2, 2))])
    optimizer.apply([ops.ones((2, 2)), ops.ones(2)], iter(weights))
    assert int(array(optimizer.iterations)) == 1


def test_use_ema_is_what_was_set_for_whoever_looks():
    """While the inner optimizer makes its step, it takes no average. After it, and after an error, nobody can tell."""
    inner, weights = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), variables()
    optimizer = Proximal(inner)
    steps(optimizer, weights)
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([ops.ones(2)], [keras.Variable(np.ones(2, "float32"))])
    assert inner.use_ema is optimizer.use_ema is True
    assert optimizer.get_config()["inner_optimizer"]["config"]["use_ema"] is True
    before = array(inner._model_variables_moving_average[0])
    inner.apply([ops.zeros(weight.shape) for weight in weights])
    now = array(inner._model_variables_moving_average[0])
    np.testing.assert_allclose(now, 0.5 * before + 0.5 * array(weights[0]), rtol=1e-6)


def test_use_ema_after_build_is_refused():
    optimizer = Proximal("sgd")
    optimizer.build(variables())
    optimizer.use_ema = True
    with pytest.raises(ValueError, match=r"use_ema must be set before an optimizer is built\. Received: use_ema=True"):
        steps(optimizer, optimizer._trainable_variables, 1)


@pytest.mark.parametrize("policy", mostly_slow(["float32", "mixed_float16"]))
def test_averages_are_swapped_for_the_validation(policy):
    keras.config.set_dtype_policy(policy)
    found = []
    for wrap in (lambda inner: inner, Proximal):
        model = make(wrap(optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5)), keras.regularizers.L1(0.0))
        callbacks = [keras.callbacks.SwapEMAWeights()]
        found.append(fit(model, epochs=3, callbacks=callbacks, validation_data=(X, Y))["val_loss"])
    assert isinstance(model.optimizer, optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    np.testing.assert_allclose(*found, rtol=1e-5)
