"""Export a model that was saved earlier: of a finished run, with what the run knows, or from a `.keras` file alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg.recipes import run, training
from tf_reg.serving.exporting import exported
from tf_reg.serving.verify.verification import Verification
from tf_reg.serving.write import versions
from tf_reg.serving.write.options import Options
from tf_reg.serving.write.watch import reason
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import Source


def published(folder: Path) -> set[int]:
    """Return the versions that are published in a base folder, which need not be there."""
    return set(versions.versions(folder)) if folder.is_dir() else set()


def export_saved(
    source: Source, folder: Path, version: int | None, examples_file: Path | None, *, gpu: bool, **options: Any
) -> Verification:
    """Export a saved model and return what its verification has found, with the version's path.

    Args:
        source: The model.
        folder: The base folder.
        version: The version, None for the next one.
        examples_file: A `.npy` file with inputs to verify with; by default a run's test images, and for a file on its
            own random numbers.
        gpu: Whether every operation must have a GPU kernel.
        **options: The signatures, as `Options` has them.

    Raises:
        UserError: If something can't be read, or the model can't be exported so.
    """
    model = _load(source.file)
    examples, details = None, {}
    if source.run is not None:
        details = {"config": _json(source.run / "config.json")}
        if (source.run / "metrics.json").is_file():
            details["metrics"] = _json(source.run / "metrics.json")
    if examples_file is not None:
        examples = _array(examples_file)
    elif source.run is not None:
        images = _images(details["config"])
        examples, details["classes"] = run.test_images(images), images.class_names
    try:
        return exported(model, folder, version, Options(**options), examples, details, gpu=gpu)
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(str(error)) from error


def _load(file: Path) -> keras.Model:
    try:
        return keras.saving.load_model(file, compile=False)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} can't be loaded as a Keras model: {reason(error)}") from error


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read as JSON: {error}.") from error


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} can't be read as an array: {error}.") from error


def _images(settings: dict[str, Any]) -> training.ImageData:
    try:
        return training.load_data(Config(**settings))
    except (UserError, TypeError) as error:
        raise UserError(f"The run's data can't be had, so give --examples FILE.npy: {error}") from error
