"""What training prints: a line per epoch, and on a terminal a line that shows how far the epoch is."""

from __future__ import annotations

import os
import sys
from typing import Any

import keras

from tf_reg.callbacks.batches import batches_done, steps_at_once

WIDTH = 80
# What an epoch's line shows, as far as it is known and fits. The file history.csv has all keys.
COLUMNS = ("loss", "accuracy", "r2", "val_data_loss", "val_accuracy", "val_r2", "sparsity", "strength", "penalty")


class Progress(keras.callbacks.Callback):
    """Print a table with a row per epoch, in plain text of at most 80 columns.

    It takes the place of Keras' own progress bar, whose colours and redrawn lines are of no use in a file.

    Args:
        redraw: Whether to show the batch that runs, in a line that is drawn again and again. By default on a
            terminal, unless `NO_COLOR` is set.
    """

    def __init__(self, redraw: bool | None = None) -> None:
        super().__init__()
        self._redraw = is_terminal() if redraw is None else redraw
        self._columns: list[str] = []
        self._epoch = 0
        self._drawn = ""

    def get_state(self) -> dict[str, Any]:
        """Return nothing: a training that goes on prints its table anew."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Do nothing."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget the columns of an earlier training."""
        self._columns = []
        self._at_once = steps_at_once(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show how far the epoch is."""
        if self._redraw:
            steps = f"/{self.params['steps']}" if self.params.get("steps") else ""
            step = f"step {batches_done(batch, self.params, self._at_once)}{steps}"
            self._draw(f"epoch {self._number().strip()}, {step}, loss {(logs or {}).get('loss', 0):.4f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the epoch's row, and above the first one the names of the columns."""
        logs = logs or {}
        self._draw("")
        if not self._columns:
            self._columns = _that_fit([name for name in COLUMNS if name in logs], len(self._number()))
            _print("epoch".ljust(len(self._number())) + "".join(f"  {name:>8}" for name in self._columns) + "\n")
        cells = (f"  {format(float(logs[name]), '.4g'):>{max(8, len(name))}}" for name in self._columns)
        _print(self._number() + "".join(cells) + "\n")

    def _number(self) -> str:
        epochs = str(self.params["epochs"])
        return f"{self._epoch + 1:>{len(epochs)}}/{epochs}".ljust(len("epoch"))

    def _draw(self, text: str) -> None:
        """Draw a line over the one that was drawn before."""
        if self._drawn or text:
            _print("\r" + text.ljust(len(self._drawn)) + ("" if text else "\r"))
            self._drawn = text


def is_terminal() -> bool:
    """Whether the output goes to a terminal on which a line may be drawn again."""
    return sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _that_fit(names: list[str], left: int) -> list[str]:
    shown: list[str] = []
    for name in names:
        if left + sum(max(8, len(one)) + 2 for one in [*shown, name]) < WIDTH:
            shown.append(name)
    return shown


def _print(text: str) -> None:
    print(text, end="", flush=True)
