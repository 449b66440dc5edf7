"""The original model as the teacher of a smaller one: its answers, as targets of the refit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg.selection.examples import Examples
from tf_reg.selection.scores import Classes

TEMPERATURE, SHARE = 2.0, 0.9  # how soft the answers are, and their part of the loss
LEAST = 1e-7  # probability


def taught(model: keras.Model, classes: Classes, train: Examples, batch: int) -> Examples:
    """Return examples whose targets are labels and the answers of a model, `(examples, 2 * classes)`, for `loss_of`.

    Args:
        model: The teacher.
        classes: How it says its classes.
        train: The examples.
        batch: Examples a call.
    """
    outputs = np.asarray(model.predict(train.fed, batch_size=batch, verbose=0))
    labels = classes.one_hot_labels(train.targets, outputs)
    if classes.binary:
        labels = np.concatenate([1 - labels, labels], -1)
    answers = ops.softmax(_log_probabilities(outputs, classes) / TEMPERATURE, axis=-1)
    return Examples(train.inputs, np.concatenate([labels, ops.convert_to_numpy(answers)], -1), train.weights)


def loss_of(
    classes: Classes, share: float = SHARE, temperature: float = TEMPERATURE
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a student, for `compile`.

    For an example it is `(1 - a) * H(label, student) + a * T^2 * H(teacher at T, student at T)`, where H is the
    cross-entropy, T the temperature and a the teacher's share.

    Hinton et al. 2015, "Distilling the knowledge in a neural network".

    Args:
        classes: How the student says its classes.
        share: The teacher's share, from 0 to 1.
        temperature: The temperature, which is that of the answers too.
    """

    def distillation(targets: Tensor, outputs: Tensor) -> Tensor:
        logs = _log_probabilities(outputs, classes)
        labels, answers = ops.split(ops.cast(targets, logs.dtype), 2, axis=-1)
        soft = ops.log_softmax(logs / temperature, axis=-1)
        of_labels, of_teacher = ops.sum(labels * logs, axis=-1), ops.sum(answers * soft, axis=-1)
        return -(1 - share) * of_labels - share * temperature**2 * of_teacher

    return distillation


def _log_probabilities(outputs: Any, classes: Classes) -> Tensor:
    """The logarithm of the probability of each class, `(examples, classes)`; of two for a binary output."""
    outputs = ops.convert_to_tensor(outputs)
    if classes.binary:
        if classes.logits:
            return ops.log_sigmoid(ops.concatenate([-outputs, outputs], axis=-1))
        return ops.log(ops.clip(ops.concatenate([1 - outputs, outputs], axis=-1), LEAST, 1.0))
    return ops.log_softmax(outputs, axis=-1) if classes.logits else ops.log(ops.clip(outputs, LEAST, 1.0))
