"""`tf-reg train` on several devices and processes: the numbers of one device, one writer, a sentence for a mistake."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import signal
import socket
import time
import zipfile

import keras
import numpy as np
import pytest

from tests.distributed import COMMAND, address, end, start, train

h5py = pytest.importorskip("h5py", reason="h5py, which Keras brings, reads weights")
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
SGD = ("--optimizer", "sgd", "--momentum", "0.9", "--learning-rate", "0.05", "--epochs", "3", "--refit-epochs", "1")
TARGET = ("--reg", "l1", "--target-sparsity", "0.5", *SGD)


def weights(file):
    """The weights of a saved model by name."""
    found = {}

    def keep(name, held):
        if isinstance(held, h5py.Dataset) and not name.startswith("optimizer") and "seed" not in name:
            found[name] = held[()]

    h5py.File(io.BytesIO(zipfile.ZipFile(file).read("model.weights.h5")), "r").visititems(keep)
    return found


def apart(folder, one, other):
    """The largest difference of weights, and of the numbers of each epoch, of two runs."""
    first, second = (weights(folder / "runs" / name / "model.keras") for name in (one, other))
    assert first.keys() == second.keys()
    texts = [(folder / "runs" / name / "history.csv").read_text() for name in (one, other)]
    logs = [list(csv.DictReader(text.splitlines())) for text in texts]
    assert len(logs[0]) == len(logs[1]) > 0
    numbers = [abs(float(a[key]) - float(b[key])) for a, b in zip(*logs, strict=True) for key in a]
    return max(float(np.max(np.abs(first[name] - second[name]))) for name in first), max(numbers)


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("tensorflow", marks=pytest.mark.slow),
        pytest.param("jax", marks=[pytest.mark.long, needs_jax]),
    ],
)
def test_two_devices_train_as_one(backend, tmp_path):
    """1,293 digits in batches of 118 and 113, an odd number: with a target, the logger and checkpoints."""
    train(tmp_path, "one", backend, *TARGET)
    train(tmp_path, "two", backend, *TARGET, devices=2)
    of_weights, of_numbers = apart(tmp_path, "one", "two")
    assert of_weights <= 1e-6
    assert of_numbers <= 1e-5  # sums of many weights


@pytest.mark.slow
@needs_jax
def test_where_process_0_cannot_begin_all_end(tmp_path):
    (tmp_path / "runs" / "two").mkdir(parents=True)
    words = ["train", "--name", "two", "--num-processes", "2", "--coordinator", address(), "--process-id"]
    answers = end(*[start(COMMAND, [*words, str(one)], tmp_path, "jax") for one in range(2)])
    said = [errors.splitlines()[-1].split(". ")[0] for _, _, errors in answers]
    taken = "tf-reg train: A run or model named two exists in runs or saved_models and is never overwritten"
    assert said == [taken, "tf-reg train: Process 0 can't begin; it says why."]
    assert [code for code, *_ in answers] == [2, 2]


@pytest.mark.long
@needs_jax
def test_two_processes_train_as_one_with_batch_norm_and_dropout(tmp_path):
    """On JAX these see the whole batch. Process 0 alone writes: there is one folder, and no lock of the other."""
    flags = ("--reg", "group", "--batch-norm", "--dropout", "0.2", *SGD)
    train(tmp_path, "one", "jax", *flags)
    train(tmp_path, "two", "jax", *flags, processes=2)
    of_weights, of_numbers = apart(tmp_path, "one", "two")
    assert of_weights <= 1e-5
    assert of_numbers <= 1e-4
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"one", "two"}
    assert (tmp_path / "saved_models" / "two" / "1").is_dir()


@pytest.mark.long
@needs_jax
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_ends_the_other_and_both_go_on(lost, tmp_path):
    words = ["train", "--name", "two", "--no-baseline", "--reg", "l1", "--epochs", "500", "--refit-epochs", "1"]
    place = ["--num-processes", "2", "--coordinator", address(), "--process-id"]
    pair = [start(COMMAND, [*words, *place, str(one)], tmp_path, "jax") for one in range(2)]
    folder = tmp_path / "runs" / "two"
    while not list(folder.glob("checkpoints/*.checkpoint")):
        assert [one.poll() for one in pair] == [None, None]
        time.sleep(0.1)
    pair[lost].kill()
    since = time.monotonic()
    answers = end(*pair)
    assert time.monotonic() - since < 60  # JAX alone waits 300 seconds
    code, _, errors = answers[1 - lost]
    assert code in (2, -signal.SIGABRT)  # by a sentence of ours, or by one of JAX
    assert "Another process of this training has ended" in errors or "another task died" in errors
    if lost == 1:
        assert f"To go on: tf-reg train --resume {folder.relative_to(tmp_path)}" in errors
    config = json.loads((folder / "config.json").read_text()) | {"epochs": 3}
    (folder / "config.json").write_text(json.dumps(config))
    words = ["train", "--resume", str(folder), *place[:2], "--coordinator", address(), "--process-id"]
    assert [code for code, *_ in end(*[start(COMMAND, [*words, str(one)], tmp_path, "jax") for one in range(2)])] == [
        0
    ] * 2
    assert (tmp_path / "saved_models" / "two" / "1").is_dir()


@pytest.mark.slow
def test_more_devices_than_there_are_is_one_sentence(tmp_path):
    words = ["train", "--devices", "9", "--epochs", "1"]
    [(code, _, errors)] = end(start(COMMAND, words, tmp_path, "tensorflow"))
    assert code == 2
    assert errors.splitlines()[-1] == (
        "tf-reg train: --devices 9 is more than there are on this machine: 1 CPU. Take 1 or all."
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--num-processes 2", "--num-processes 2 needs --process-id, from 0 to 1."),
        ("--num-processes 2 --process-id 0", "--num-processes 2 needs --coordinator, HOST:PORT of process 0."),
        (
            "--num-processes 2 --process-id 2 --coordinator here:1",
            "--process-id must be from 0 to 1 with --num-processes 2. Received: 2.",
        ),
        ("--process-id 0", "--process-id does nothing without --num-processes."),
        ("--coordinator here:1", "--coordinator does nothing without --num-processes."),
        (
            "--num-processes 2 --process-id 0 --coordinator here",
            "--coordinator must be HOST:PORT, with a port from 1 to 65535, such as node1:12345. Received: 'here'.",
        ),
        (
            "--num-processes 2 --process-id 0 --coordinator here:70000",
            "--coordinator must be HOST:PORT, with a port from 1 to 65535, such as node1:12345. Received: "
            "'here:70000'.",
        ),
        ("--devices 0", "--devices must be all, or a whole number from 1 on. Received: 0."),
        ("--devices two", "--devices must be all, or a whole number from 1 on. Received: two."),
    ],
)
def test_a_wrong_flag_is_one_sentence(command, words, sentence):
    code, out, errors = command("train", *words.split())
    assert (code, out, errors) == (2, "", f"tf-reg train: {sentence}\n")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX trains on several processes")
def test_other_backends_have_no_processes(command):
    words = f"--num-processes 2 --process-id 0 --coordinator {address()}".split()
    code, _, errors = command("train", *words)
    assert code == 2
    assert errors.startswith("tf-reg train: --num-processes 2 needs KERAS_BACKEND=jax: on ")


def test_process_0_that_is_not_there_is_one_sentence():
    from tf_reg.recipes.devices import _reach
    from tf_reg_cli.errors import UserError

    where = address()
    with pytest.raises(UserError, match=f"--coordinator {where}: process 0 isn't there: Connection refused"):
        _reach(where, patience=0.1)
    with socket.create_server(("localhost", 0)) as process_0:
        _reach(f"localhost:{process_0.getsockname()[1]}", patience=0.1)


def test_parts_of_a_batch_that_a_device_would_not_have_are_refused(command):
    from tf_reg.recipes.mirrored import Mirrored
    from tf_reg_cli.config import Config
    from tf_reg_cli.errors import UserError

    mirrored = Mirrored.__new__(Mirrored)
    mirrored._count = 8
    mirrored.check(Config(), 1293, 118)
    for size, batch, number in ((33, 32, 1), (9, 9, 9)):
        with pytest.raises(UserError, match=rf"can't share a batch of {number} examples, as {size} training"):
            mirrored.check(Config(), size, batch)
    with pytest.raises(UserError, match="--jit is for one device"):
        mirrored.check(Config(jit=True), 1293, 118)
