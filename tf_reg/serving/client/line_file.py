"""From a file with an example on each line to examples: texts, or sequences that may differ in length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tf_reg.serving.client import files
from tf_reg.serving.client.server import Tensor
from tf_reg_cli.errors import UserError


def has_lines(file: Path) -> bool:
    """Whether a file is taken as one with an example on each line, which its name alone decides."""
    return file.suffix.lower() in (".txt", ".jsonl")


def examples(file: Path, tensor: Tensor) -> list[np.ndarray]:
    """Return the examples of a file, without the batch axis; on a free axis each may have another length.

    Args:
        file: A `.txt` file, in which each line is a text, or a `.jsonl` file, in which each line is a text in quotes or
            a list of numbers, as JSON has them.
        tensor: What the model takes.

    Raises:
        UserError: If the file can't be read, or a line isn't what the model takes.
    """
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} can't be read as text in UTF-8: {error}.") from error
    is_json = file.suffix.lower() == ".jsonl"
    values = [_parsed(file, number, line) if is_json else line for number, line in enumerate(lines, start=1)]
    return [_example(file, number, value, tensor) for number, value in enumerate(values, start=1)]


def _parsed(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(f"{file}, line {number} isn't JSON: {error}.") from error


def _example(file: Path, number: int, value: Any, tensor: Tensor) -> np.ndarray:
    where, wanted = f"{file}, line {number}", tensor._replace(shape=tensor.shape[1:])
    try:
        array = np.asarray(value, object if tensor.dtype == "string" else None)
    except ValueError:  # lists of several lengths in one another
        array = np.asarray(None)
    if tensor.dtype == "string" and array.ndim == 0 and wanted.shape in ((1,), (None,)):
        array = array.reshape(1)
    kinds = {type(one) for one in array.ravel().tolist()}
    right = kinds <= {str} if tensor.dtype == "string" else array.dtype.kind in "biuf"
    if not right or not files.fits(array.shape, wanted.shape):
        raise UserError(f"{where} holds {_short(value)}; the model takes {files.shown(wanted)} an example.")
    if tensor.dtype != "string":
        return files.cast(where, array, tensor.dtype)
    made = np.empty(array.shape, object)
    made.ravel()[:] = [one.encode() for one in array.ravel().tolist()]
    return made


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."
