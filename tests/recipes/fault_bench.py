"""What can go wrong with a run, each as a function that makes it happen and checks what the program does.

The name of a fault and its docstring are its row in docs/faults.md.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from tests.tools import ROOT
from tf_reg.recipes import training

FAULTS: dict[str, tuple[str, Callable[[Any], None]]] = {}  # the part of the table, and the function, by the name
FULL = OSError(28, "No space left on device")
BASE = ("--train-size", 200, "--no-baseline", "--name", "a")
SMALL = (*BASE, "--epochs", 2)
# Sends itself a signal after the second batch of the second epoch.
CHILD = """
import os, signal, sys, keras
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
from tf_reg.recipes import training
from tf_reg_cli.main import main
class Sends(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 4:
            os.kill(os.getpid(), int(sys.argv[1]))
fit = training.fit
training.fit = lambda model, config, images, readers=(), **options: fit(
    model, config, images, [*readers, Sends()], **options)
sys.exit(main(sys.argv[2:]))
"""


def fault(part, name):
    def listed(function):
        FAULTS[name] = part, function
        return function

    return listed


@dataclasses.dataclass
class Bench:
    """The command, run in an empty folder, and ways to spoil a training.

    Args:
        command: Runs `tf-reg` with words: returns exit code, stdout and stderr.
        patch: Puts things in the place of others, until it is undone.
    """

    command: Callable[..., tuple[int, str, str]]
    patch: pytest.MonkeyPatch

    def train(self, *flags, code=0):
        """Run a small training, check the exit code and that there is no traceback, and return what it says."""
        got, out, err = self.command("train", *(flags or SMALL))
        assert got == code, err
        assert "Traceback" not in out + err
        return err

    def refused(self, *flags, words):
        said = self.train(*flags, code=2)
        assert words in said
        assert said.count("\n") == 1, said

    def during(self, hook, when=1):
        """Call a function after an epoch of each training."""

        class Hook(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch + 1 == when:
                    hook()

        fit = training.fit

        def spoiled(model, config, images, readers=(), **options):
            fit(model, config, images, [*readers, Hook()], **options)

        self.patch.setattr(training, "fit", spoiled)
        return _undoing(self.patch)

    def interrupted(self):
        """Leave a run that was interrupted in its third epoch, with two checkpoints."""

        def interrupt():
            raise KeyboardInterrupt

        with self.during(interrupt, when=3):
            assert self.command("train", *BASE, "--epochs", 4)[0] == 130

    def goes_on(self):
        """Resume the run, to its end."""
        said = self.train("--resume", "runs/a")
        assert Path("saved_models/a/1/saved_model.pb").exists()
        assert not Path("runs/a/checkpoints").exists()
        return said

    def child(self, number):
        """Train in a process of its own that gets a signal, and return how it ends and what it says."""
        words = [sys.executable, "-c", CHILD, number, "train", *BASE, "--epochs", 4, "--batch-size", 100]
        path = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path}
        done = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr


@contextlib.contextmanager
def _undoing(patch):
    yield
    patch.undo()


def fails(error):
    def function(*args, **kwargs):
        raise error

    return function


def pictures(size=8):
    """Thirty dark images of noise, and thirty bright ones."""
    rng = np.random.default_rng(0)
    for name, least in (("cats", 0), ("dogs", 100)):
        Path("pictures", name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(least, least + 100, (size, size), dtype=np.uint8)
            Image.fromarray(pixels).save(Path("pictures", name, f"{number}.png"))


PICTURES = ("--dataset", "folder:pictures", "--image-size", 8, "--epochs", 9, "--no-baseline", "--name", "a")


def table(rows=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    lines = [f"{one},{2 * one + 1}" for one in x.round(3)]
    Path("table.csv").write_text("\n".join(["x,y", *lines]) + "\n")


TABLE = ("--dataset", "csv:table.csv", "--target", "y", "--epochs", 4, "--no-baseline", "--name", "a")
