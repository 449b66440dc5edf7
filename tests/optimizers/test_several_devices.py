"""The library under a user's own `strategy.scope()` and `keras.distribution`: the weights are those of one device."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tests.distributed import START, address, end, start
from tests.optimizers.distributed_script import MODES

CODE = f"{START}\nfrom tests.optimizers.distributed_script import main\nmain()"
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")

# Rounding: the parts of a sum are added in another order. Adam divides by the root of sums of squares.
# In float64 a target moves the strength too: in float32 its search would turn a rounding into another strength.
TOLERANCES = {("sgd", "float32"): 1e-6, ("sgd", "float64"): 1e-8, ("adam", "float64"): 1e-8}


def distances(out: str) -> dict[str, float]:
    """The largest difference that a script printed for each penalty."""
    found = dict(line.split() for line in out.splitlines() if line.split()[:1] and line.split()[0] in MODES)
    return {mode: float(value) for mode, value in found.items()}


def check(backend, optimizer, floatx, groups, folder):
    """Train models on two devices and on one; those of a group in one process."""
    found = {}
    for modes in groups:
        words = [optimizer, floatx, "-", "0", *modes]
        [(code, out, errors)] = end(start(CODE, words, folder, backend, devices=2))
        assert code == 0, errors[-3000:]
        found |= distances(out)
    assert list(found) == [mode for modes in groups for mode in modes]
    assert max(found.values()) <= TOLERANCES[optimizer, floatx], found


@pytest.mark.slow
def test_two_devices_of_tensorflow_equal_one(tmp_path):
    check("tensorflow", "sgd", "float32", [["channels"]], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("optimizer", "floatx"), TOLERANCES)
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_two_devices_equal_one(backend, optimizer, floatx, tmp_path):
    """None, L2, L1, groups and channels, with the logger, a target and checkpoints.

    On TensorFlow in a process each: on a CPU the sums of several mirrored models in one sometimes wait forever.
    """
    check(backend, optimizer, floatx, [[mode] for mode in MODES] if backend == "tensorflow" else [MODES], tmp_path)


def check_processes(modes, folder):
    """Train models on two processes, and on one."""
    where = address()
    pair = [start(CODE, ["sgd", "float64", where, str(one), *modes], folder, "jax") for one in range(2)]
    for code, out, errors in end(*pair):
        assert code == 0, errors[-3000:]
        found = distances(out)
        assert list(found) == list(modes)
        assert max(found.values()) <= 1e-8, found
    for mode in modes:
        first, second = (np.load(folder / f"{mode}-{one}.npz") for one in range(2))
        assert all(np.array_equal(first[name], second[name]) for name in first.files)
        assert (folder / "checkpoints" / mode / "lock").exists()


@pytest.mark.slow
@needs_jax
def test_two_processes_equal_one(tmp_path):
    """With the logger, a target and checkpoints; both end with the same bits, and process 0 alone writes."""
    check_processes(["l1", "channels"], tmp_path)


@pytest.mark.long
@needs_jax
def test_two_processes_equal_one_with_every_penalty(tmp_path):
    check_processes(MODES, tmp_path)
