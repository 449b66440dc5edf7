"""Keras' own tests of its optimizers, with each optimizer in a `Proximal`: one process a backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.test_backends import QUICK
from tests.tools import ROOT, require_module

FOLDER = Path(keras.__file__).parent / "src" / "optimizers"
SUBJECTS = ("optimizer", "sgd", "adam", "adamw", "rmsprop", "adagrad", "loss_scale_optimizer")
BACKENDS = [
    pytest.param("tensorflow", marks=pytest.mark.slow),
    pytest.param("jax", marks=pytest.mark.long),
    pytest.param("torch", marks=pytest.mark.long),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_keras_tests_pass_with_wrapped_optimizers(backend):
    """All but those that `wrapping.py` names. One of those that passes is a failure too."""
    require_module(backend)
    files = [FOLDER / f"{subject}_test.py" for subject in SUBJECTS]
    if not all(file.is_file() for file in files):
        pytest.skip(f"Keras {keras.__version__} comes without its tests of optimizers")
    plugins = ["-p", "tests.optimizers.wrapping", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", FOLDER, *plugins, *files]
    environment = os.environ | QUICK | {"KERAS_BACKEND": backend}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-2000:]
    assert " passed" in answer.stdout.splitlines()[-1]
