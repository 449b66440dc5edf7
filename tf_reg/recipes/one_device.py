"""One device, and what a training asks of its devices whichever they are."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_reg_cli.config import Config


class OneDevice:
    """The one device that Keras takes."""

    leads = True  # whether this process writes, exports and prints

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which the model is made and trained."""
        return contextlib.nullcontext()

    def together(self) -> AbstractContextManager[Any]:
        """Return a context in which an exception that ends this process ends the others too."""
        return contextlib.nullcontext()

    def check(self, config: Config, size: int, batch: int) -> None:
        """Check the settings of a training, and the sizes of its batches.

        Args:
            config: The configuration.
            size: How many training examples there are.
            batch: How many a batch has, but for the last one.

        Raises:
            UserError: The devices can't train so.
        """

    def prepare(self, model: keras.Model, batches: tf.data.Dataset) -> None:
        """Make the steps of a compiled model those of these devices.

        Args:
            model: The model.
            batches: Its training data.
        """

    def share(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the batches that this process gives to its devices.

        Args:
            batches: The batches of all devices: inputs and targets.
        """
        return batches

    def alone(self, model: keras.Model, file: Path) -> keras.Model:
        """Return a model of one device, for what comes after training; the other processes aren't needed any more.

        Args:
            model: The model that was trained.
            file: Where it is saved.
        """
        return model

    def leave(self) -> None:
        """Make variables for this process alone from now on."""

    def part(self) -> None:
        """Let the other processes go, which wait for each other once more."""

    def tell(self, folder: Path | None) -> None:
        """Tell the other processes the folder of the run; None if there won't be one."""
