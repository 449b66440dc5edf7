"""A warning for gradients that are clipped below the slope of their penalty."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import keras

from tf_reg.optimizers.ownership import Claim


def warn_of_clipping(optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], strength: float) -> None:
    """Warn if the gradients are clipped so far that they can't keep a weight away from zero.

    Args:
        optimizer: The inner optimizer, which clips.
        claims: The penalties of the proximal step.
        strength: Their multiplier.
    """
    limit = optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue
    for claim in claims if limit else []:
        slope = strength * claim.slope(by_norm=not optimizer.clipvalue)
        if limit < slope:
            warnings.warn(
                f"The gradient of {claim.variable.path} is clipped at {limit}, which is below its penalty's slope of "
                f"{slope:g}: all its weights will become zero. Raise the clip, or lower the penalty.",
                stacklevel=4,
            )
