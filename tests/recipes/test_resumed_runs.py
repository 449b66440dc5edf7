"""`tf-reg train --resume`: a run that was killed ends as one that wasn't."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from tests.recipes.conftest import metrics_of
from tests.tools import ROOT, mostly_long

RUNS = {
    "augmentation": "--reg l1 --dropout 0.3 --augment --epochs 4",
    "mixing": "--reg group --mixup 0.2 --rand-augment 0.2 --epochs 3 --ema 0.9",
    "target": "--reg l1 --target-sparsity 0.8 --epochs 8 --swa 3 --batch-norm",
    "columns": "--dataset breast_cancer --reg group --epochs 6 --early-stopping 2",
}


def killed(words, folder, signal_number, least):
    """Run the program until it has so many checkpoints, or has written them, and kill it."""
    command = [sys.executable, f"{ROOT}/scripts/train.py", *words, "--quiet"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        seen, deadline = set(), time.monotonic() + 120
        while len(seen) < least:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            seen |= set((folder / "runs/a/checkpoints").glob("*.checkpoint"))
            time.sleep(0.01)
        process.send_signal(signal_number)
        assert process.wait(60) == -signal_number


@pytest.mark.filterwarnings("ignore:TargetSparsity:UserWarning")
@pytest.mark.parametrize("name", mostly_long(RUNS, "augmentation", "target", "columns"))
def test_a_killed_run_ends_as_one_that_was_not(name, command, tmp_path):
    words = RUNS[name].split()
    stop = signal.SIGTERM if name == "target" else signal.SIGKILL
    killed([*words, "--name", "a", "--checkpoint-every", "3"], tmp_path, stop, least=6)
    assert not (tmp_path / "runs/a/metrics.json").exists()
    code, _, said = command("train", "--resume", "runs/a")
    assert (code, "Traceback" in said) == (0, False)
    assert command("train", *words, "--name", "b", "--quiet")[0] == 0
    assert (tmp_path / "runs/a/history.csv").read_bytes() == (tmp_path / "runs/b/history.csv").read_bytes()
    one, other = (keras.models.load_model(tmp_path / f"runs/{run}/model.keras").get_weights() for run in "ab")
    assert all(map(np.array_equal, one, other))
    found, wanted = (metrics_of(tmp_path / f"runs/{run}") for run in "ab")
    assert found.keys() == wanted.keys()
    assert {key for key in found if found[key] != wanted[key]} <= {"name", "seconds"}
    files = [{path.name for path in (tmp_path / f"runs/{run}").iterdir()} for run in "ab"]
    assert files[0] == files[1]
    one, other = (sorted(os.listdir(tmp_path / f"saved_models/{run}")) for run in "ab")
    assert one == other
    code, _, said = command("train", "--resume", "runs/a")
    assert code == 2
    assert said.startswith("tf-reg train: --resume runs/a has come to its end, or has no checkpoints.")


def unfinished(folder, **settings):
    (folder / "runs/a/checkpoints").mkdir(parents=True)
    (folder / "runs/a/config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs/b"], "--resume runs/b is not the folder of a run, with config.json in it."),
        (["runs/a", "--reg", "l1"], "--resume goes on with the settings of the run. Leave out --reg."),
        (["runs/a", "--config", "c.json"], "--resume goes on with the settings of the run. Leave out --config."),
        (["runs/a", "--checkpoint-every", "0"], "--checkpoint-every must be 1 or more"),
    ],
)
def test_mistakes(words, sentence, command, tmp_path):
    unfinished(tmp_path)
    code, out, err = command("train", "--resume", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"tf-reg train: {sentence}")


def test_a_run_of_another_folder(command, tmp_path):
    unfinished(tmp_path, runs_dir="elsewhere")
    code, _, err = command("train", "--resume", "runs/a")
    assert code == 2
    assert "Start it in the folder where the run began." in err


def test_damaged_checkpoints_are_one_sentence(command, tmp_path):
    unfinished(tmp_path, epochs=2, train_size=100)
    (tmp_path / "runs/a/checkpoints/epoch-000001-batch-000000000.checkpoint").write_bytes(b"")
    code, _, err = command("train", "--resume", "runs/a")
    assert code == 2
    assert "tf-reg train: The run can't go on: The training in runs/a/checkpoints can't go on: no checkpoint" in err
