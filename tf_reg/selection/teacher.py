"""The original model as the teacher of a smaller one: its answers, as targets of the refit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._keras import sublayers
from tf_reg.selection.examples import Examples
from tf_reg.selection.scores import Classes

TEMPERATURE, SHARE = 2.0, 0.9  # how soft the answers are, and their part of the loss
MIXTURES = 8  # how many mixtures of the examples the teacher answers; then they come again
_CODES = (keras.layers.Embedding, keras.layers.IntegerLookup, keras.layers.CategoryEncoding, keras.layers.Hashing)
_LEAST = 1e-7  # probability


class Teacher:
    """Gives examples whose targets are labels and the answers of a model, for `loss`.

    The loss of an example is `(1 - a) * H(label, student) + a * T^2 * H(teacher at T, student at T)`, where H is the
    cross-entropy, T the temperature and a the teacher's share. Mixed examples are `m * x1 + (1 - m) * x2` of two
    examples, with m uniform between 0 and 1; the teacher answers the mixture itself.

    Hinton et al. 2015, "Distilling the knowledge in a neural network"; Beyer et al. 2022, "Knowledge distillation: a
    good teacher is patient and consistent".

    Args:
        model: The teacher.
        classes: How it says its classes.
        train: The examples.
        mixed: Whether to mix them.
        seed: Of the mixtures.
        batch: Examples a call.
    """

    def __init__(
        self, model: keras.Model, classes: Classes, train: Examples, mixed: bool, seed: int, batch: int
    ) -> None:
        self._model, self._classes, self._train = model, classes, train
        self._mixed, self._seed, self._batch = mixed, seed, batch
        self._answers: dict[int, np.ndarray] = {}  # of each mixture

    def examples(self, epoch: int) -> Examples:
        """Return the examples of an epoch.

        Args:
            epoch: Its number, from 0.
        """
        number = epoch % MIXTURES if self._mixed else 0
        examples, labels = self._mixture(number)
        if number not in self._answers:
            outputs = self._model.predict(examples.inputs, batch_size=self._batch, verbose=0)
            self._answers[number] = softened(_log_probabilities(np.asarray(outputs), self._classes))
        return Examples(examples.inputs, np.concatenate([labels, self._answers[number]], -1), examples.weights)

    def _mixture(self, number: int) -> tuple[Examples, np.ndarray]:
        """Examples, and their labels as probabilities, `(examples, classes)`."""
        train, shape = self._train, (len(self._train), *self._model.outputs[0].shape[1:])
        labels = self._classes.one_hot_labels(train.targets, np.zeros(shape))
        if self._classes.binary:
            labels = np.concatenate([1 - labels, labels], -1)
        if not self._mixed:
            return train, labels
        random = np.random.default_rng([self._seed, number])
        part, others = random.random(len(train), dtype="float32"), random.permutation(len(train))

        def mix(array: np.ndarray) -> np.ndarray:
            first = part.reshape(-1, *[1] * (array.ndim - 1))
            return first * array + (1 - first) * array[others]

        weights = None if train.weights is None else mix(train.weights)
        return Examples(keras.tree.map_structure(mix, train.inputs), None, weights), mix(labels)

    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss of the student, for `compile`."""
        classes = self._classes

        def distillation(targets: Tensor, outputs: Tensor) -> Tensor:
            logs = _log_probabilities(outputs, classes)
            labels, answers = ops.split(ops.cast(targets, logs.dtype), 2, axis=-1)
            soft = ops.log_softmax(logs / TEMPERATURE, axis=-1)
            of_labels, of_teacher = ops.sum(labels * logs, axis=-1), ops.sum(answers * soft, axis=-1)
            return -(1 - SHARE) * of_labels - SHARE * TEMPERATURE**2 * of_teacher

        return distillation


def can_mix(model: keras.Model) -> bool:
    """Return whether a mixture of two examples makes sense: inputs are measurements, and not codes of something."""
    measured = all(keras.backend.is_float_dtype(tensor.dtype) for tensor in model.inputs)
    return measured and not any(isinstance(layer, _CODES) for layer in sublayers(model))


def softened(logs: Any) -> np.ndarray:
    """Return the probabilities at the temperature, `(examples, classes)`.

    Args:
        logs: The logarithms of probabilities, or logits.
    """
    return np.asarray(ops.convert_to_numpy(ops.softmax(ops.convert_to_tensor(logs) / TEMPERATURE, axis=-1)))


def _log_probabilities(outputs: Any, classes: Classes) -> Tensor:
    """The logarithm of the probability of each class, `(examples, classes)`; of two for a binary output."""
    outputs = ops.convert_to_tensor(outputs)
    if classes.binary:
        if classes.logits:
            return ops.log_sigmoid(ops.concatenate([-outputs, outputs], axis=-1))
        return ops.log(ops.clip(ops.concatenate([1 - outputs, outputs], axis=-1), _LEAST, 1.0))
    return ops.log_softmax(outputs, axis=-1) if classes.logits else ops.log(ops.clip(outputs, _LEAST, 1.0))
