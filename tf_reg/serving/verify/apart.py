"""A process without TensorFlow's Python package, on the CPU, that answers one job: what crashes it ends it alone.

Nothing here imports anything of tf_reg: run as a script, this file is that process. Its argument is a Python file with
a function `answer(job)`, which can import the other files of this folder by their names.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

TIMEOUT = 300  # seconds that a job may take


class ProcessError(RuntimeError):
    """The process failed, crashed, or took too long."""


def answered(script: str, job: Any, who: str = "TensorFlow's loader") -> Any:
    """Return what the `answer` of a script makes of a job, in a process of its own.

    Args:
        script: The path of the file.
        job: What `packed` takes.
        who: What works in that process, in words.

    Raises:
        ProcessError: If the process fails, or takes longer than `TIMEOUT` seconds.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [
        sys.executable,
        "-P",
        __file__,
        script,
    ]  # -P: this folder's modules must not shadow the standard library's
    try:
        done = subprocess.run(
            command, input=packed(job), capture_output=True, env=environment, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"{who} was not done after {TIMEOUT} seconds.") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise ProcessError(f"{who} ended with code {done.returncode}: {last[0][:500]}")
    return unpacked(done.stdout)


def packed(value: Any) -> bytes:
    """Return numbers, texts, arrays, and lists and dictionaries of these, as JSON; tuples become lists."""
    return json.dumps(value, default=_as_json).encode()


def unpacked(content: bytes) -> Any:
    """Return what `packed` was given. Unlike a pickle, the content can't run code."""
    return json.loads(content, object_hook=_array_of)


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    values = value.ravel().tolist() if value.dtype == object else value.tobytes()
    return {"dtype": value.dtype.name, "shape": value.shape, "values": values}


def _array_of(found: dict[str, Any]) -> Any:
    if found.keys() != {"dtype", "shape", "values"}:
        return found
    if found["dtype"] != "object":
        content = bytearray(base64.b64decode(found["values"]))  # an array of these can be written to
        return np.frombuffer(content, found["dtype"]).reshape(found["shape"])
    array = np.empty(found["shape"], object)
    array.ravel()[:] = [base64.b64decode(text) for text in found["values"]]
    return array


def _main() -> None:
    """Answer the one job on standard input."""
    sys.path.append(str(Path(__file__).parent))  # the last place to look, so that nothing is shadowed
    spec = importlib.util.spec_from_file_location(Path(sys.argv[1]).stem, sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    answer = packed(module.answer(unpacked(sys.stdin.buffer.read())))
    if "tensorflow" in sys.modules:
        raise SystemExit("TensorFlow's Python package was imported where it must not be.")
    sys.stdout.buffer.write(answer)


if __name__ == "__main__":
    _main()
