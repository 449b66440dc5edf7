"""Faults while a training runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.recipes.fault_bench import BASE, SMALL, fault
from tf_reg.callbacks import checkpoints


@fault("Training", "the loss is NaN or infinite")
def _(bench):
    """Exit code 1 after that batch, with the layer that was first; the model is that of the last checkpoint."""
    flags = ("--optimizer", "sgd", "--learning-rate", 30, "--reg", "l2", "--l2", 0.1, "--epochs", 9)
    said = bench.train(*BASE, *flags, code=1)
    assert "Training diverged in epoch" in said
    assert "is the first that" in said
    kept = keras.saving.load_model("runs/a/model.keras")
    assert all(np.isfinite(array).all() for array in kept.get_weights())


@fault("Training", "the penalty is a thousand times the rest of the loss")
def _(bench):
    """A note in the first epoch."""
    said = bench.train(*SMALL, "--reg", "l2", "--l2", 1e5)
    assert "Note: In epoch 1 the penalty is " in said


@fault("Training", "the learning rate makes the loss explode in the first epoch")
def _(bench):
    """A note after that epoch."""
    flags = ("--optimizer", "sgd", "--learning-rate", 100, "--batch-size", 10, "--steps-per-execution", 1)
    code, _, said = bench.command("train", *SMALL, *flags)
    assert code in (0, 1)
    assert "Note: The loss rose from " in said


@fault("Training", "all weights of a layer become zero")
def _(bench):
    """A note in that epoch; exit code 1 at the end, and no SavedModel."""
    said = bench.train(*SMALL, "--reg", "l1", "--l1", 10, code=1)
    assert "The network is dead" in said
    assert "No SavedModel was made" in said


@fault("Signals", "Ctrl-C")
def _(bench):
    """Exit code 130 after the batch; `--resume` goes on."""
    bench.interrupted()
    bench.goes_on()


@fault("Signals", "SIGTERM, as schedulers send it")
def _(bench):
    """A checkpoint after the batch, then the usual end; `--resume` goes on."""
    code, _ = bench.child(signal.SIGTERM)
    assert code == -signal.SIGTERM
    assert (Path("runs/a/checkpoints") / checkpoints.name_of(1, 2)).exists()
    bench.goes_on()


@fault("Signals", "SIGHUP, as a terminal that closes sends it")
def _(bench):
    """The usual end; `--resume` goes on from the last checkpoint."""
    code, _ = bench.child(signal.SIGHUP)
    assert code == -signal.SIGHUP
    bench.goes_on()


@fault("Signals", "SIGKILL, as the kernel sends it where memory is short")
def _(bench):
    """`--resume` goes on from the last checkpoint."""
    code, _ = bench.child(signal.SIGKILL)
    assert code == -signal.SIGKILL
    bench.goes_on()


@fault("Signals", "nobody reads the output any more")
def _(bench):
    """Exit code 141; `--resume` goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert bench.command("train", *SMALL)[0] == 141
    bench.goes_on()


@fault("Clock", "the clock is in 1970")
def _(bench):
    """Exit code 2 before the training: Keras' files can't have such a date."""
    bench.patch.setattr(time, "time", lambda: 100.0)
    bench.refused(*SMALL, words="The clock of this machine is in 1970.")


@fault("Clock", "the clock goes back while a run trains")
def _(bench):
    """Nothing; times are taken from a clock that doesn't."""
    now = time.time
    with bench.during(lambda: bench.patch.setattr(time, "time", lambda: now() - 10**8)):
        bench.train()
    assert 0 < json.loads(Path("runs/a/metrics.json").read_text())["seconds"] < 600


@fault("Other processes", "another process trains in the folder of the run")
def _(bench):
    """`--resume` is refused, with exit code 2."""
    bench.interrupted()
    hold = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1, flush=True); time.sleep(99)"
    words = [sys.executable, "-c", hold, "runs/a/checkpoints/lock"]
    checkpoints.release(Path("runs/a/checkpoints"))  # which a process that ends gives up
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"1\n"
        code, _, said = bench.command("train", "--resume", "runs/a")
        other.kill()
    assert code == 2
    assert "Another process is training with the checkpoints in runs/a/checkpoints." in said
    bench.goes_on()


@fault("Other processes", "another process publishes a version of the same model meanwhile")
def _(bench):
    """The run publishes the next one; nothing is overwritten."""
    with bench.during(lambda: Path("saved_models/a/1").mkdir(parents=True)):
        bench.train()
    assert Path("saved_models/a/2/saved_model.pb").exists()
    assert not list(Path("saved_models/a/1").iterdir())
