"""The natural unit of a strength: that at which the penalty of the weights is as large as what they have learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg.optimizers.ownership import Claim
from tf_reg.selection.examples import Examples
from tf_reg.selection.fits import Fits
from tf_reg.selection.objective import without_penalties

SAMPLE = 2000  # examples on which it is measured


def learned(model: keras.Model, examples: Examples, claims: Sequence[Claim] = ()) -> float:
    """Return how much larger the loss of the best constant answer is than that of a model, without penalties.

    Args:
        model: A compiled model.
        examples: Its training examples.
        claims: The penalties that its optimizer applies, if there are any.
    """
    some = examples.take(slice(0, SAMPLE))
    outputs = model.predict(some.fed, batch_size=SAMPLE, verbose=0)
    constant = keras.tree.map_structure(lambda array: np.broadcast_to(array.mean(0), array.shape), outputs)
    targets = keras.tree.map_structure(ops.convert_to_tensor, some.targets)

    def loss(answers: Any) -> float:
        answers = keras.tree.map_structure(lambda array: ops.convert_to_tensor(np.array(array)), answers)
        with without_penalties(claims):
            return float(ops.convert_to_numpy(model.compute_loss(some.fed, targets, answers)))

    of_constant = loss(constant)
    return max(of_constant - loss(outputs), 0.01 * abs(of_constant), 1e-6)


def natural_strength(fits: Fits, examples: Examples) -> float:
    """Return the natural unit of a model that was trained without a penalty.

    Args:
        fits: The model.
        examples: Its training examples.

    Raises:
        ValueError: All penalised weights are zero.
    """
    if fits.all_zero():
        raise ValueError(
            "The weights with a penalty must not be all zero at the start. Received a model in which they are. Train "
            "it without a penalty first."
        )
    objective = fits.objective
    return learned(fits.model, examples, objective.claims) / objective.penalty()
