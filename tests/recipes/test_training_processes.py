"""Training in processes of their own: XLA, other backends, Ctrl-C, and a reader that leaves."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import keras
import pytest

import tf_reg
from tests.tools import ROOT, require_module


@pytest.mark.slow
def test_xla_gives_the_same_numbers_twice(tmp_path):
    """In processes of its own: Keras ignores `jit_compile` once a process is set to deterministic ops."""
    for name in "ab":
        command = [sys.executable, ROOT / "scripts/train.py", "--jit", "--epochs", "2", "--quiet", "--name", name]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "doesn't support" not in answer.stderr
    a, b = ((tmp_path / f"runs/{name}/history.csv").read_text() for name in "ab")
    assert a == b


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_run_on_another_backend_ends_in_a_saved_model(tmp_path, backend):
    require_module(backend)
    flags = ["--reg", "l1l2", "--dropout", "0.2", "--augment", "--batch-norm", "--epochs", "2", "--name", "a"]
    command = [sys.executable, ROOT / "scripts/train.py", *flags]
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    found = tf_reg.verify_saved_model(
        tmp_path / "saved_models/a/1", keras.models.load_model(tmp_path / "runs/a/model.keras", compile=False)
    )
    assert found.compared > 3
    assert found.difference < 1e-5
    manifest = json.loads((tmp_path / "saved_models/a/1/assets.extra/tf_reg.json").read_text())
    assert manifest["backend"] == backend
    assert manifest["metrics"]["test_accuracy"] > 0.2


@pytest.fixture
def training(tmp_path):
    """A training of many epochs in a process of its own, on a terminal, of which the first epochs are done."""
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts/train.py", "--reg", "l1", "--epochs", "100000", "--name", "a"],
        cwd=tmp_path, stdout=its_end, stderr=its_end, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    os.close(its_end)
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        try:
            process.shown = read_until(stream, b"\r     3/100000")
            process.terminal = stream
            yield process
        finally:
            process.kill()
            process.wait()


def read_until(stream, end, seconds=120):
    """What the stream has up to `end`, or up to its own end."""
    text, deadline = b"", time.monotonic() + seconds
    with contextlib.suppress(OSError):  # how a terminal ends whose process is gone
        while end not in text:
            assert select.select([stream], [], [], deadline - time.monotonic())[0], f"no {end} in {text[-200:]}"
            text += stream.read(1000)
    return text


@pytest.mark.slow
def test_ctrl_c_is_answered_at_once_and_keeps_what_there_is(training, tmp_path):
    assert b"\x1b" not in training.shown
    assert b"\repoch 1/100000, step 11/11, " in training.shown
    assert b"port.cc" not in training.shown
    start = time.monotonic()
    training.send_signal(signal.SIGINT)
    answer = read_until(training.terminal, b"Stopping after this batch.")
    assert time.monotonic() - start < 1
    rest = read_until(training.terminal, b"nothing")
    assert training.wait(60) == 130
    assert b"Interrupted. What there is lies in runs/a." in rest
    assert b"Traceback" not in answer + rest
    assert keras.models.load_model(tmp_path / "runs/a/model.keras").count_params() > 0
    assert b"To go on: tf-reg train --resume runs/a" in rest
    left = {path.name for path in (tmp_path / "runs/a").iterdir()} - {"checkpoints"}
    assert left == {"config.json", "history.csv", "tensorboard", "curves.png", "regularization.png", "model.keras"}
    assert list((tmp_path / "saved_models").iterdir()) == []


@pytest.mark.slow
def test_a_reader_that_leaves(tmp_path):
    command = f"{sys.executable} {ROOT}/scripts/train.py --epochs 1000 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")
    assert done.stdout.startswith("1,293 training images: ")
