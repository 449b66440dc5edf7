"""What the processes beside number 0 do in a run: they train with it, and write nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import keras

from tf_reg import _processes
from tf_reg.callbacks.checkpoints import CheckpointError
from tf_reg.callbacks.resume import Resume
from tf_reg.callbacks.training_guard import TrainingGuard
from tf_reg.recipes import training
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.one_device import OneDevice
from tf_reg.recipes.stopped import explained
from tf_reg_cli.config import Config
from tf_reg_cli.errors import FailedError, UserError


def led(devices: OneDevice, made: Callable[[], Path]) -> Path:
    """Make the folder of a run, and tell the other processes.

    Args:
        devices: Those of the training.
        made: Makes the folder.
    """
    try:
        folder = made()
    except BaseException:
        devices.tell(None)
        devices.part()
        raise
    devices.tell(folder)
    return folder


def follow(
    model: keras.Model, config: Config, images: Data, devices: OneDevice, resume: Callable[[Path], Resume]
) -> None:
    """Train beside process 0.

    Args:
        model: The model.
        config: The configuration.
        images: The data.
        devices: Those of the training.
        resume: Makes the callback that reads the checkpoints, for the folder of the run.

    Raises:
        UserError: Process 0 can't begin, or the checkpoints aren't there.
        FailedError: The training diverged.
    """
    with explained():
        folder = _processes.told()
    if not folder:
        devices.part()
        raise UserError("Process 0 can't begin; it says why.")
    try:
        readers = [TrainingGuard(), resume(Path(folder))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # process 0 says them
            training.fit(model, config, images, readers, silent=True, devices=devices)
    except CheckpointError as error:
        raise UserError(f"The run can't go on: {error}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted. Process 0 says where the run lies.") from None
    except FloatingPointError as error:
        devices.part()
        raise FailedError(f"{error} Process 0 says more.") from error
    devices.part()
