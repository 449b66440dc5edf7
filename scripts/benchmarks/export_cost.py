"""What an export takes, in bytes and seconds, beside `keras.Model.export`."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

import tf_reg
from benchmarks import report, subjects, timing
from tf_reg.recipes.run import EXPORT_EXAMPLES, test_images

REPEATS = 5
OURS, CHECK, THEIRS = "tf_reg.export", "tf_reg.verify_saved_model", "keras.Model.export"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    subjects.add_flags(parser)


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag or the data is wrong.
    """
    yield (
        f"Medians of {flags.repeats} [quartiles], in turn. `tf_reg.export` ends in a `tf_reg.verify_saved_model`, "
        f"on {EXPORT_EXAMPLES} test images and the warm-up requests; `keras.Model.export` verifies nothing."
    )
    yield ""
    yield from report.header(
        "network",
        "weights (bytes)",
        "variables, tf_reg (bytes)",
        "variables, Keras (bytes)",
        "tf_reg / Keras",
        "tf_reg.export (s)",
        "verify_saved_model (s)",
        "keras.Model.export (s)",
    )
    for subject in subjects.subjects(flags, batch_size=32):
        yield _row(subject.name, subject.model, test_images(subject.images), flags.repeats)


def _row(name: str, model: keras.Model, images: np.ndarray, repeats: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "tf_reg", Path(folder) / "keras"
        arms: dict[str, Callable[[], object]] = {
            OURS: lambda: tf_reg.export(model, ours, examples=images),
            CHECK: lambda: tf_reg.verify_saved_model(ours / "1", model, images),
            THEIRS: lambda: model.export(theirs, verbose=False),
        }
        times = timing.interleave({arm: _timed(call) for arm, call in arms.items()}, repeats)
        sizes = [_variables(ours / "1"), _variables(theirs)]
    weights = sum(weight.numpy().nbytes for weight in model.weights)
    return report.row(
        name,
        f"{weights:,}",
        *(f"{size:,}" for size in sizes),
        f"{sizes[0] / sizes[1]:.3f}",
        *(timing.Spread.of(times[arm]).show("{:.2f}") for arm in arms),
    )


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return timed


def _variables(saved_model: Path) -> int:
    return sum(file.stat().st_size for file in (saved_model / "variables").iterdir())
