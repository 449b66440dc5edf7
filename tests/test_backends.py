"""The contract tests, once more on Keras' other backends: one process a backend, as Keras wants it."""

import os
import subprocess
import sys

import pytest

from tests.tools import ROOT, require_module


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_contract_holds_on(backend):
    require_module(backend)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "contract and not slow", "tests"]
    environment = os.environ | {"KERAS_BACKEND": backend}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-2000:]
    assert " passed" in answer.stdout.splitlines()[-1]
