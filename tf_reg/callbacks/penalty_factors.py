"""Penalty factors from the weights of a first fit: the adaptive lasso."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import without_gradients
from tf_reg._checks import is_array, number, require, shown
from tf_reg.callbacks.factored import begin_anew, factored_claims
from tf_reg.optimizers.factors import adapt
from tf_reg.optimizers.ownership import Claim


def set_penalty_factors(
    model: keras.Model,
    pilot: keras.Model | Sequence[Any],
    gamma: float = 1.0,
    epsilon: float = 0.01,
    scale: float | None = None,
) -> None:
    """Set the factor of each weight's or group's penalty by its size in another fit, the pilot: the adaptive lasso.

    A factor becomes `(size / scale + epsilon)^-gamma`, where the size is `|w|` in the pilot, or the root mean square of
    a group's weights. What the pilot found large is hardly penalised, and what it found near zero goes first. Whoever
    wants equal factors again assigns ones to `optimizer.penalty_factor_of(variable)`.

    Use it where a first fit is at hand, without a penalty or with L2. Then the problem stays convex, as it doesn't
    under `tf_reg.MCP` or `tf_reg.LogSum`. `tf_reg.Reweight` renews the factors while training.

    Zou 2006, "The adaptive lasso and its oracle properties"; for groups, Wang & Leng 2008, "A note on adaptive group
    lasso".

    Args:
        model: A model compiled with `tf_reg.Proximal(optimizer, penalty_factors=True)`. If the optimizer isn't built,
            this builds it.
        pilot: A model of the same architecture, or arrays as its `get_weights()` returns them. It may be the model
            itself.
        gamma: The exponent, above 0. A higher one tells large from small more sharply.
        epsilon: What is added to each size, in units of `scale`: at zero the factor is `epsilon^-gamma`. With 0, as in
            Zou's paper, no size may be zero.
        scale: As in `tf_reg.Reweight`.

    Raises:
        ValueError: Arguments out of their ranges, weights of other shapes or that aren't finite, a size of zero with
            an epsilon of 0, or a model as in `tf_reg.Reweight`.

    Example:

    >>> layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(0.1))
    >>> model = keras.Sequential([keras.Input((3,)), layer])
    >>> model.compile(tf_reg.Proximal("sgd", penalty_factors=True), "mse")
    >>> tf_reg.set_penalty_factors(model, [np.array([[4.0], [1.0], [0.5]]), np.zeros(1)], epsilon=0.0, scale=1.0)
    >>> model.optimizer.penalty_factor_of(layer.kernel).numpy().ravel().tolist()
    [0.25, 1.0, 2.0]
    """
    require(isinstance(model, keras.Model), "model is a compiled Keras model", "model", model)
    power, least = number(gamma), number(epsilon)
    unit = None if scale is None else number(scale)
    require(0 < power < math.inf, "gamma is a finite number above 0", "gamma", gamma)
    require(0 <= least < math.inf, "epsilon is a finite number, zero or above", "epsilon", epsilon)
    require(unit is None or 0 < unit < math.inf, "scale is a finite number above 0, or None", "scale", scale)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and model.built and not optimizer.built:
        optimizer.build(model.trainable_variables)
    claims = factored_claims(model, "set_penalty_factors")
    values = _values(model, pilot)
    found = [claim for claim in claims if id(claim.variable) in values]
    if least == 0:
        for claim in found:
            _check_no_zero(claim, values)
    for claim in found:
        adapt(claim, values, least, unit, power)
    begin_anew(model)


def _values(model: keras.Model, pilot: Any) -> dict[int, np.ndarray]:
    """The weights of the pilot by the id of the model's weight."""
    listed = isinstance(pilot, Sequence) and not isinstance(pilot, str)
    expected = "pilot is a Keras model that has its weights, or a list of arrays as get_weights() returns it"
    require(listed or (isinstance(pilot, keras.Model) and pilot.built), expected, "pilot", pilot)
    try:
        arrays = [_array(value) for value in (pilot if listed else pilot.get_weights())]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}. Received: pilot={shown(pilot)}") from error
    shapes, wanted = [array.shape for array in arrays], [tuple(weight.shape) for weight in model.weights]
    if shapes != wanted:
        raise ValueError(
            f"The pilot has the architecture of the model, whose weights have the shapes {shown(wanted)}. "
            f"Received: {shown(shapes)}. Give a model that was built alike, or its get_weights()."
        )
    for weight, array in zip(model.weights, arrays, strict=True):
        if not np.isfinite(array).all():
            raise ValueError(
                f"The weights of a pilot are finite. Received NaN or infinity in {weight.path}. Train it anew."
            )
    return {id(weight): array for weight, array in zip(model.weights, arrays, strict=True)}


def _array(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value) if is_array(value) else value, dtype="float64")


def _check_no_zero(claim: Claim, values: dict[int, np.ndarray]) -> None:
    with without_gradients():
        value = ops.convert_to_tensor(values[id(claim.variable)], dtype=claim.factor.dtype)
        sizes = claim.stand_in.penalty.sizes(value, values)
    zeros = int(np.count_nonzero(ops.convert_to_numpy(sizes) == 0))
    if zeros:
        raise ValueError(
            "With epsilon=0 the factor of a size of zero would be infinite. Received a pilot with "
            f"{zeros} of them in {claim.variable.path}. Give an epsilon above 0, such as 0.01."
        )
