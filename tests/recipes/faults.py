"""What can go wrong with a run, each as a function that makes it happen and checks what the program does.

The name of a fault and its docstring are its row in docs/faults.md.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tools import ROOT
from tf_reg.callbacks import checkpoints
from tf_reg.recipes import training
from tf_reg.recipes.data import image_data

FAULTS: dict[str, tuple[str, Callable[[Any], None]]] = {}  # the part of the table, and the function, by the name
FULL = OSError(28, "No space left on device")
BASE = ("--train-size", 200, "--no-baseline", "--name", "a")
SMALL = (*BASE, "--epochs", 2)
# Sends itself a signal after the second batch of the second epoch.
CHILD = """
import os, sys, keras
from tf_reg.recipes import training
from tf_reg_cli.main import main
class Sends(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 4:
            os.kill(os.getpid(), int(sys.argv[1]))
fit = training.fit
training.fit = lambda model, config, images, readers=(), silent=False: fit(
    model, config, images, [*readers, Sends()], silent)
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

        def spoiled(model, config, images, readers=(), silent=False):
            fit(model, config, images, [*readers, Hook()], silent)

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


@fault("Disk", "the disk is full while a checkpoint is written")
def _(bench):
    """A note; training goes on, and the last checkpoint stays."""
    bench.patch.setattr(checkpoints, "write", fails(FULL))
    assert "can't be written to runs/a/checkpoints: No space left on device. Training goes on" in bench.train()
    assert Path("saved_models/a/1/saved_model.pb").exists()


@fault("Disk", "the disk is full while the model is written")
def _(bench):
    """Exit code 2; no half file has the name of the model; `--resume` goes on."""
    bench.patch.setattr(keras.Model, "save", fails(FULL))
    assert "The run can't be written: [Errno 28] No space left on device." in bench.train(*SMALL, code=2)
    assert not Path("runs/a/model.keras").exists()
    bench.patch.undo()
    bench.goes_on()


@fault("Disk", "the disk is full while the SavedModel is written")
def _(bench):
    """Exit code 2; no version is published; `--resume` goes on."""
    bench.patch.setattr(tf.saved_model, "save", fails(FULL))
    assert "No space left on device" in bench.train(*SMALL, code=2)
    assert not list(Path("saved_models").glob("a/[0-9]*"))
    bench.patch.undo()
    bench.goes_on()


@fault("Disk", "the disk is full while a row of `history.csv` is written")
def _(bench):
    """Exit code 2; `--resume` goes on from the last checkpoint."""
    with contextlib.ExitStack() as stack:
        stack.callback(bench.patch.undo)
        write, count = keras.callbacks.CSVLogger.on_epoch_end, iter(range(9))

        def second(self, epoch, logs=None):
            if next(count):
                raise FULL
            write(self, epoch, logs)

        bench.patch.setattr(keras.callbacks.CSVLogger, "on_epoch_end", second)
        assert "The run can't be written" in bench.train(*SMALL, code=2)
    bench.goes_on()
    assert len(Path("runs/a/history.csv").read_text().splitlines()) == 3


@fault("Disk", "the folder of the runs is read-only")
def _(bench):
    """Exit code 2 before the training."""
    bench.patch.setattr(tempfile, "TemporaryFile", fails(PermissionError(13, "Permission denied")))
    bench.refused(*SMALL, words="--runs-dir runs can't be made or written: Permission denied. Choose another.")


@fault("Disk", "a file has the name of the folder of the SavedModels")
def _(bench):
    """Exit code 2 before the training."""
    Path("saved_models").write_text("")
    bench.refused(*SMALL, words="--saved-models-dir saved_models can't be made or written: File exists.")


@fault("Disk", "the folder of the run is deleted while it trains")
def _(bench):
    """Exit code 2."""
    with bench.during(lambda: shutil.rmtree("runs/a")):
        assert "The run can't be written: [Errno 2] No such file or directory" in bench.train(*SMALL, code=2)


@fault("Disk", "the last checkpoint is damaged")
def _(bench):
    """A note; `--resume` takes the checkpoint before it."""
    bench.interrupted()
    last = max(Path("runs/a/checkpoints").glob(checkpoints.PATTERN))
    last.write_bytes(last.read_bytes()[:-100])
    said = bench.goes_on()
    assert f"Note: {last} is damaged: " in said
    assert "The checkpoint before it is taken" in said


@fault("Disk", "all checkpoints are damaged")
def _(bench):
    """Exit code 2; nothing is overwritten."""
    bench.interrupted()
    for path in Path("runs/a/checkpoints").glob(checkpoints.PATTERN):
        path.write_bytes(b"")
    before = Path("runs/a/history.csv").read_text()
    assert "can't go on: no checkpoint is whole" in bench.train("--resume", "runs/a", code=2)
    assert Path("runs/a/history.csv").read_text() == before


@fault("Disk", "`config.json` of a run to go on with is damaged")
def _(bench):
    """Exit code 2."""
    bench.interrupted()
    Path("runs/a/config.json").write_text('{"seed": ')
    bench.refused("--resume", "runs/a", words="runs/a/config.json")


@fault("Disk", "`model.keras` to start from is cut off")
def _(bench):
    """Exit code 2 before the training."""
    bench.train(*BASE, "--epochs", 1)
    whole = Path("runs/a/model.keras").read_bytes()
    Path("cut.keras").write_bytes(whole[: len(whole) // 2])
    bench.refused("--weights", "cut.keras", words="cut.keras")


@fault("Disk", "a file of a SavedModel is changed")
def _(bench):
    """`tf-reg verify` names it, with exit code 1."""
    bench.train()
    data = next(Path("saved_models/a/1/variables").glob("*.data*"))
    spoiled = bytearray(data.read_bytes())
    spoiled[100] ^= 1
    data.write_bytes(spoiled)
    code, out, err = bench.command("verify", "saved_models/a/1")
    assert code == 1
    assert data.name in out + err


@fault("Memory", "there is no memory for a batch")
def _(bench):
    """Exit code 2; `--resume` goes on from the last checkpoint."""
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")
    with bench.during(fails(error)):
        said = bench.train(*SMALL, code=2)
    assert "More memory is needed than there is (OOM when allocating a tensor). Lower --batch-size." in said
    bench.goes_on()


@fault("Memory", "Python has no memory left")
def _(bench):
    """Exit code 2; `--resume` goes on from the last checkpoint."""
    with bench.during(fails(MemoryError())):
        assert "More memory is needed than there is (MemoryError)." in bench.train(*SMALL, code=2)
    bench.goes_on()


@fault("Memory", "the images don't fit into the memory that they may have")
def _(bench):
    """They are read from the disk in each epoch."""
    pictures()
    bench.train(*PICTURES)
    bench.patch.setattr(image_data, "MEMORY_LIMIT", 0)
    bench.train(*PICTURES[:-1], "b")
    one, other = (json.loads(Path(f"runs/{name}/metrics.json").read_text())["train_size"] for name in "ab")
    assert one == other


@fault("Data", "a folder of images vanishes while a run reads it")
def _(bench):
    """Exit code 2; when it is back, `--resume` goes on."""
    pictures()
    bench.patch.setattr(image_data, "MEMORY_LIMIT", 0)
    with bench.during(lambda: shutil.move("pictures", "gone")):
        said = bench.train(*PICTURES, "--batch-size", 8, code=2)
    assert "The data can't be read any more: pictures/" in said
    assert "No such file or directory. Bring them back." in said
    shutil.move("gone", "pictures")
    bench.goes_on()


@fault("Data", "an image isn't one")
def _(bench):
    """Exit code 2 before the training."""
    pictures()
    Path("pictures/cats/3.png").write_bytes(b"no picture")
    bench.refused(*PICTURES, words="pictures/cats/3.png can't be read as an image: it is damaged, or no image.")


@fault("Data", "an image is cut off")
def _(bench):
    """Exit code 2 before the training."""
    pictures(size=32)
    path = Path("pictures/dogs/7.png")
    path.write_bytes(path.read_bytes()[:200])
    bench.refused(*PICTURES, words="pictures/dogs/7.png can't be read")


@fault("Data", "images are damaged, and there is `--skip-damaged`")
def _(bench):
    """A note with their number and names; the others are trained on."""
    pictures(size=32)
    Path("pictures/cats/3.png").write_bytes(b"no picture")
    path = Path("pictures/dogs/7.png")
    path.write_bytes(path.read_bytes()[:200])
    said = bench.train(*PICTURES, "--skip-damaged")
    assert "Note: Left out, as they are damaged: 2 images, pictures/cats/3.png, pictures/dogs/7.png." in said
    metrics = json.loads(Path("runs/a/metrics.json").read_text())
    assert sum(metrics[f"{split}_size"] for split in ("train", "validation", "test")) == 58


@fault("Data", "the folder of a class is empty")
def _(bench):
    """Exit code 2 before the training."""
    pictures()
    Path("pictures/birds").mkdir()
    bench.refused(*PICTURES, words="pictures/birds")


@fault("Data", "a batch is larger than the data")
def _(bench):
    """A note; an epoch is one step."""
    said = bench.train(*SMALL, "--batch-size", 500)
    assert "Note: --batch-size 500 is more than the 200 training images: an epoch is one step" in said


@fault("Data", "a number of a table is infinite")
def _(bench):
    """Exit code 2 before the training, with row and column."""
    table()
    lines = Path("table.csv").read_text().splitlines()
    lines[17] = "inf,3"
    Path("table.csv").write_text("\n".join(lines))
    said = bench.train(*TABLE, code=2)
    assert "'x'" in said
    assert "17" in said


@fault("Data", "the data change between an interruption and `--resume`")
def _(bench):
    """Exit code 2; the run stays as it is."""
    table()

    def interrupt():
        raise KeyboardInterrupt

    with bench.during(interrupt, when=3):
        bench.train(*TABLE, code=130)
    text = Path("table.csv").read_text()
    Path("table.csv").write_text(text.replace("\n", "\n0,0\n", 1))
    said = bench.train("--resume", "runs/a", code=2)
    assert "--dataset csv:table.csv has changed since runs/a began" in said
    Path("table.csv").write_text(text)
    bench.goes_on()


@fault("Data", "a data set must be downloaded, and there is no network")
def _(bench):
    """Exit code 2 within seconds."""
    bench.patch.setattr("urllib.request.urlopen", fails(OSError("unreachable")))
    bench.refused("--dataset", "cifar10", "--data-dir", "sets", words="cifar10")


@fault("Settings", "a configuration file has a setting that doesn't exist")
def _(bench):
    """Exit code 2, with the nearest one that does."""
    Path("mine.json").write_text('{"learning_rat": 0.1}')
    bench.refused("--config", "mine.json", words="learning_rate")


@fault("Settings", "a setting has the wrong type")
def _(bench):
    """Exit code 2."""
    Path("mine.json").write_text('{"epochs": "many"}')
    bench.refused("--config", "mine.json", words="epochs")


@fault("Settings", "settings contradict each other")
def _(bench):
    """Exit code 2."""
    bench.refused("--reg", "l2", "--target-sparsity", 0.5, words="--target-sparsity")


@fault("Settings", "a name is taken")
def _(bench):
    """Exit code 2; nothing is overwritten."""
    bench.train()
    before = Path("runs/a/model.keras").read_bytes()
    bench.refused(*SMALL, words="A run or model named a exists in runs or saved_models and is never overwritten.")
    assert Path("runs/a/model.keras").read_bytes() == before


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
