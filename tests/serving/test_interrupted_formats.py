"""Exports with other formats that are killed while they convert, or can't write: no version is ever half there."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import tf_reg
from tests.exports import published, small
from tests.tools import ROOT, require_module
from tf_reg.serving.write import formats

EXPORT = """
    import sys
    import tf_reg
    from tests.exports import small

    tf_reg.export(small(), sys.argv[1], formats=["onnx", "litert"])
"""


def staged(base, name):
    """Whether a version that isn't published has that file."""
    return any((folder / name).exists() for folder in base.glob(".writing-*"))


MOMENTS = {
    "converting": lambda base: staged(base, "assets.extra/tf_reg.json"),
    "one is there": lambda base: staged(base, "model.onnx"),
    "both are there": lambda base: staged(base, "model.tflite"),
}


@pytest.mark.parametrize(
    "moment",
    [pytest.param(name, marks=pytest.mark.slow if name == "one is there" else pytest.mark.long) for name in MOMENTS],
)
def test_killed(tmp_path, moment):
    require_module("tf2onnx", "onnx")
    require_module("ai_edge_litert", "litert")
    base = tmp_path / "m"
    tf_reg.export(small(), base)
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    command = [sys.executable, "-c", textwrap.dedent(EXPORT), base]
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 200
    while not MOMENTS[moment](base):
        assert child.poll() is None, "it was done before"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)  # its converter isn't killed, and may go on
    child.wait()
    assert [name for name in published(base) if not name.startswith(".")] == ["1"]
    assert tf_reg.verify_saved_model(base / "1").engines == {}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    assert tf_reg.export(small(), base).name == "2"


@pytest.mark.slow
def test_a_file_that_can_not_be_written(tmp_path):
    """That isn't the model's fault, and isn't said to be."""
    require_module("ai_edge_litert", "litert")
    path = tf_reg.export(small(), tmp_path / "m")
    with pytest.raises(OSError, match=r"FileNotFoundError: .*No such file or directory"):
        formats.convert(path, "litert", tmp_path / "nowhere" / "model.tflite")
