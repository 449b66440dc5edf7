"""A run's history for TensorBoard: each number once, in groups, with the settings as hyperparameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tf_reg_cli.config import Config

FIRST = ("penalty", "sparsity", "strength")
WEIGHTS = ("near_sparsity", "weight_norm", "dead_groups", "dead_channels")
TRAIN, VALIDATION = "train", "validation"


class Board(keras.callbacks.Callback):
    """Write each epoch for TensorBoard.

    The groups are `penalty`, `sparsity` and `strength`, with a chart for the model and one for each layer; `training`,
    whose charts show the training and the validation examples together; and `weights`. TensorBoard sorts them by the
    alphabet and opens the first ones. The HParams tab has the settings of the run.

    Args:
        folder: Where the events go.
        config: The configuration of the run.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__()
        self._folder, self._config = folder, config
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the files and write the settings."""
        self._writers = {name: tf.summary.create_file_writer(str(self._folder / name)) for name in (TRAIN, VALIDATION)}
        with self._writers[TRAIN].as_default():
            hparams.hparams(dict(_settings(self._config)), trial_id=self._folder.parent.name)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Write the numbers of an epoch."""
        for key, value in (logs or {}).items():
            writer, tag = place(key)
            with self._writers[writer].as_default(step=epoch):
                tf.summary.scalar(tag, float(value))
        self.close(keep=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Close the files."""
        self.close()

    def close(self, keep: bool = False) -> None:
        """Write what is held back.

        Args:
            keep: Whether the files stay open.
        """
        for writer in self._writers.values():
            writer.flush()
            if not keep:
                writer.close()


def place(key: str) -> tuple[str, str]:
    """Return which writer a key of `logs` goes to, and its tag.

    Args:
        key: As `penalty/hidden_1`, `sparsity`, `accuracy` or `val_loss`.
    """
    if key.startswith("val_"):
        return VALIDATION, f"training/{key.removeprefix('val_')}"
    group, _, layer = key.partition("/")
    if group in FIRST:
        return TRAIN, f"{group}/{layer or 'model'}"
    return TRAIN, f"weights/{group}/{layer or 'model'}" if group in WEIGHTS else f"training/{key}"


def _settings(config: Config) -> Iterator[tuple[str, Any]]:
    """What the HParams tab shows: numbers, words and switches."""
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, (bool, int, float, str)):
            yield name, value
        elif value is not None:
            yield name, " ".join(map(str, value))
