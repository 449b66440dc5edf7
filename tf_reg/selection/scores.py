"""A score for each validation example: whether a classifier is right, or what the caller says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

Score = Callable[[Any, Any], Any]


class Classes(NamedTuple):
    """How a classifier says its classes.

    Args:
        binary: Whether there is one output for two classes.
        logits: Whether its outputs are logits, and not probabilities.
        one_hot: Whether its labels are one-hot, and not integers.
    """

    binary: bool
    logits: bool
    one_hot: bool

    def right(self, targets: Any, outputs: Any) -> np.ndarray:
        """Return whether each answer is right, `(examples,)`.

        Args:
            targets: The labels.
            outputs: What the model returns.
        """
        labels, outputs = np.asarray(targets), np.asarray(outputs)
        if self.binary:
            answers = outputs.reshape(len(outputs)) > (0.0 if self.logits else 0.5)
            return answers == (labels.reshape(len(labels)) > 0.5)
        labels = labels.argmax(-1) if self.one_hot else labels.reshape(len(labels))
        return outputs.argmax(-1) == labels

    def one_hot_labels(self, targets: Any, outputs: np.ndarray) -> np.ndarray:
        """Return the labels as probabilities in the shape of the outputs, float32."""
        labels = np.asarray(targets)
        if self.binary or self.one_hot:
            return labels.reshape(outputs.shape).astype("float32")
        return np.eye(outputs.shape[-1], dtype="float32")[labels.reshape(len(labels)).astype("int64")]


_LOSSES = {
    keras.losses.SparseCategoricalCrossentropy: (False, False),
    keras.losses.CategoricalCrossentropy: (False, True),
    keras.losses.CategoricalFocalCrossentropy: (False, True),
    keras.losses.BinaryCrossentropy: (True, True),
    keras.losses.BinaryFocalCrossentropy: (True, True),
}


def classes_of(model: keras.Model, loss: Any) -> Classes | None:
    """Return how a model says its classes, by its loss; None where it is no classifier with one output of classes.

    Args:
        model: The model.
        loss: The loss of `compile`: a Keras loss, its function or its name.
    """
    if isinstance(loss, (list, tuple)) and len(loss) == 1:
        loss = loss[0]
    shapes = [tuple(output.shape) for output in model.outputs]
    if isinstance(loss, (list, tuple, dict)) or loss is None or len(shapes) != 1 or len(shapes[0]) != 2:
        return None
    kind, logits = _kind(loss)
    if kind not in _LOSSES:
        return None
    binary, one_hot = _LOSSES[kind]
    if binary != (shapes[0][-1] == 1):  # several binary answers at once
        return None
    return Classes(binary, logits, one_hot)


def _kind(loss: Any) -> tuple[type | None, bool]:
    """The class of a loss, and whether it takes logits."""
    try:
        made = keras.losses.get(loss)
    except (TypeError, ValueError):
        return None, False
    names = {_plain(kind.__name__): kind for kind in _LOSSES}
    kind = type(made) if isinstance(made, keras.losses.Loss) else names.get(_plain(getattr(made, "__name__", "")))
    given = made.get_config() if isinstance(made, keras.losses.Loss) else {}
    fn_kwargs = given.get("fn_kwargs", {})
    return kind, bool(given.get("from_logits", fn_kwargs.get("from_logits", False)))


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def scores_of(score: Score, targets: Any, outputs: Any) -> np.ndarray:
    """Return the scores of examples, `(examples,)`, as float64.

    Args:
        score: A function of targets and outputs.
        targets: The targets, an array or a structure of arrays.
        outputs: The outputs of a model for the same examples.

    Raises:
        ValueError: The function returns something else than one finite number for each example.
    """
    count = len(keras.tree.flatten(targets)[0])
    found = keras.ops.convert_to_numpy(score(targets, outputs))
    if found.shape != (count,) or not np.issubdtype(found.astype("float64").dtype, np.floating):
        raise ValueError(
            f"score is a function of (y_true, y_pred) that returns one number for each example, ({count},), larger "
            f"where the answer is better. Received: an array of the shape {found.shape}."
        )
    found = found.astype("float64")
    if not np.isfinite(found).all():
        raise ValueError(
            "score is a function of (y_true, y_pred) that returns finite numbers. Received: "
            f"{int((~np.isfinite(found)).sum())} of {count} that aren't."
        )
    return found
