"""The contract tests, once more on Keras' other backends: one process a backend, as Keras wants it, two at a time."""

import concurrent.futures
import importlib.util
import os
import subprocess
import sys

import pytest

from tests.tools import ROOT, require_module

RUNS = {  # of tests: the backend, the marks and the paths
    "jax": ("jax", "contract and not slow and not long", "tests"),
    "torch": ("torch", "contract and not slow and not long", "tests"),
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
def answers():
    """What each of `RUNS` answers, as a future: all are started at once, and two go on at a time."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        yield {name: pool.submit(run, *job) for name, job in RUNS.items() if importlib.util.find_spec(job[0])}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_contract_holds_on(name, answers):
    require_module(RUNS[name][0])
    answer = answers[name].result()
    assert answer.returncode == 0, answer.stdout[-8000:] + answer.stderr[-2000:]
    assert " passed" in answer.stdout.splitlines()[-1]
