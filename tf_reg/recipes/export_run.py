"""Export a model that was saved earlier: of a finished run, with what the run knows, or from a `.keras` file alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg.recipes import columns, compacted, custom, run, training
from tf_reg.recipes.data.table_data import Data
from tf_reg.serving import model_repository
from tf_reg.serving.exporting import exported
from tf_reg.serving.verify.verification import Verification
from tf_reg.serving.write import formats, versions
from tf_reg.serving.write.options import Options
from tf_reg_cli.checks import flag
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import Source

DEFAULT_OUTPUT = Options().output_name


def published(folder: Path) -> set[int]:
    """Return the versions that are published in a base folder, which need not be there."""
    return set(versions.versions(folder)) if folder.is_dir() else set()


def export_saved(
    source: Source,
    folder: Path,
    version: int | None,
    examples_file: Path | None,
    *,
    gpu: bool,
    classes: Sequence[str] = (),
    unsafe_lambda: bool = False,
    compact: bool = False,
    server: str | None = None,
    repository: Path | None = None,
    **options: Any,
) -> str:
    """Export a saved model and return what is to be said of it: what its verification has found, as a table.

    Args:
        source: The model.
        folder: The base folder.
        version: The version, None for the next one.
        examples_file: A `.npy` file with inputs to verify with; by default a run's test images, and for a file on its
            own random numbers.
        gpu: Whether every operation must have a GPU kernel.
        classes: Classes and functions of the user's own in the model, each `module:Class`.
        unsafe_lambda: Whether code that lies in the file itself may run, as that of a `Lambda` layer does.
        compact: Whether to export the compacted model, and say what that saves.
        server: The version of TensorFlow Serving that must be able to read it.
        repository: A folder to put the `model.onnx` into too, as Triton has it.
        **options: The signatures, as `Options` has them.

    Raises:
        UserError: If something can't be read, or the model can't be exported so.
    """
    _check_formats(options)
    model = custom.load_model(source.file, classes, unsafe_lambda, compiled=False)
    examples, images, details = None, None, {}
    if source.run is not None:
        details = {"config": _json(source.run / "config.json")}
        if (source.run / "metrics.json").is_file():
            details["metrics"] = _json(source.run / "metrics.json")
    if examples_file is not None:
        examples = _array(examples_file)
    elif source.run is not None:
        images = _images(details["config"])
        examples = run.test_images(images)
        details |= columns.described(images)
        options |= _names(images, options)
    try:
        if compact:
            text, found = _compacted(model, folder, version, Options(**options), examples, images, details, gpu, server)
        else:
            found = exported(model, folder, version, Options(**options), examples, details, gpu=gpu, server=server)
            text = str(found)
        return text if repository is None else f"{text}\n\n{model_repository.add(found.path, repository)}"
    except (ValueError, RuntimeError, OSError) as error:
        raise UserError(_in_flags(str(error))) from error


def _compacted(
    model: keras.Model,
    folder: Path,
    version: int | None,
    options: Options,
    examples: np.ndarray | None,
    images: Data | None,
    details: dict[str, Any],
    gpu: bool,
    server: str | None,
) -> tuple[str, Verification]:
    made = compacted.compacted(model, examples)
    if images is not None:
        made.compare(images)

    def metrics() -> dict[str, Any]:
        return details.get("metrics", {}) | made.metrics

    more = options, examples, lambda: details | {"metrics": metrics()}
    found = made.export(folder, version, *more, gpu=gpu, server=server)
    return f"{made.table(metrics())}\n\n{found}", found


def _check_formats(options: dict[str, Any]) -> None:
    """Say that something isn't installed before anything is loaded."""
    try:
        formats.checked(options.get("formats", ()))
    except ImportError as error:
        raise UserError(str(error)) from error


def _names(images: Data, options: dict[str, Any]) -> dict[str, str]:
    """The names of a table's inputs and outputs, but for those that were given."""
    found = columns.names(images)
    if options["output_name"] != DEFAULT_OUTPUT:
        found.pop("output_name", None)
    return found


def _in_flags(text: str) -> str:
    """Name the flags in a sentence that names arguments of `tf_reg.export`."""
    for field in ("version", "output_name", "signatures", "class_id", "top_k", "logits", "examples", "formats"):
        text = text.replace(f"`{field}`", flag(field))
    return text.replace("gpu=False", "--cpu")


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read as JSON: {error}.") from error


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{file} can't be read as an array: {error}.") from error


def _images(settings: dict[str, Any]) -> Data:
    try:
        return training.load_data(Config(**settings))
    except (UserError, TypeError) as error:
        raise UserError(f"The run's data can't be had, so give --examples FILE.npy: {error}") from error
