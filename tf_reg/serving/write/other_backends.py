"""Write a model of JAX or torch as a SavedModel: from its `.keras` file, in a process that runs TensorFlow."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras

from tf_reg._walk import layer_paths
from tf_reg.serving.write.options import Options
from tf_reg.serving.write.signatures import Interface
from tf_reg.serving.write.watch import RefusedError, cause


def write(interface: Interface, path: Path) -> None:
    """Write a SavedModel with the signatures of an interface, its graph made by TensorFlow.

    Args:
        interface: Of a model on any backend. Classes of a user's own must be in a module, or registered with Keras.
            Its `watch` gets what the other process has seen.
        path: The folder.

    Raises:
        RefusedError: If the other process can't load the model.
        RuntimeError: If it can't write it.
    """
    kinds = {type(layer) for _, layer in layer_paths(interface.model)}
    own = {
        (kind.__module__, kind.__qualname__)
        for kind in kinds
        if kind.__module__.partition(".")[0] != "keras" and kind.__module__ != "__main__"
    }
    with tempfile.TemporaryDirectory() as folder:
        file, answer = Path(folder) / "model.keras", Path(folder) / "answer.json"
        interface.model.save(file)
        job = {
            "file": str(file), "path": str(path), "answer": str(answer), "classes": sorted(own),
            "options": dataclasses.asdict(interface.options),
        }  # fmt: skip
        _run(json.dumps(job), answer, interface)


def _run(job: str, answer: Path, interface: Interface) -> None:
    environment = os.environ | {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }
    command = [sys.executable, "-P", "-m", "tf_reg.serving.write.other_backends"]  # -P: not the current folder too
    done = subprocess.run(command, input=job, capture_output=True, text=True, env=environment, check=False)
    if not answer.is_file():
        last = done.stderr.strip().splitlines()[-1:] or [f"code {done.returncode}"]
        raise RuntimeError(f"TensorFlow's process ended: {last[0]}")
    said = json.loads(answer.read_text())
    interface.watch.scopes |= said["scopes"]
    interface.watch.failed = said["failed"]
    if said["missing"] is not None:
        raise RefusedError(
            f"TensorFlow's process can't load the model {interface.model.name!r}: {cause(said['missing'])} Where a "
            "class of your own is missing, put it into a module that can be imported, or load the .keras file with "
            "KERAS_BACKEND=tensorflow and export it there."
        )
    if said["error"] is not None:
        raise RuntimeError(said["error"])


def _main() -> None:
    """Do the one job on standard input."""
    job = json.loads(sys.stdin.read())
    said: dict[str, Any] = {"scopes": {}, "failed": None, "error": None, "missing": None}
    try:
        known = {name: getattr(importlib.import_module(module), name, None) for module, name in job["classes"]}
        # Safe mode is for files of other people: this one was a model of the process that asks.
        model = keras.saving.load_model(job["file"], known, compile=False, safe_mode=False)
    except Exception as error:  # of a user's module too
        said["missing"] = str(error)
    else:
        interface = Interface(model, Options(**job["options"]))
        try:
            interface.write(Path(job["path"]))
        except Exception as error:
            said["error"] = str(error)
        said |= {"scopes": interface.watch.scopes, "failed": interface.watch.failed}
    Path(job["answer"]).write_text(json.dumps(said))


if __name__ == "__main__":
    _main()
