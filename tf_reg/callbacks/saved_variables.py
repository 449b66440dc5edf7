"""The variables of a training in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tf_reg._trainer import optimizers_of
from tf_reg.callbacks import checkpoints
from tf_reg.callbacks.saved_state import decode


def variables_of(model: keras.Model, metrics: bool) -> list[Any]:
    """Return all variables of a training, each once; those of the metrics last, as they are made with the first batch.

    Args:
        model: The model.
        metrics: Whether those of the metrics are among them.
    """
    of_metrics = {id(one): one for one in model.metrics_variables}
    found = {id(one): one for one in model.variables if id(one) not in of_metrics}
    found |= {id(one): one for optimizer in optimizers_of(model) for one in optimizer.variables}
    return [*found.values(), *(of_metrics.values() if metrics else ())]


def bring_back(model: keras.Model, folder: Path) -> tuple[int, int] | None:
    """Give a model the weights of the last checkpoint in a folder, and nothing to its optimizer.

    Args:
        model: The model of that training.
        folder: The folder of a `Resume`.

    Returns:
        After how many epochs, and batches of the next one, the checkpoint was written; None where there is none.
    """
    found = checkpoints.last(folder)
    if found is None:
        return None
    own = {id(variable) for variable in model.variables}
    for place, variable in enumerate(variables_of(model, metrics=False)):
        if id(variable) in own:
            variable.assign(found.arrays[f"variable-{place}"])
    about = decode(found.facts["about"], found.arrays)
    return about["epoch"], about["done"]
