"""How many steps a search for a share of zeros takes at least."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg.callbacks.share import can_be_zero
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.proximal import Proximal

LEAST = 40  # steps in which the strength can follow its plan, whatever the optimizer
SPARE = 1.5  # times the steps in which the weights could get to zero if each step went straight there


def too_short(
    model: keras.Model,
    optimizer: Proximal,
    target: float,
    has: float,
    refit_epochs: int | None,
    in_epoch: int,
    exact: bool = False,
) -> str:
    """Return that a search has too few steps and how many epochs would do, as sentences; "" if it has enough.

    Args:
        model: A model whose weights are those at the start.
        optimizer: Its optimizer.
        target: The share that is to be zero.
        has: How many steps the search has.
        refit_epochs: The epochs after the search; None for a third of all.
        in_epoch: The steps of an epoch.
        exact: Whether what the search lacks is set to zero at its end.
    """
    needs = steps_needed(model, optimizer, target)
    if has >= needs:
        return ""
    epochs = needs / in_epoch * 3 / 2 if refit_epochs is None else needs / in_epoch + refit_epochs
    outcome = "much will be set to zero at once" if exact else "it will hardly reach its target"
    return (
        f"has {has:.0f} steps to search for the strength and needs about {needs}: {outcome}. "
        f"Train for {math.ceil(epochs)} epochs or more, in smaller batches, or with a higher learning rate."
    )


def steps_needed(model: keras.Model, optimizer: Proximal, target: float) -> int:
    """Return in about how many steps a share of a model can become zero.

    With fewer than `LEAST` steps the strength can't follow its plan. Adam, RMSprop and Adagrad move a weight by a
    certain length in a step at most, so that a weight far from zero needs a number of steps.

    Args:
        model: A model whose weights are those at the start.
        optimizer: Its optimizer.
        target: The share.
    """
    reach = _reach(optimizer.inner_optimizer)
    sizes = [np.abs(ops.convert_to_numpy(weight.variable)).ravel() for weight in can_be_zero(model)]
    if not reach or not sizes:
        return LEAST
    farthest = float(np.quantile(np.concatenate(sizes), target))
    return max(LEAST, math.ceil(SPARE * farthest / reach)) if math.isfinite(farthest) else LEAST


def _reach(inner: Any) -> float | None:
    """How far a step moves a weight at most; None where nobody knows, as with a schedule of the learning rate."""
    rate = inner.get_config()["learning_rate"]
    if not isinstance(rate, float | int):
        return None
    found = preconditioner.reach(inner, rate, rate / (1 - (getattr(inner, "momentum", 0.0) or 0.0)))
    return None if found is None else float(found)
