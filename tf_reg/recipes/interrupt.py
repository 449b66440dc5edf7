"""Ctrl-C in training: an answer at once, and an end after the batch that runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import keras

ANSWER = "\nStopping after this batch. Press Ctrl-C again to stop at once."


class StopAfterBatch(keras.callbacks.Callback):
    """Raise `KeyboardInterrupt` at the end of the batch in which Ctrl-C was pressed.

    Python handles a signal only when the compiled step returns, which can take long. So a thread answers the user:
    the signal's number comes through a pipe at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

    def get_state(self) -> dict[str, Any]:
        """Return nothing: a training that goes on isn't asked to stop again."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Bring back nothing."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle Ctrl-C so within the block.

        Outside of the main thread, and where somebody else handles the signal, Ctrl-C does what it did before.
        """
        with handled_by(self._ask) as is_ours, _answered() if is_ours else contextlib.nullcontext():
            yield

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def _stop(self) -> None:
        if self._asked:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if asked to."""
        self._stop()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if asked to."""
        self._stop()


@contextlib.contextmanager
def handled_by(handler: Any) -> Iterator[bool]:
    """Handle Ctrl-C by a function, or by `signal.SIG_DFL`, within the block, and say whether that is so.

    It isn't outside of the main thread, and where somebody else handles the signal.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield False
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield True
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Print the answer as soon as a signal arrives."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_answer, args=(reading,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _answer(reading: int) -> None:
    answered = False
    while number := os.read(reading, 1):
        if number[0] == signal.SIGINT and not answered:
            answered = True
            print(ANSWER, file=sys.stderr, flush=True)
