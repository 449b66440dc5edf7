"""The smallest strength of a penalty that leaves nothing of a model."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from tf_reg._checks import count, number, require
from tf_reg.selection.examples import Examples, examples_of
from tf_reg.selection.fits import Fits
from tf_reg.selection.natural import natural_strength
from tf_reg.selection.null_model import exact_lambda_max, has_exact_one

_WIDER = 4.0  # the ratio of two strengths that are tried until they are on both sides
_TRIALS = 40


@dataclasses.dataclass(frozen=True)
class LambdaMax:
    """What `tf_reg.lambda_max` found. `float(found)` is the strength.

    Args:
        strength: The strength.
        exact: Whether it comes from the gradient of the model without these weights. Otherwise it is from fits.
        epochs: The passes of a fit; None for none.
        batch_size: The examples of a step; None without a fit.
        ratio: That of the strength to one at which something stayed; None without a fit.
        seed: The seed of the order of the examples; None without a fit.
        trials: How many fits there were.
    """

    strength: float
    exact: bool
    epochs: int | None = None
    batch_size: int | None = None
    ratio: float | None = None
    seed: int | None = None
    trials: int = 0

    def __float__(self) -> float:
        return self.strength


def lambda_max(
    model: keras.Model, data: Any, *, epochs: int = 20, batch_size: int = 32, ratio: float = 1.1, seed: int = 0
) -> LambdaMax:
    r"""Find the smallest strength at which a penalty leaves nothing of the weights that it is on.

    It is the multiplier of the penalties in the model: `tf_reg.Proximal.strength`. With `keras.regularizers.L1(1.0)` it
    is the lambda of L1. Strengths worth trying lie between a thousandth of it and it.

    If one layer alone has penalties, the answer is exact. All of its penalised weights are set to zero, and the other
    weights are fitted to the data. There the weights stay zero if no gradient overcomes the penalty's slope at zero:
    for L1 that is `max |gradient| / l1`. For a linear model with the loss `mse` and L1(1.0) this is twice the
    `alpha_max` of scikit-learn.

    If several layers have penalties, that gradient is zero, whatever the strength: each layer hides the others. Then
    it is the smallest strength at which training from the weights that the model has now ends with all of them zero.
    Train the model without a penalty first. It is found by fits of `epochs` epochs, and depends on them, on the
    learning rate and on `batch_size`: the result has them.

    The model has the same weights afterwards, and the same state of its optimizer.

    Friedman, Hastie & Tibshirani 2010, "Regularization paths for generalized linear models via coordinate descent".

    Args:
        model: A model compiled with a loss and a `tf_reg.Proximal`, with penalties that give zeros.
        data: Training examples: `(x, y)`, `(x, y, sample_weight)`, or a finite data set of batches of these, such as a
            `tf.data.Dataset`.
        epochs: Passes over the examples in each fit.
        batch_size: Examples a step in each fit.
        ratio: How far above a strength at which something stays the result may be, above 1.
        seed: The seed of the order of the examples.

    Raises:
        ValueError: Another model or data, arguments out of their ranges, weights that are all zero already, or no
            strength that makes them zero in `epochs` epochs.

    Example:

    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]), np.array([3.0, 0.0, -3.0])
    >>> layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1.0))
    >>> model = keras.Sequential([keras.Input((2,)), layer])
    >>> model.compile(tf_reg.Proximal("sgd"), "mse")
    >>> found = tf_reg.lambda_max(model, (x, y))
    >>> round(found.strength, 4), found.exact  # 2 / 3 * |x^T y|
    (4.0, True)
    """
    epochs, batch_size, seed = count(epochs, "epochs"), count(batch_size, "batch_size"), count(seed, "seed", 0)
    above = number(ratio)
    require(1 < above < math.inf, "ratio is a number above 1", "ratio", ratio)
    examples = examples_of(data)
    fits = Fits(model, examples, batch_size, seed, owned=False)
    start = fits.state()
    try:
        found = exact_lambda_max(fits, examples) if has_exact_one(fits) else 0.0
        if found > 0:
            return LambdaMax(found, exact=True)
        fits.restore(start)
        strength, trials = _search(fits, examples, epochs, above)
        return LambdaMax(strength, False, epochs, batch_size, above, seed, trials)
    finally:
        fits.restore(start)


def _search(fits: Fits, examples: Examples, epochs: int, ratio: float) -> tuple[float, int]:
    """The strength, and the number of fits."""
    start, trials = fits.state(), 0
    strength = natural_strength(fits, examples)
    low, high = 0.0, math.inf
    while high / low > ratio if low else True:
        if trials == _TRIALS:
            raise ValueError(
                f"No strength up to {strength:.3g} makes all penalised weights zero in {epochs} epochs. Give it more "
                "epochs, or a higher learning rate."
            )
        fits.restore(start)
        fits.fit(examples, strength, epochs, ends=fits.all_zero)
        trials += 1
        low, high = (low, strength) if fits.all_zero() else (strength, high)
        wider = strength / _WIDER if low == 0 else strength * _WIDER
        strength = math.sqrt(low * high) if low and high < math.inf else wider
    return high, trials
