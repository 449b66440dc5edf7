"""What is left of a training that diverged, and what made it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tf_reg.callbacks.resume import Resume
from tf_reg.callbacks.saved_variables import bring_back
from tf_reg.callbacks.training_guard import TrainingGuard
from tf_reg.measure.not_finite import ADVICE
from tf_reg.recipes import training, usefulness
from tf_reg.recipes.data.table_data import Data
from tf_reg_cli.config import Config
from tf_reg_cli.errors import FailedError
from tf_reg_cli.unfinished import CHECKPOINTS


def failure(
    error: FloatingPointError,
    model: keras.Model,
    config: Config,
    images: Data,
    folder: Path,
    keep: Callable[[], Any],
) -> FailedError:
    """Keep the weights of the last checkpoint, and return what is to be said of a run that diverged.

    Args:
        error: What `TrainingGuard` raised.
        model: The model, which gets the weights of the last checkpoint where there is one.
        config: The configuration.
        images: The data.
        folder: The run's folder.
        keep: Writes the model and the history.
    """
    checkpoints = folder / CHECKPOINTS
    good = bring_back(model, checkpoints)
    if good is None:
        kept = f"No model was kept, as there was no checkpoint before; {folder} has the rest."
    else:
        keep()
        batch = f", batch {good[1]}" if good[1] else ""
        kept = f"{folder} has the model as it was after epoch {good[0]}{batch}."
    located = _located(error, config, images, checkpoints).replace(ADVICE, usefulness.advice(config))
    return FailedError(f"{located} No SavedModel was made. {kept}")


def _located(error: FloatingPointError, config: Config, images: Data, checkpoints: Path) -> str:
    """Train once more from the last checkpoint, step by step, and return which layer diverged, in sentences.

    Returns:
        What the second training says; what the first one said where the second doesn't diverge.
    """
    stepwise = dataclasses.replace(config, steps_per_execution=1)
    model, again = training.prepare(stepwise, images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            training.fit(model, stepwise, again, [TrainingGuard(locate=True), Resume(checkpoints)], silent=True)
        except FloatingPointError as found:
            return str(found)
    return str(error)
