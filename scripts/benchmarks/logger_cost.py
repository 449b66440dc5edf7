"""What `tf_reg.RegularizationLogger` costs: epochs with and without it, and the time within its own hooks."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

import tf_reg
from benchmarks import report, subjects, timing
from benchmarks.subjects import Subject
from tf_reg_cli.errors import UserError

REPEATS = 20

WITHOUT, CONTROL, WITH = "without", "without, again", "with"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    subjects.add_flags(parser)
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="(default: 128)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag or the data is wrong.
    """
    if flags.batch_size < 1:
        raise UserError(f"--batch-size must be 1 or more. Received: {flags.batch_size}.")
    yield (
        f"Epochs of `fit` (training and validation, batch {flags.batch_size}) with and without the logger at its "
        f"default, in turn within one `fit`; medians of {flags.repeats} [quartiles]. *Hooks*: the time within the "
        "logger's own hooks as a share of their epoch, the device's work and its transfer included."
    )
    yield ""
    yield from report.header(
        "network", "epoch without (s)", "with / without", "without / without", "hooks (% of epoch)"
    )
    for subject in subjects.subjects(flags, flags.batch_size):
        yield _row(subject, flags.repeats)
        yield _row(_without_data_loss(subject), flags.repeats)


def _without_data_loss(subject: Subject) -> Subject:
    """The network compiled as most are: the logger computes `val_data_loss` itself."""
    other = subject.again()
    other.model.compile(
        other.model.optimizer,
        other.model.loss,
        metrics=["accuracy"],
        steps_per_execution=subject.model.steps_per_execution,
        jit_compile=subject.model.jit_compile,
    )
    return dataclasses.replace(other, name=f"{subject.name}, no metric `data_loss`")


def _row(subject: Subject, repeats: int) -> str:
    logger = TimedLogger()
    arms: dict[str, list[keras.callbacks.Callback]] = {WITHOUT: [], CONTROL: [], WITH: [logger]}
    turns = Turns(arms, subject.model, [*arms, *timing.order(list(arms), repeats)])
    subject.model.fit(
        subject.images.train,
        epochs=len(turns.turns),
        shuffle=False,
        validation_data=subject.images.validation,
        verbose=0,
        callbacks=turns,
    )
    times = {name: seconds[1:] for name, seconds in turns.seconds.items()}  # the first traces and warms up
    shares = [hooks / epoch for hooks, epoch in zip(logger.seconds[1:], times[WITH], strict=True)]
    return report.row(
        subject.name,
        timing.Spread.of(times[WITHOUT]).show("{:.2f}"),
        timing.ratio(times, WITH, WITHOUT).show("{:.3f}"),
        timing.ratio(times, CONTROL, WITHOUT).show("{:.3f}"),
        timing.Spread.of(shares).show("{:.3f}", 100),
    )


class TimedLogger(tf_reg.RegularizationLogger):
    """The logger at its default, with a clock in each of its hooks: `seconds` holds a number for each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        for name in dir(keras.callbacks.Callback):
            if name.startswith("on_") and getattr(type(self), name) is not getattr(keras.callbacks.Callback, name):
                setattr(self, name, self._timed(getattr(self, name), new_epoch=name == "on_epoch_begin"))

    def _timed(self, hook: Callable[..., None], new_epoch: bool) -> Callable[..., None]:
        def timed(*args: Any, **kwargs: Any) -> None:
            start = time.perf_counter()
            hook(*args, **kwargs)
            seconds = time.perf_counter() - start
            if new_epoch:
                self.seconds.append(seconds)
            elif self.seconds:  # once the first epoch has begun
                self.seconds[-1] += seconds

        return timed


class Turns(keras.callbacks.CallbackList):
    """Several lists of callbacks that take an epoch each, in one `fit`; `seconds` holds their epochs' times.

    Each list stays what Keras makes of it: a hook of one has no influence on how Keras calls another.

    Args:
        arms: The callbacks of each list, by name.
        model: The model they are for.
        turns: Whose turn each epoch is.
    """

    def __init__(
        self, arms: Mapping[str, list[keras.callbacks.Callback]], model: keras.Model, turns: Sequence[str]
    ) -> None:
        super().__init__()
        self.turns = turns
        self.seconds: timing.Times = {name: [] for name in arms}
        self._lists = {
            name: keras.callbacks.CallbackList(callbacks, add_history=True, model=model, epochs=len(turns), verbose=0)
            for name, callbacks in arms.items()
        }
        self._active = self._lists[turns[0]]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin all lists."""
        for callbacks in self._lists.values():
            callbacks.on_train_begin(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """End all lists."""
        for callbacks in self._lists.values():
            callbacks.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock for the list whose turn it is."""
        self._active = self._lists[self.turns[epoch]]
        self._quiet = timing.undisturbed()
        self._quiet.__enter__()
        self._start = time.perf_counter()
        self._active.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop the clock."""
        self._active.on_epoch_end(epoch, logs)
        self.seconds[self.turns[epoch]].append(time.perf_counter() - self._start)
        self._quiet.__exit__(None, None, None)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        self._active.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        self._active.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        self._active.on_test_begin(logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        self._active.on_test_end(logs)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        self._active.on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass it on."""
        self._active.on_test_batch_end(batch, logs)
