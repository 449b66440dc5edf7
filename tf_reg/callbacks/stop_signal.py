"""SIGTERM in training: as schedulers send it before they kill."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import keras

from tf_reg._callers import callers


class StopSignal:
    """Remembers that SIGTERM came, until there is a checkpoint."""

    def __init__(self) -> None:
        self.asked = False
        self._model: keras.Model | None = None
        self._before: Any = None

    def listen(self, model: keras.Model) -> None:
        """Wait for the signal while a model is in `fit`. Only the main thread can, and who ignores it still does."""
        before = signal.getsignal(signal.SIGTERM)
        main = threading.current_thread() is threading.main_thread()
        if main and before is not None and before != signal.SIG_IGN:
            self._model, self._before = model, before
            signal.signal(signal.SIGTERM, self._hear)

    def end(self) -> None:
        """Leave the signal to whoever had it."""
        if self._model is not None and signal.getsignal(signal.SIGTERM) == self._hear:
            signal.signal(signal.SIGTERM, self._before)
        self._model = None

    def obey(self) -> None:
        """Do what the signal would have done."""
        self.end()
        os.kill(os.getpid(), signal.SIGTERM)

    def _hear(self, number: int, frame: Any) -> None:
        if any(one is self._model for one in callers({"fit"})):
            self.asked = True
        else:  # the training has ended by an exception
            self.obey()
