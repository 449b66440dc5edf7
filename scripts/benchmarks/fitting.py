"""The time that an epoch of the recipe's own `fit` trains for, with all the callbacks of `scripts/train.py`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import keras

from benchmarks.subjects import Subject
from tf_reg.recipes import run, training


def recipe_epoch(subject: Subject, steps: int) -> float:
    """Return the seconds that the second epoch of a `training.fit` trains for, end-of-epoch work included.

    The logger, the CSV and TensorBoard writers and the progress bar take part as in a run; validation doesn't count.

    Args:
        subject: Its model is trained further.
        steps: How many batches an epoch has.
    """
    images = dataclasses.replace(
        subject.images, train=subject.feed(steps), validation=subject.images.validation.take(1)
    )
    clock = EpochClock()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(_Terminal()),
        run.writers(Path(folder), subject.config) as readers,
    ):
        training.fit(subject.model, dataclasses.replace(subject.config, epochs=2), images, [*readers, clock])
    return clock.seconds


def bare_epoch(subject: Subject, steps: int) -> float:
    """Return the seconds of the second epoch of a `model.fit` without any callback but the clock."""
    clock = EpochClock()
    subject.model.fit(subject.feed(steps), epochs=2, shuffle=False, verbose=0, callbacks=[clock])
    return clock.seconds


class EpochClock(keras.callbacks.Callback):
    """Measures the last epoch without its validation; `seconds` holds the time."""

    seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start."""
        self._start = time.perf_counter()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Pause."""
        self._paused = time.perf_counter()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Go on."""
        self._start += time.perf_counter() - self._paused

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._start


class _Terminal(io.StringIO):
    """Takes a progress bar as a terminal does, and shows nobody."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)
