"""Trainings in processes of their own, on several devices: what a script there can use, and how it is started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.tools import ROOT

DEVICES = "DEVICES_OF_A_TEST"  # how many devices a CPU is cut into
PATIENCE = 300  # seconds

START = f"""
import os, sys
count = int(os.environ[{DEVICES!r}])
if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={{count}}"
else:
    import tensorflow as tf
    [cpu] = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
"""
COMMAND = f"{START}\nfrom tf_reg_cli.main import main\nsys.exit(main(sys.argv[1:]))"


def start(code: str, words: list[str], folder: Path, backend: str, devices: int = 1) -> subprocess.Popen[str]:
    """Start a Python program on a CPU that is cut into devices."""
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        DEVICES: str(devices),
        "JAX_ENABLE_X64": "1" if "float64" in words else "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts")]),
    }
    command = [sys.executable, "-c", code, *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def end(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """Wait for processes; return the exit code, the output and the errors of each."""
    try:
        answers = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *answer) for process, answer in zip(processes, answers, strict=True)]


def address() -> str:
    """Return an address of this machine with a port that is free."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return f"localhost:{one.getsockname()[1]}"


def train(folder: Path, name: str, backend: str, *flags: str, devices: int = 1, processes: int = 1) -> None:
    """Train by `tf-reg train` on a number of devices, or of processes with a device each."""
    words = ["train", "--name", name, "--quiet", "--no-baseline", *flags, *(["--devices", "all"] * (devices > 1))]
    place = ["--num-processes", str(processes), "--coordinator", address(), "--process-id"]
    each = [[*words, *place, str(one)] for one in range(processes)] if processes > 1 else [words]
    for code, _, errors in end(*[start(COMMAND, one, folder, backend, devices) for one in each]):
        assert code == 0, errors[-3000:]


def history(folder: Path, name: str) -> dict[str, Any]:
    """Return the numbers of a run."""
    return json.loads((folder / "runs" / name / "metrics.json").read_text())
