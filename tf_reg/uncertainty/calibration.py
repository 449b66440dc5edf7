"""How far the probabilities of a classifier can be trusted: its calibration, and a temperature that mends it."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from scipy import optimize, special

from tf_reg import _graph
from tf_reg._checks import count, is_array, is_short_float, shown
from tf_reg.layers.temperature_scaling import Activation, TemperatureScaling
from tf_reg.uncertainty import two_stages

SUM_ERROR = 1e-2  # how far from 1 the sum of the probabilities of an example may be
LEAST, MOST = 1e-2, 1e2  # where a temperature is looked for
_TINY = 1e-30


class Bin(NamedTuple):
    """The predictions of about one confidence.

    Attributes:
        share: How many of all predictions they are, from 0 to 1.
        confidence: Their mean confidence.
        accuracy: The share of them that are right.
    """

    share: float
    confidence: float
    accuracy: float


def expected_calibration_error(y_true: Any, probabilities: Any, bins: int = 15) -> float:
    """Return how far a classifier's confidence is from its accuracy, on average.

    The confidence of a prediction is the probability of its class. The predictions are sorted into `bins` intervals
    of confidence of equal width, and `sum_b share_b * |accuracy_b - confidence_b|` is returned. It is 0 for a model
    that is right in 80 % of the cases where it is 80 % sure. Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, "On
    calibration of modern neural networks".

    Args:
        y_true: The right classes: integers of shape `(examples,)`, or one-hot of shape `(examples, classes)`.
        probabilities: Shape `(examples, classes)`, each row with the sum 1. Shape `(examples, 1)` or `(examples,)` is
            the probability of class 1 of two.
        bins: How many intervals, a positive integer.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: Something else was given, as logits.

    Example:
        >>> tf_reg.expected_calibration_error([0, 1, 1, 1], np.array([[0.9, 0.1]] * 2 + [[0.4, 0.6]] * 2))
        0.4
    """
    found = reliability(y_true, probabilities, bins)
    return float(round(sum(one.share * abs(one.accuracy - one.confidence) for one in found), 12))


def reliability(y_true: Any, probabilities: Any, bins: int = 15) -> list[Bin]:
    """Return the bins of a reliability diagram that aren't empty, from low to high confidence.

    The arguments and errors are those of `expected_calibration_error`.
    """
    bins = count(bins, "bins")
    table = as_distribution(probabilities)
    truth = _classes(y_true, *table.shape)
    confidence, right = table.max(axis=1), table.argmax(axis=1) == truth
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # an interval contains its upper end
    found = []
    for place in np.unique(places):
        inside = places == place
        found.append(Bin(float(inside.mean()), float(confidence[inside].mean()), float(right[inside].mean())))
    return found


def log_loss(y_true: Any, probabilities: Any) -> float:
    """Return the mean of `-log` of the probability of the right class, in nats. Arguments as above."""
    table = as_distribution(probabilities)
    truth = _classes(y_true, *table.shape)
    return float(-np.log(np.maximum(table[np.arange(len(truth)), truth], 1e-12)).mean())


def fit_temperature(y_true: Any, probabilities: Any, name: str = "y_true") -> float:
    """Return the temperature of the lowest log-loss.

    The log-loss is convex in `1 / temperature`, so the minimum is the only one.

    Args:
        y_true: As in `expected_calibration_error`.
        probabilities: As there.
        name: How the caller calls `y_true`, for errors.

    Raises:
        ValueError: No temperature between 0.01 and 100 is best: if all examples are classified right, less is always
            better.
    """
    table = np.log(np.maximum(as_distribution(probabilities), _TINY))
    truth = _classes(y_true, *table.shape, name=name)

    def loss(log_temperature: float) -> float:
        logits = table / np.exp(log_temperature)
        return float((special.logsumexp(logits, axis=1) - logits[np.arange(len(truth)), truth]).mean())

    ends = np.log([LEAST, MOST])
    best = optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-7}).x
    if min(map(loss, ends)) <= loss(best) + 1e-9:
        right = int((table.argmax(axis=1) == truth).sum())
        raise ValueError(
            f"No temperature from {LEAST:g} to {MOST:g} fits these {len(truth)} examples best: {right} of them are "
            "classified right. Give more examples, which the model wasn't trained on."
        )
    return float(np.exp(best))


def calibrate(model: keras.Model, x: Any, y: Any, batch_size: int = 32) -> keras.Model:
    """Return the model with a temperature behind its probabilities, which is fitted to examples.

    A trained network is usually too sure. One number, found on examples that it wasn't trained on, mends most of
    that. The accuracy stays. The result shares the layers and weights of `model` and ends with a
    `tf_reg.TemperatureScaling`; save, export and compact it as any other. It isn't compiled. Guo, Pleiss, Sun &
    Weinberger 2017, "On calibration of modern neural networks".

    Args:
        model: A classifier with one output: probabilities of shape `(batch, classes)` (softmax), or of shape
            `(batch, 1)` (sigmoid).
        x: Inputs as `predict` takes them, of examples that the model wasn't trained on.
        y: Their right classes: integers of shape `(examples,)` or `(examples, 1)`, or one-hot.
        batch_size: The number of examples in a batch, a positive integer.

    Returns:
        A functional model. `model.layers[-1].temperature` is the temperature.

    Raises:
        ValueError: The outputs are no probabilities, or no temperature is best.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Softmax()])
        >>> rng = np.random.default_rng(0)
        >>> logits = 4 * rng.normal(size=(2000, 3))
        >>> y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # a model that is twice too sure
        >>> calibrated = tf_reg.calibrate(model, logits, y)
        >>> round(calibrated.layers[-1].temperature)
        2
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a Keras model. Received: model={shown(model)}.")
    size = count(batch_size, "batch_size")
    leaves = keras.tree.flatten(x)
    if not leaves or not all(is_array(one) and len(one.shape) and one.shape[0] for one in leaves):
        raise ValueError(f"x is an array of shape (examples, ...), or a structure of these. Received: x={shown(x)}.")
    if model.built:
        two_stages.check_inputs(model, x)
    probabilities = model.predict(x, batch_size=size, verbose=0)
    if not is_array(probabilities) or len(probabilities.shape) != 2:
        raise ValueError(
            "calibrate needs a model with one output of shape (batch, classes). Received: a model with "
            f"{_kind(probabilities)}."
        )
    return scaled(model, fit_temperature(y, probabilities, "y"))


def scaled(model: keras.Model, temperature: float) -> keras.Model:
    """Return a functional model: a classifier with a temperature behind its probabilities.

    Args:
        model: A built classifier with one output, of shape `(batch, classes)` or `(batch, 1)`.
        temperature: A positive number.

    Raises:
        ValueError: A subclassed model.
    """
    graph = _graph.as_graph(model)
    if graph is None:
        raise ValueError(
            "calibrate puts a layer behind the model's output, so it needs a functional or sequential model that is "
            f"built. Received: {type(model).__name__}. Call it in one: keras.Model(inputs, model(inputs)), where "
            "inputs = keras.Input(shape)."
        )
    activation: Activation = "sigmoid" if graph.output.shape[-1] == 1 else "softmax"
    layer = TemperatureScaling(temperature, activation, dtype="float32", name="calibrated")
    return keras.Model(graph.input, layer(graph.output), name=model.name)


def as_distribution(probabilities: Any) -> np.ndarray:
    """Return checked probabilities as float64 of shape `(examples, classes)`, with two classes for a sigmoid.

    Args:
        probabilities: As in `expected_calibration_error`.
    """
    table = _numbers(probabilities)
    if table.ndim == 1 or (table.ndim == 2 and table.shape[1] == 1):
        table = np.stack([1 - table.ravel(), table.ravel()], axis=1)
    right = table.ndim == 2 and len(table) > 0
    if right:
        right = bool(np.all(table >= 0) and np.all(np.abs(table.sum(axis=1) - 1) < SUM_ERROR))
    if not right:
        raise ValueError(
            "probabilities are of shape (examples, classes), each row with the sum 1, or of shape (examples,) for "
            f"class 1 of two. Received: {_kind(probabilities)}. Logits become probabilities by keras.ops.softmax."
        )
    return table


def _classes(y_true: Any, examples: int, classes: int, *, name: str = "y_true") -> np.ndarray:
    """Return the right classes as integers of shape `(examples,)`."""
    truth = _numbers(y_true)
    if truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    if truth.ndim == 2 and truth.shape[1] == classes and np.all(truth.sum(axis=1) == 1):
        truth = truth.argmax(axis=1)
    if not (
        truth.shape == (examples,) and np.all(truth == np.floor(truth)) and np.all((truth >= 0) & (truth < classes))
    ):
        raise ValueError(
            f"{name} has one class for each of the {examples} examples: an integer from 0 to {classes - 1}, or "
            f"one-hot. Received: {_kind(y_true)}."
        )
    return truth.astype(int)


def _numbers(value: Any) -> np.ndarray:
    """Return an array or a list of numbers as float64, and anything else as an array without axes."""
    if not (is_array(value) or isinstance(value, (list, tuple))):
        return np.full((), np.nan)
    try:
        array = np.asarray(ops.convert_to_numpy(value))
    except (TypeError, ValueError):  # lists of different lengths
        return np.full((), np.nan)
    known = array.dtype.kind in "iufb" or is_short_float(array)
    return array.astype("float64") if known else np.full(array.shape, np.nan)


def _kind(value: Any) -> str:
    if not is_array(value):
        return shown(value)
    array = np.asarray(ops.convert_to_numpy(value))
    numbers = array.size and np.issubdtype(array.dtype, np.number)
    span = f", from {array.min():g} to {array.max():g}" if numbers else ""
    return f"an array of shape {tuple(array.shape)}{span}"
