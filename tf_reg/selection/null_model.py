"""The model without its penalised weights: all of them zero, the others fitted to the data."""

from __future__ import annotations

import math

import numpy as np
from keras import ops
from scipy.optimize import minimize

from tf_reg import _walk
from tf_reg.selection.examples import Examples
from tf_reg.selection.fits import Fits
from tf_reg.selection.objective import critical_strength

_LBFGS = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}


def has_exact_one(fits: Fits) -> bool:
    """Return whether all penalties of a model are on one layer, and give zeros.

    Args:
        fits: The model.
    """
    owners = {id(one.variable): one.owner for one in _walk.weights(fits.model)}
    layers = {owners[id(claim.variable)] for claim in fits.objective.claims}
    return len(layers) == 1 and len(fits.objective.selected) == len(fits.objective.claims)


def exact_lambda_max(fits: Fits, examples: Examples) -> float:
    """Set all penalised weights to zero, fit the others, and return the strength that keeps the zeros.

    Args:
        fits: A model of which `has_exact_one` is true.
        examples: The training examples.
    """
    objective = fits.objective
    clear(fits)
    fit_others(fits, examples)
    _, gradients = objective.loss_and_gradients(examples)
    found = {id(one): gradient for one, gradient in zip(objective.variables, gradients, strict=True)}
    return critical_strength(objective.selected, found)


def clear(fits: Fits) -> None:
    """Set all penalised numbers to zero whose penalty gives zeros.

    Args:
        fits: The model.
    """
    for claim in fits.objective.selected:
        value = ops.convert_to_tensor(claim.variable)
        parts = getattr(claim.stand_in.penalty, "parts", None)
        for part in parts or ():
            value = part.put(value, ops.zeros_like(part.matrix(value)))
        claim.variable.assign(ops.zeros_like(value) if parts is None else value)


def fit_others(fits: Fits, examples: Examples) -> None:
    """Fit the weights without a penalty that gives zeros, by L-BFGS on all examples.

    Args:
        fits: A model whose penalised weights are zero.
        examples: The training examples.
    """
    objective = fits.objective
    penalised = {id(claim.variable) for claim in objective.selected}
    places = [place for place, one in enumerate(objective.variables) if id(one) not in penalised]
    if not places:
        return
    free = [objective.variables[place] for place in places]
    ends = np.cumsum([math.prod(one.shape) for one in free])

    def assign(vector: np.ndarray) -> None:
        for variable, values in zip(free, np.split(vector, ends[:-1]), strict=True):
            variable.assign(np.reshape(values, variable.shape))

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        assign(vector)
        value, gradients = objective.loss_and_gradients(examples)
        return value, np.concatenate([gradients[place].ravel() for place in places])

    start = np.concatenate([ops.convert_to_numpy(one).ravel() for one in free]).astype("float64")
    assign(minimize(loss, start, jac=True, method="L-BFGS-B", options=_LBFGS).x)
