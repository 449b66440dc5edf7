"""Train a compacted model without a penalty, for the accuracy that it can have."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import CosineDecay

from tf_reg import _keras
from tf_reg.compaction.copies import copied
from tf_reg.compaction.objects import remade
from tf_reg.compaction.training import compile_alike
from tf_reg.rules.regularize_model import remove_regularizers
from tf_reg.selection.examples import Examples
from tf_reg.selection.scores import Classes
from tf_reg.selection.teacher import loss_of


def refitted(
    small: keras.Model,
    original: keras.Model,
    train: Examples,
    student: Classes | None,
    optimizer: keras.Optimizer,
    epochs: int,
    batch: int,
    seed: tuple[int, int],
) -> keras.Model:
    """Return a copy of a model that is trained without regularizers, and compiled as the original is.

    The learning rate falls from that of the optimizer to zero along a cosine.

    Args:
        small: The model.
        original: The model whose settings of `compile` it gets.
        train: The training examples; those of `taught` for a student.
        student: How it says its classes, where it learns the answers of a teacher; None for the loss of the original.
        optimizer: The optimizer; one like it trains.
        epochs: How many epochs.
        batch: Examples a batch.
        seed: Of the order of the examples.
    """
    model = copied(small)
    remove_regularizers(model, unsaved="ignore")
    settings = _keras.compile_arguments(original)
    steps = epochs * math.ceil(len(train) / batch)
    model.compile(
        _falling(optimizer, steps),
        settings["loss"] if student is None else loss_of(student),
        settings.get("loss_weights") if student is None else None,
        jit_compile=settings.get("jit_compile", "auto"),
        run_eagerly=settings.get("run_eagerly", False),
    )
    for epoch in range(epochs):
        fit_once(model, train.take(np.random.default_rng([*seed, epoch]).permutation(len(train))), batch)
    compile_alike(original, model)
    return model


def fit_once(model: keras.Model, examples: Examples, batch: int, **more: Any) -> None:
    """Train a compiled model for one epoch, in the order of the examples.

    Args:
        model: The model.
        examples: The examples.
        batch: Examples a batch.
        **more: What `fit` takes besides.
    """
    given: Any = {"sample_weight": examples.weights, "batch_size": batch, "shuffle": False, "verbose": 0, **more}
    model.fit(examples.fed, examples.targets, **given)


def _falling(optimizer: keras.Optimizer, steps: int) -> keras.Optimizer:
    """A new optimizer whose rate falls to zero."""
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return remade(optimizer, lambda config: config.update(learning_rate=CosineDecay(rate, steps)))
