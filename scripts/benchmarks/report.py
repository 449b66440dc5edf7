"""Markdown: tables, and the machine that numbers were measured on."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import keras

PACKAGES = ("tensorflow", "jax", "keras", "numpy", "torch", "onnxruntime", "ai_edge_litert", "openvino")


def header(*columns: str) -> list[str]:
    """Return the first two lines of a table; numbers, in all columns but the first, are set right."""
    return [row(*columns), "|" + "|".join(["---"] + ["---:"] * (len(columns) - 1)) + "|"]


def row(*cells: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def machine() -> list[str]:
    """Return what numbers depend on: processor, load, graphics cards and versions."""
    cards = ", ".join(_cards()) or "no GPU"
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    lines = [
        f"- machine: {cores} cores, {_processor()}, {cards}, {platform.system()} {platform.machine()}",
        f"- versions: Python {platform.python_version()}, {', '.join(_versions(PACKAGES))}",
    ]
    if load > 0.5 * cores:
        lines.append(
            f"- **The machine is busy** (a load of {load:.1f} before the start): no time below can be relied on."
        )
    return lines


def _cards() -> list[str]:
    """The names of the accelerators that the backend sees."""
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import tensorflow as tf

    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [details.get("device_name", "GPU") for details in gpus]


def _processor() -> str:
    with Path("/proc/cpuinfo").open() as lines:
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return next(names, platform.processor() or "unknown processor")


def _versions(packages: Sequence[str]) -> list[str]:
    installed = [package for package in packages if importlib.util.find_spec(package)]
    return [f"{package} {importlib.metadata.version(package)}" for package in installed]
