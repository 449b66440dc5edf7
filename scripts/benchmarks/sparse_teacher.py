"""The dense network as the teacher of a sparse one, in `benchmark.py sparse`: its answers to every shifted image."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from benchmarks.sparse_recipes import Recipe
from tf_reg.selection.scores import Classes
from tf_reg.selection.teacher import loss_of

CLASSES = Classes(binary=False, logits=True, one_hot=True)


def answers(teacher: keras.Model, recipe: Recipe, pixels: np.ndarray) -> np.ndarray:
    """Return the probabilities of a teacher, at the recipe's temperature, `(shifts, size, 10)`.

    The shifts are those of `wide`, row by row.

    Args:
        teacher: A network that returns logits.
        recipe: Says by how much images are shifted.
        pixels: The images of an epoch, `(size, 28, 28, 1)`, uint8.
    """
    padded, sides = wide(pixels, recipe.shift), range(2 * recipe.shift + 1)
    found = []
    for down, right in ((down, right) for down in sides for right in sides):
        shifted = padded[:, down : down + 28, right : right + 28].astype("float32") / 255
        logits = teacher.predict(shifted, batch_size=1000, verbose=0)
        found.append(keras.ops.convert_to_numpy(keras.ops.softmax(logits / recipe.temperature, axis=-1)))
    return np.stack(found)


def wide(pixels: np.ndarray, far: int) -> np.ndarray:
    """Return images with a margin of zeros, `(size, 28 + 2 far, 28 + 2 far, 1)`."""
    return np.pad(pixels, ((0, 0), (far, far), (far, far), (0, 0)))


def loss(recipe: Recipe, refit: bool) -> Any:
    """Return the loss: the cross-entropy with the labels, or with a teacher's answers too.

    Args:
        recipe: Says whether there is a teacher, and when.
        refit: Whether it is for the refit.
    """
    if not recipe.teacher:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.smoothing)
    share = recipe.teacher if refit or recipe.taught == "all" else 0.0
    return loss_of(CLASSES, share, recipe.temperature)
