"""A search by `tf-reg tune`, in this process or, as a program, in one that is killed."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from pathlib import Path

import keras
from sqlalchemy.engine.default import DefaultDialect

from tests.callbacks.resumable import kill
from tests.recipes import studies
from tf_reg_cli.main import main

FLAGS = (
    "tune", "--reg", "l1", "--dropout", "0.2", "--hidden", "8", "--train-size", "200", "--batch-size", "50", "--epochs",
    "4", "--trials", "8", "--name", "s", "--heartbeat", "1", "--retries", "9",
)  # fmt: skip
LOST = 4.5  # seconds after which a trial without a sign of life is lost; three heartbeats
CALLS = {
    "batch": (keras.callbacks.CallbackList, "on_train_batch_end"),
    "commit": (DefaultDialect, "do_commit"),
}


def tuned(folder: Path):
    """Search in a folder, or go on there; return the settings, the state and the values of each trial that ended."""
    folder.mkdir(exist_ok=True)
    address = f"sqlite:///{folder}/runs/s/study.db"
    if (folder / "runs/s/study.db").is_file():
        time.sleep(LOST)
    with contextlib.chdir(folder):
        assert main(FLAGS) == 0
    ended = [trial for trial in studies.read(address).trials if trial.state.name in ("COMPLETE", "PRUNED")]
    return [(trial.params, trial.state.name, trial.values, trial.intermediate_values) for trial in ended]


def kill_at(moment: str, number: int) -> None:
    """Kill this process after so many batches, or at the start of so manyth commit to the database."""
    owner, attribute = CALLS[moment]
    call, numbers = getattr(owner, attribute), itertools.count(1)

    def hooked(*arguments, **options):
        if next(numbers) == number:
            kill()
        return call(*arguments, **options)

    setattr(owner, attribute, hooked)


if __name__ == "__main__":
    kill_at(sys.argv[2], int(sys.argv[3]))
    tuned(Path(sys.argv[1]))
