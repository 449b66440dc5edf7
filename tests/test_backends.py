"""The contract tests, once more on Keras' other backends: one process a backend, as Keras wants it, two at a time.

Under JAX the other quick tests of the library run too, in the long set. What is left to TensorFlow has the mark
`on_tensorflow` with its reason: kernels, columns of strings, TensorFlow's own graphs and tapes. The recipes, the
command and the SavedModels are no part of these runs: tf.data and TensorFlow's loader are what they test.
docs/backends.md says what of them works.
"""

import concurrent.futures
import importlib.util
import os
import subprocess
import sys

import pytest

from tests.tools import ROOT, mostly_long, require_module

LIBRARY = [
    "tests/penalties", "tests/optimizers", "tests/rules", "tests/measure", "tests/callbacks", "tests/compaction",
    "tests/layers", "tests/selection", "tests/uncertainty", "tests/tables",
]  # fmt: skip
RUNS = {  # of tests: the backend, the marks and the paths
    "jax": ("jax", "contract and not slow and not long", "tests"),
    "torch": ("torch", "contract and not slow and not long", "tests"),
    "the rest of the library on jax": ("jax", "not contract and not slow and not long", *LIBRARY),
    "convergence on torch": ("torch", "contract and slow", "tests/optimizers/test_convergence.py"),
    "who pays on jax": ("jax", "contract and slow", "tests/optimizers/test_who_pays.py"),
    "who pays on torch": ("torch", "contract and slow", "tests/optimizers/test_who_pays.py"),
    "resume on jax": ("jax", "contract and slow", "tests/callbacks/test_resume.py"),
    "resume on torch": ("torch", "contract and slow", "tests/callbacks/test_resume.py"),
}
QUICK = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",  # compiling a test's function takes longer than running it
    "OMP_NUM_THREADS": "1",  # torch: its arrays here are too small for two threads
}


def run(backend: str, marks: str, *paths: str) -> subprocess.CompletedProcess[str]:
    """Run tests in a process with this backend."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", marks, *paths]
    environment = os.environ | QUICK | {"KERAS_BACKEND": backend}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def answers(request):
    """What each run says that a test here waits for, as a future: all are started at once, and two go on at a time."""
    tests = [item for item in request.session.items if item.originalname == "test_the_contract_holds_on"]
    names = [test.callspec.params["name"] for test in tests]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        yield {name: pool.submit(run, *RUNS[name]) for name in names if importlib.util.find_spec(RUNS[name][0])}


@pytest.mark.parametrize("name", mostly_long(RUNS, "jax", "torch", "convergence on torch", "resume on jax"))
def test_the_contract_holds_on(name, answers):
    require_module(RUNS[name][0])
    answer = answers[name].result()
    assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-2000:]
    assert " passed" in answer.stdout.splitlines()[-1]
