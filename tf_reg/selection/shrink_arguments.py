"""The arguments of `tf_reg.shrink`, checked."""

from __future__ import annotations

import math
from typing import Any

import keras

from tf_reg import _keras
from tf_reg._checks import checked_path, count, number, require
from tf_reg.optimizers import preconditioner
from tf_reg.selection.options import check_verbose
from tf_reg.selection.scores import Classes, Score, classes_of

CANDIDATES = 100  # at most


def check_others(model: Any, score: Any, distill: Any, folder: Any) -> None:
    """Check the arguments of `tf_reg.shrink` that are no numbers.

    Raises:
        ValueError: One that it doesn't take.
    """
    require(isinstance(model, keras.Model) and model.compiled, "model is a compiled Keras model", "model", model)
    require(distill is None or isinstance(distill, bool), "distill is True, False or None", "distill", distill)
    require(score is None or callable(score), "score is a function of (y_true, y_pred), or None", "score", score)
    if folder is not None:
        checked_path(folder, "folder")


def check_numbers(
    max_drop: Any, level: Any, candidates: Any, refit_epochs: Any, batch_size: Any, seed: Any, verbose: Any
) -> None:
    """Check the numbers of `tf_reg.shrink`.

    Raises:
        ValueError: One that it doesn't take.
    """
    require(0 < number(max_drop) < math.inf, "max_drop is a number above zero", "max_drop", max_drop)
    require(0 < number(level) < 0.5, "level is a probability between 0 and 0.5", "level", level)
    count(candidates, "candidates", most=CANDIDATES)
    count(refit_epochs, "refit_epochs")
    count(batch_size, "batch_size")
    count(seed, "seed", 0)
    check_verbose(verbose)


def optimizer_of(given: Any) -> keras.optimizers.Optimizer:
    """Return the optimizer, which must have a rate of its own that is a number.

    Args:
        given: An optimizer or its name.

    Raises:
        ValueError: Something else.
    """
    optimizer = preconditioner.optimizer_of(given, "optimizer")
    scheduled = isinstance(optimizer.get_config()["learning_rate"], dict)
    require(not scheduled, "optimizer has a rate that is a number, which shrink lowers itself", "optimizer", given)
    return optimizer


def score_of(model: keras.Model, score: Score | None) -> Score:
    """Return the score of an example: the caller's, or whether a classifier is right.

    Args:
        model: The model.
        score: As it was given.

    Raises:
        ValueError: No score for a model that is no classifier.
    """
    if score is not None:
        return score
    classes = classes_of(model, _keras.compile_arguments(model).get("loss"))
    require(
        classes is not None,
        "Without score=, model has one output of class probabilities or logits, (examples, classes), and a "
        "cross-entropy as its loss. Give score=, a function of (y_true, y_pred) that returns a number for each "
        "example, larger where the answer is better",
        "loss",
        model.loss,
    )
    assert classes is not None
    return classes.right


def student_of(model: keras.Model, distill: bool | None) -> Classes | None:
    """Return how candidates say their classes, where they learn the answers of the original; None where they don't.

    Args:
        model: The original.
        distill: As it was given.

    Raises:
        ValueError: No classifier, and `distill` is True.
    """
    classes = None if distill is False else classes_of(model, _keras.compile_arguments(model).get("loss"))
    expected = "distill=True takes a classifier with one output and a cross-entropy as its loss"
    require(classes is not None or not distill, expected, "loss", model.loss)
    return classes
