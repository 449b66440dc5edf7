"""Whether a trained classifier is of any use: what the program says in one line, and what it doesn't export."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_reg.recipes.data.table_data import Data
from tf_reg_cli.config import Config

EXPLODED = 100  # times the loss of an answer that knows the classes' shares alone
ROUNDING = 1e-4
_COUNTED = {
    "weights": "zero weights",
    "groups": "dead groups",
    "channels": "dead channels",
    "parameters": "parameters that go",
    "flops": "multiply-adds that go",
}


def class_shares(images: Data) -> np.ndarray:
    """Return the share of each class among the validation examples, `(classes,)`; nothing for a regression."""
    if images.task == "regression":
        return np.zeros(0)
    counts = sum(labels.sum(axis=0) for _, labels in images.validation.as_numpy_iterator())
    return np.asarray(counts, "float64") / np.sum(counts)


def useless(metrics: Mapping[str, Any], shares: np.ndarray, label_smoothing: float) -> str | None:
    """Return why a model is of no use, as a sentence, or None.

    It is compared on the validation examples with an answer that is the same for all of them: the shares of the
    classes, or the mean.
    A model is of no use if its accuracy and its loss are both no better than those of that answer, or if its loss is
    `EXPLODED` times as big.

    Args:
        metrics: What `training.measure` returned.
        shares: What `class_shares` returned.
        label_smoothing: That of the loss.
    """
    if not len(shares):
        return _useless_regression(metrics)
    accuracy, loss = metrics["validation_accuracy"], metrics["validation_data_loss"]
    smoothed = (1 - label_smoothing) * shares + label_smoothing / len(shares)
    known = -float(sum(share * math.log(share) for share in smoothed if share > 0))
    if loss > EXPLODED * max(known, ROUNDING):
        return f"Training diverged: the validation loss is {loss:.3g}, where {known:.3g} needs no training at all."
    if accuracy <= shares.max() + ROUNDING and loss >= known * (1 - ROUNDING):
        return (
            f"Nothing useful came out: {accuracy:.1%} of the validation examples are right, and {shares.max():.1%} are "
            "if the answer is always the commonest class."
        )
    return None


def _useless_regression(metrics: Mapping[str, Any]) -> str | None:
    found, loss = metrics["validation_r2"], metrics["validation_data_loss"]
    if loss > EXPLODED:
        return f"Training diverged: the validation loss is {loss:.3g}, where about 1 needs no training at all."
    if found <= 0:
        return (
            f"Nothing useful came out: the R2 of the validation rows is {found:.3f}, and it is 0 if the answer is "
            "always their mean."
        )
    return None


def notes(
    metrics: Mapping[str, Any], history: Mapping[str, Sequence[float]], shares: np.ndarray, config: Config
) -> Iterator[str]:
    """Say what else went wrong in a training that ended with a model of some use, a sentence each.

    Args:
        metrics: What `training.measure` returned.
        history: The values of each epoch.
        shares: What `class_shares` returned.
        config: What was asked for.
    """
    yield from _regression_notes(metrics, history) if not len(shares) else _class_notes(metrics, history, shares)
    shared = history.get("zero_share", [])
    if config.target_sparsity is not None and shared and shared[-1] < config.target_sparsity - 0.01:
        yield (
            f"--target-sparsity {config.target_sparsity:g} was missed: the share of {_COUNTED[config.target_of]} is "
            f"{shared[-1]:.1%}. Give it more --epochs."
        )


def _regression_notes(metrics: Mapping[str, Any], history: Mapping[str, Sequence[float]]) -> Iterator[str]:
    found = metrics["validation_r2"]
    best = max(history.get("val_r2", [found]))
    if found < best / 2:
        epoch = history["val_r2"].index(best) + 1
        yield f"The validation R2 fell from {best:.3f} in epoch {epoch} to {found:.3f} at the end."


def _class_notes(
    metrics: Mapping[str, Any], history: Mapping[str, Sequence[float]], shares: np.ndarray
) -> Iterator[str]:
    accuracy, chance = metrics["validation_accuracy"], float(shares.max())
    best = max(history.get("val_accuracy", [accuracy]))
    if accuracy - chance < (1 - chance) / 10:
        yield f"The validation accuracy, {accuracy:.1%}, is little above the {chance:.1%} of the commonest class."
    elif accuracy - chance < (best - chance) / 2:
        epoch = history["val_accuracy"].index(best) + 1
        yield f"The validation accuracy fell from {best:.1%} in epoch {epoch} to {accuracy:.1%} at the end."


def advice(config: Config) -> str:
    """Return which flags to turn, as a sentence."""
    flags = {"none": "", "l1l2": "--l1 and --l2", "group": "--group-lasso", "sparse-group": "--l1 and --group-lasso"}
    strengths = (flags | {"channels": "--channel-lasso"}).get(config.reg, f"--{config.reg}")
    if config.target_sparsity is not None:
        strengths = "--target-sparsity"
    words = ["--learning-rate", *([strengths] if strengths else [])]
    return f"Lower {' or '.join(words)}" + (", or give it more --epochs." if config.target_sparsity else ".")
