"""The contract tests, once more on Keras' other backends: one process a backend, as Keras wants it."""

import os
import subprocess
import sys

import pytest

from tests.tools import ROOT, require_module


def passes(backend: str, marks: str, *paths: str) -> None:
    """Run tests in a process with this backend."""
    require_module(backend)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, *paths]
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}  # compiling takes JAX longer than what is compiled
    environment = os.environ | quick | {"KERAS_BACKEND": backend}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-2000:]
    assert " passed" in answer.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_contract_holds_on(backend):
    passes(backend, "contract and not slow and not long", "tests")


@pytest.mark.slow
def test_training_ends_where_scikit_learn_does_on_torch():
    passes("torch", "contract and slow", "tests/optimizers/test_convergence.py")
