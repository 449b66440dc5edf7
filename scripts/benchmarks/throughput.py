"""Images a second in our training and in a usual PyTorch loop, for the same network."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from benchmarks import fitting, report, timing
from benchmarks.subjects import Subject, load
from tf_reg_cli.errors import UserError

IMAGES = 12800  # in what is timed at once
ARTICLE = {"model": "cnn", "dropout": 0.5, "optimizer": "sgd", "momentum": 0.9, "learning_rate": 1e-3}

OURS, ONE, CONTROL, THEIRS = "tf_reg", "tf_reg, one step an execution", "tf_reg, again", "PyTorch"


def check() -> None:
    """Raise a `UserError` where PyTorch is missing."""
    if importlib.util.find_spec("torch") is None:
        raise UserError('The comparison with PyTorch needs PyTorch: pip install -e ".[backends]".')


def run(flags: Namespace, batch_sizes: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If PyTorch is missing or fails.
    """
    check()
    yield (
        "Training images a second, a small network (conv 32 - pool - conv 64 - pool - dense 128 - dropout 0.5 - "
        "dense 10; SGD, learning rate 0.001, momentum 0.9). *tf_reg*: an epoch of `train.py` without its validation, "
        "with all its callbacks and the steps an execution that it chooses; then with one. *PyTorch*: an eager "
        "loop over a `DataLoader` of normalised images, in a process of its own that sleeps while tf_reg trains. "
        f"In turn; medians of {flags.repeats} [quartiles]."
    )
    yield ""
    yield from report.header(
        "batch",
        "parameters",
        "steps an execution",
        "PyTorch (images/s)",
        "tf_reg (images/s)",
        "tf_reg, 1 step an execution (images/s)",
        "tf_reg / PyTorch",
        "tf_reg, 1 step / PyTorch",
        "tf_reg / tf_reg",
    )
    for batch_size in batch_sizes:
        yield _row(flags, batch_size)


def _row(flags: Namespace, batch_size: int) -> str:
    subject = Subject("CNN", *load(flags, batch_size, **ARTICLE))
    one = subject.again(steps_per_execution=1)
    steps = min(IMAGES // batch_size, subject.batches)
    ours = functools.partial(fitting.recipe_epoch, subject, steps)
    with _pytorch(subject.images) as pytorch:
        arms = {
            OURS: ours,
            THEIRS: functools.partial(pytorch.train, batch_size, steps),
            ONE: functools.partial(fitting.recipe_epoch, one, steps),
            CONTROL: ours,
        }
        times = timing.interleave(arms, flags.repeats)
    speeds = {name: timing.Spread.of([steps * batch_size / t for t in taken]) for name, taken in times.items()}
    return report.row(
        str(batch_size),
        " / ".join({f"{count:,}" for count in (subject.model.count_params(), pytorch.parameters)}),
        str(subject.model.steps_per_execution),
        *(speeds[name].show("{:,.0f}") for name in (THEIRS, OURS, ONE)),
        timing.ratio(times, THEIRS, OURS).show("{:.2f}"),  # times go the other way than speeds
        timing.ratio(times, THEIRS, ONE).show("{:.2f}"),
        timing.ratio(times, CONTROL, OURS).show("{:.2f}"),
    )


class _PyTorch:
    """The process that runs `pytorch_loop.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._requests, self._answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        self.parameters = int(self._answer())

    def train(self, batch_size: int, steps: int) -> float:
        """Return the seconds that PyTorch trains for."""
        print(batch_size, steps, file=self._requests, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        line = self._answers.readline()
        if not line:
            raise UserError("The process that runs PyTorch ended early: its own message stands above.")
        return line


@contextlib.contextmanager
def _pytorch(images: Any) -> Iterator[_PyTorch]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "examples.npz"
        np.savez(file, **_examples(images))
        command = [sys.executable, str(Path(__file__).with_name("pytorch_loop.py")), str(file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield _PyTorch(process)
            finally:
                process.kill()


def _examples(images: Any) -> dict[str, Any]:
    pixels, labels = zip(*images.train_eval.as_numpy_iterator(), strict=True)
    return {
        "images": np.concatenate(pixels),
        "labels": np.concatenate(labels).argmax(axis=1),
        "mean": np.asarray(images.mean, np.float32),
        "deviation": np.sqrt(np.asarray(images.variance, np.float32)),
    }
