"""What training prints, on a terminal and into a file."""

import io
import sys

import pytest

from tf_reg.recipes import progress
from tf_reg.recipes.progress import Progress

LOGS = {
    "loss": 0.51234, "accuracy": 0.9, "data_loss": 0.4, "val_data_loss": 0.45, "val_accuracy": 0.87, "penalty": 0.11,
    "sparsity": 0.25, "strength": 1.0, "penalty/hidden_1": 0.1, "zero_share": 0.5, "refit": 0.0,
}  # fmt: skip


def trained(shown, logs=LOGS, epochs=2):
    shown.set_params({"epochs": epochs, "steps": 3})
    shown.on_train_begin()
    for epoch in range(epochs):
        shown.on_epoch_begin(epoch)
        for batch in range(3):
            shown.on_train_batch_end(batch, {"loss": 0.5})
        shown.on_epoch_end(epoch, logs)


def test_a_row_an_epoch(capsys):
    trained(Progress(redraw=False))
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["epoch", "loss", "accuracy", "val_data_loss", "val_accuracy", "sparsity", "strength"]
    assert first.split() == ["1/2", "0.5123", "0.9", "0.45", "0.87", "0.25", "1"]
    assert second.split()[0] == "2/2"
    assert len(header) == len(first) == len(second) < 80


def test_columns_that_are_not_there(capsys):
    trained(Progress(redraw=False), {"loss": 1.0, "penalty": 0.5})
    assert capsys.readouterr().out.splitlines()[0].split() == ["epoch", "loss", "penalty"]


def test_many_epochs_fit_too(capsys):
    trained(Progress(redraw=False), epochs=12_345)
    assert max(map(len, capsys.readouterr().out.splitlines())) < 80


def test_a_terminal_sees_the_batches(capsys):
    trained(Progress(redraw=True), epochs=1)
    out = capsys.readouterr().out
    assert "\repoch 1/1, step 2/3, loss 0.5000\r" in out
    assert "\x1b" not in out
    blank, header, row = out.rpartition("step 3/3, loss 0.5000")[2].rstrip("\n").replace("\r", "\n").split("\n")[1:]
    assert blank.isspace()
    assert (header.split()[0], row.split()[0]) == ("epoch", "1/1")


def test_an_execution_of_several_steps_ends_with_the_epoch(capsys):
    shown = Progress(redraw=True)
    shown.set_params({"epochs": 1, "steps": 12})
    shown.on_train_begin()
    shown.on_epoch_begin(0)
    for batch in (6, 13):  # as Keras counts executions of 7 steps
        shown.on_train_batch_end(batch, {"loss": 0.5})
    assert capsys.readouterr().out.endswith("\repoch 1/1, step 12/12, loss 0.5000")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "redrawn"),
    [
        (Terminal(), None, True),
        (Terminal(), "1", False),
        (Terminal(), "", False),
        (io.StringIO(), None, False),
        (None, None, False),
    ],
)
def test_lines_are_redrawn_on_terminals_alone(monkeypatch, stream, no_color, redrawn):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stdout", stream)
    assert progress.is_terminal() is redrawn
