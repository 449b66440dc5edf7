"""Other formats of a SavedModel, in files beside it: which there are, what they need, and the converting itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from tf_reg.serving.write import converters


class Format(NamedTuple):
    """A format that a SavedModel can be converted to.

    Args:
        title: Its name in a sentence.
        file: The file in the version's folder, which TensorFlow Serving doesn't look at.
        packages: What has to be installed, by the extra of the same name as the format.
    """

    title: str
    file: str
    packages: tuple[str, ...]


FORMATS = {
    "onnx": Format("ONNX", "model.onnx", ("tf2onnx", "onnx", "onnxruntime")),
    "litert": Format("LiteRT", "model.tflite", ("ai-edge-litert",)),
}


class FormatError(ValueError):
    """A model has no equal in a format; the message says why."""


def checked(formats: Any) -> tuple[str, ...]:
    """Return the names of formats, each once.

    Raises:
        ValueError: If there is no such format.
        ImportError: If what one needs isn't installed.
    """
    if (
        isinstance(formats, str)
        or not isinstance(formats, Collection)
        or not all(isinstance(f, str) and f in FORMATS for f in formats)
    ):
        raise ValueError(f"`formats` may have {' and '.join(map(repr, FORMATS))}, in a list. Received: {formats!r}.")
    found = tuple(dict.fromkeys(formats))
    for name in found:
        lacks = [one for one in FORMATS[name].packages if importlib.util.find_spec(one.replace("-", "_")) is None]
        if lacks:
            raise ImportError(
                f'The format {name} needs {", ".join(lacks)}, which isn\'t installed: pip install -e ".[{name}]".'
            )
    return found


def convert(saved_model: Path, name: str, file: Path) -> None:
    """Convert a SavedModel's `serving_default`, in a process of its own.

    That a converter ends well doesn't mean that an engine takes the file, nor that it computes the same: verify it.

    Args:
        saved_model: The folder of a version.
        name: The format, a key of `FORMATS`.
        file: Where to write it.

    Raises:
        FormatError: If the converter can't.
        OSError: If the file can't be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        job = {"format": name, "saved_model": str(saved_model), "file": str(file), "answer": str(answer)}
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-P", converters.__file__]  # -P: this folder's modules must not shadow others
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, env=environment, check=False
        )
        if not answer.is_file():
            last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise FormatError(f"The converter ended with code {done.returncode}: {last[0][:300]}")
        said = json.loads(answer.read_text())
    if said["problem"] is not None:
        raise (OSError if said["of_the_system"] else FormatError)(said["problem"])
