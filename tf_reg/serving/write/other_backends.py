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

import keras

from tf_reg._walk import layer_paths
from tf_reg.serving.write.options import Options
from tf_reg.serving.write.signatures import Interface


def write(model: keras.Model, options: Options, path: Path) -> None:
    """Write a SavedModel with the signatures that `options` says, its graph made by TensorFlow.

    Args:
        model: A model on any backend. Classes of a user's own must be registered with Keras, in a module.
        options: The signatures.
        path: The folder.

    Raises:
        RuntimeError: If the other process fails; the message ends in its last words.
    """
    own = {type(layer).__module__ for _, layer in layer_paths(model)} - {"__main__"}
    modules = sorted(name for name in own if name.partition(".")[0] != "keras")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file)
        job = {"file": str(file), "path": str(path), "options": dataclasses.asdict(options), "modules": modules}
        _run(json.dumps(job))


def _run(job: str) -> None:
    environment = os.environ | {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "tf_reg.serving.write.other_backends"]
    done = subprocess.run(command, input=job, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"code {done.returncode}"]
        raise RuntimeError(
            f"TensorFlow's process could not write the model: {last[0]} Where classes of your own are missing, put "
            "them into a module, or load the .keras file with KERAS_BACKEND=tensorflow and export it there."
        )


def _main() -> None:
    """Do the one job on standard input."""
    job = json.loads(sys.stdin.read())
    for module in job["modules"]:
        importlib.import_module(module)
    model = keras.saving.load_model(job["file"], compile=False)
    Interface(model, Options(**job["options"])).write(Path(job["path"]))


if __name__ == "__main__":
    _main()
