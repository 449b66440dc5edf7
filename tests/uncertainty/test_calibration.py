"""Calibration: its error beside scikit-learn's curve, a temperature beside SciPy's minimum, and a model with it."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from scipy import optimize, special
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss

import tf_reg
from tests.dropout_models import numpy
from tf_reg.uncertainty import calibration

pytestmark = pytest.mark.contract


def answers(seed=0, size=400, classes=3, sharpness=2.0):
    """Logits and classes that are drawn from them, after they were divided by `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(size, classes))
    return logits, (logits / sharpness + rng.gumbel(size=logits.shape)).argmax(axis=1)


def softmax(logits):
    return special.softmax(logits, axis=1)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(2, 5))
@settings(max_examples=50)
def test_the_error_is_that_of_the_curve_of_scikit_learn(seed, bins, classes):
    logits, y = answers(seed, 60, classes)
    table = softmax(logits)
    confidence, right = table.max(axis=1), table.argmax(axis=1) == y
    accuracies, confidences = calibration_curve(right, confidence, n_bins=bins)
    edges = np.linspace(0, 1, bins + 1)
    shares = np.histogram(confidence, edges)[0] / len(y)
    expected = np.sum(shares[shares > 0] * np.abs(accuracies - confidences))
    assert tf_reg.expected_calibration_error(y, table, bins) == pytest.approx(expected, abs=1e-9)


def test_a_model_that_is_right_as_often_as_it_is_sure_has_no_error():
    table = np.repeat([[0.75, 0.25], [0.4, 0.6]], [4, 5], axis=0)
    y = [0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert tf_reg.expected_calibration_error(y, table) == 0
    assert tf_reg.expected_calibration_error(np.ones(9, int), table) == pytest.approx(4 / 9 * 0.75 + 5 / 9 * 0.4)


def test_one_column_is_the_probability_of_class_one():
    logits, y = answers(size=50, classes=2)
    p = softmax(logits)[:, 1]
    both = np.stack([1 - p, p], axis=1)
    for given_p, given_y in ((p, y), (p[:, None], y[:, None]), (both, np.eye(2)[y])):
        for measure in (tf_reg.expected_calibration_error, calibration.log_loss, calibration.fit_temperature):
            assert measure(given_y, given_p) == measure(y, both)
    assert calibration.log_loss(y, p) == pytest.approx(sklearn_log_loss(y, p), rel=1e-12)


def test_a_confidence_on_the_edge_of_a_bin_belongs_to_the_lower_one():
    table = np.array([[0.5, 0.5], [0.51, 0.49], [1.0, 0.0]])
    shares = [one.share for one in calibration.reliability([0, 0, 0], table, 2)]
    assert shares == pytest.approx([1 / 3, 2 / 3])


@given(st.integers(0, 1000), st.floats(0.3, 3.0))
@settings(max_examples=25)
def test_the_temperature_is_the_minimum_that_scipy_finds_in_the_logits(seed, sharpness):
    logits, y = answers(seed, 300, 4, sharpness)

    def loss(inverse):
        return sklearn_log_loss(y, softmax(logits * inverse), labels=range(4))

    best = optimize.minimize_scalar(loss, bounds=(0.01, 20), method="bounded", options={"xatol": 1e-9}).x
    assert calibration.fit_temperature(y, softmax(logits)) == pytest.approx(1 / best, rel=1e-4)


def test_examples_that_are_all_right_have_no_best_temperature():
    with pytest.raises(ValueError, match=r"No temperature from 0.01 to 100 fits these 2 examples best: 2 of them"):
        calibration.fit_temperature([0, 1], np.array([[0.9, 0.1], [0.2, 0.8]]))
    with pytest.raises(ValueError, match="No temperature"):
        calibration.fit_temperature([1, 0], np.array([[0.9, 0.1], [0.2, 0.8]]))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_the_layer_divides_the_logits(temperature):
    logits, _ = answers(classes=4)
    layer = tf_reg.TemperatureScaling(temperature)
    np.testing.assert_allclose(
        numpy(layer(softmax(logits).astype("float32"))), softmax(logits / temperature), atol=1e-5
    )
    layer = tf_reg.TemperatureScaling(temperature, "sigmoid")
    np.testing.assert_allclose(
        numpy(layer(special.expit(logits).astype("float32"))), special.expit(logits / temperature), atol=1e-5
    )


def test_probabilities_of_zero_and_one_stay_finite():
    for activation in ("softmax", "sigmoid"):
        for temperature in (0.01, 1, 100):
            made = numpy(tf_reg.TemperatureScaling(temperature, activation)(np.array([[1.0, 0.0]], "float32")))
            assert np.isfinite(made).all()
            assert made[0, 0] > made[0, 1]


@pytest.mark.parametrize("classes", [1, 3])
def test_a_calibrated_model_is_the_model_with_a_temperature(classes, tmp_path):
    logits, y = answers(classes=max(classes, 2), sharpness=2.5)
    x = logits[:, :1] - logits[:, 1:2] if classes == 1 else logits
    y = 1 - y if classes == 1 else y
    model = keras.Sequential([keras.Input((x.shape[1],)), layers.Activation("sigmoid" if classes == 1 else "softmax")])
    calibrated = tf_reg.calibrate(model, x, y)
    before, after = (one.predict(x, verbose=0) for one in (model, calibrated))
    temperature = calibrated.layers[-1].temperature
    assert temperature == pytest.approx(2.5, rel=0.25)
    assert calibration.log_loss(y, after) < calibration.log_loss(y, before)
    np.testing.assert_array_equal(
        calibration.as_distribution(after).argmax(1), calibration.as_distribution(before).argmax(1)
    )
    calibrated.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), after, rtol=1e-5)
    loaded.layers[-1].temperature = 1.0
    np.testing.assert_allclose(loaded.predict(x, verbose=0), before, atol=1e-5)


def test_a_calibrated_model_shares_the_weights_and_can_be_compacted():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(6, "relu", name="hidden"), layers.Dense(3, "softmax")])
    x = answers()[0].astype("float32")
    y = (3 * np.log(model.predict(x, verbose=0)) + np.random.default_rng(0).gumbel(size=x.shape)).argmax(axis=1)
    calibrated = tf_reg.calibrate(model, x, y)
    assert calibrated.get_layer("hidden").kernel is model.get_layer("hidden").kernel
    kernel = numpy(model.get_layer("hidden").kernel).copy()
    kernel[:, :4] = 0
    model.get_layer("hidden").kernel.assign(kernel)
    small = tf_reg.compact(calibrated)
    assert small.get_layer("hidden").units == 2
    np.testing.assert_allclose(small.predict(x, verbose=0), calibrated.predict(x, verbose=0), atol=1e-6)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2, "softmax")

    def call(self, x):
        return self.dense(x)


def test_what_can_not_be_calibrated_is_refused():
    x, y = np.ones((4, 3), "float32"), np.arange(4) % 2
    two = keras.Input((3,))
    pair = keras.Model(two, [layers.Dense(2)(two), layers.Dense(2)(two)])
    for model, words in (
        (pair, r"one output of shape \(batch, classes\)"),
        (keras.Sequential([keras.Input((3,)), layers.Dense(2)]), "Logits become probabilities by keras.ops.softmax"),
        (Own(), "No temperature|functional or sequential model"),
    ):
        with pytest.raises(ValueError, match=words):
            tf_reg.calibrate(model, x, y)
    table = softmax(np.eye(3))
    for wrong in ([0, 1], [0, 1, 3], [0, 1, -1], [0.5, 1, 2], np.ones((3, 3)), None, "abc"):
        with pytest.raises(ValueError, match=r"y_true has one class for each of the 3 examples"):
            tf_reg.expected_calibration_error(wrong, table)
    for bad in (np.eye(3) * 2, -np.eye(3), np.full((3, 3), np.nan), np.zeros((0, 3)), np.ones((3, 3, 3)) / 3, None):
        with pytest.raises(ValueError, match="probabilities are of shape"):
            tf_reg.expected_calibration_error([0, 1, 2], bad)
