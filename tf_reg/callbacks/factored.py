"""The penalties of a model whose factors can be set."""

from __future__ import annotations

import keras

from tf_reg.callbacks.strength import proximals_of
from tf_reg.optimizers.ownership import Claim


def factored_claims(model: keras.Model, asker: str, built: bool = True) -> list[Claim]:
    """Return the penalties with factors of all `Proximal` that a model has.

    Args:
        model: A compiled model.
        asker: Who wants to set them, for the message of an error.
        built: Whether the optimizers must be built. If not, one that isn't has none yet.

    Raises:
        ValueError: No `Proximal`, one without factors, one that isn't built, or no penalty that has factors.
    """
    found = proximals_of(model)
    if not found:
        raise ValueError(
            f"{asker} sets the penalty factors of a tf_reg.Proximal. Received a model whose optimizer is "
            f"{type(getattr(model, 'optimizer', None)).__name__}. Compile it with "
            "tf_reg.Proximal(optimizer, penalty_factors=True)."
        )
    without = [one.name for one in found if not one.penalty_factors]
    if without:
        raise ValueError(
            f"{asker} sets the penalty factors of a tf_reg.Proximal. Received one without: {without[0]!r}. "
            "Compile the model with tf_reg.Proximal(optimizer, penalty_factors=True)."
        )
    waiting = [one.name for one in found if not one.built]
    if waiting and not built:
        return []
    if waiting:
        raise ValueError(
            f"{asker} sets the penalty factors of a tf_reg.Proximal that has its variables. Received one that isn't "
            f"built: {waiting[0]!r}. Call optimizer.build(model) first."
        )
    claims = [claim for one in found for claim in one.factored()]
    if not claims:
        raise ValueError(
            f"{asker} needs weights with a penalty that gives zeros. Received a model without. Give its layers a "
            "kernel_regularizer, such as keras.regularizers.L1."
        )
    return claims


def begin_anew(model: keras.Model) -> None:
    """Begin new averages of the gradients after factors have changed: the old averages balance the old factors.

    Args:
        model: The model whose factors have changed.
    """
    for optimizer in proximals_of(model):
        if optimizer.dual_averaging:
            optimizer.restart()
