"""Bring the data and the random numbers of a training to where they were."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np

from tf_reg import _backend, _keras


def random_state() -> dict[str, Any]:
    """Return the state of all random numbers that belong to no layer: of Python, NumPy, Keras and torch."""
    legacy = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {**legacy, "state": dict(legacy["state"])},
        "keras": _keras.global_seed(),
        "torch": _backend.random_state(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Bring back what `random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    if state["keras"] is not None:
        _keras.set_global_seed(state["keras"])
    _backend.set_random_state(state["torch"])


def read_again(data: Any, epochs: int, whole: bool) -> None:
    """Go through the epochs of the data of `fit` once more.

    Args:
        data: Keras' iterator over the epochs.
        epochs: How many.
        whole: Whether to read all batches. If not, one of each epoch is read, which fixes its order.
    """
    # An iterator may go on from epoch to epoch, and where nobody knows the number of batches, it must be seen to end.
    whole = whole or bool(data.steps_per_epoch) or data.num_batches is None
    for _ in range(epochs):
        known, opened = data.num_batches is not None, None
        with data.catch_stop_iteration():
            for *_, batches in data:  # before them the number of the first, and in newer Keras that of the last
                if whole or batches is not opened:
                    consume(batches, data.steps_per_execution, known)
                opened = batches


def consume(batches: Any, number: int, known: bool = True) -> None:
    """Read batches, and do nothing with them.

    Args:
        batches: An iterator over batches, or, on PyTorch, a list of batches that have been read.
        number: How many.
        known: Whether the number of batches of an epoch is known: then fewer may be left.

    Raises:
        StopIteration: There are none left, and nobody knew.
    """
    for _ in range(0 if isinstance(batches, list) else number):
        try:
            next(batches)
        except StopIteration:
            if not known:
                raise
            return


class Skip:
    """Reads the first batches of an epoch without training on them.

    The first one is trained on, so that everything is built. The caller brings all variables back afterwards.

    Args:
        model: A model in `fit`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self._train = model, model.train_function
        self._trained = False
        model.train_function = self._step

    def end(self) -> None:
        """Train again."""
        self._model.train_function = self._train

    def _step(self, *arguments: Any) -> Any:
        if not self._trained:
            self._trained = True
            return self._train(*arguments)
        consume(arguments[-1], self._model.steps_per_execution)
        # JAX passes the variables on as a state.
        return ({}, arguments[0]) if keras.backend.backend() == "jax" else {}
