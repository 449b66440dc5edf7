"""Faults of the disk."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from tests.recipes.fault_bench import BASE, FULL, SMALL, fails, fault
from tf_reg.callbacks import checkpoints


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
