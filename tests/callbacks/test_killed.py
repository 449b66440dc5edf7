"""Trainings whose process is killed, also within the writing of a checkpoint, end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys

import keras
import pytest

from tests.callbacks.resumable import AT_ONCE, KINDS, STEPS, train
from tests.tools import ROOT
from tf_reg.callbacks import checkpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore:TargetSparsity:UserWarning"),
    pytest.mark.filterwarnings("ignore:The output doesn't depend:UserWarning"),
]
KILLS = 15  # on each backend; two of three are within the writing of a checkpoint


def cases(seed=0):
    """Kinds of trainings, moments, and after how many batches there is a checkpoint. None is before the first step."""
    rng = random.Random(seed)
    for number in range(KILLS):
        kind, every = list(KINDS)[number % len(KINDS)], rng.choice([1, 2, 5])
        if number % 3 == 0:
            steps = -(-STEPS // AT_ONCE) if kind == "gap" else STEPS
            yield kind, "batch", rng.randint(2, 3 * steps), every
        else:
            moment = ("open", "fsync", "rename", "delete")[number % 4]
            # More than one checkpoint, of about fifty files; two calls of fsync in each; the third one deletes.
            yield kind, moment, rng.randint(1, {"open": 200, "fsync": 8, "rename": 4, "delete": 2}[moment]), every


CASES = list(cases())
PLAIN = ("proximal", "rename", 3, 2), ("target", "batch", 2 * STEPS + 3, 2)
SLOW = ("refit", "open", 70, 3), ("exact", "delete", 1, 1), ("keras", "fsync", 5, 2)
LISTED = [
    *PLAIN,
    *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    *(pytest.param(*case, marks=pytest.mark.long) for case in CASES),
]


@pytest.mark.parametrize(("kind", "moment", "number", "every"), LISTED)
def test_it_ends_as_if_it_had_not_been_killed(kind, moment, number, every, tmp_path):
    command = [sys.executable, "-m", "tests.callbacks.resumable", kind, tmp_path / "c", moment, number, every]
    environment = os.environ | {"KERAS_BACKEND": keras.backend.backend(), "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    for path in (tmp_path / "c").glob(checkpoints.PATTERN):
        checkpoints.read(path)  # what has its name is whole
    made = train(kind, tmp_path / "c", every=every)
    assert made == train(kind, tmp_path / "reference")
    assert len(list((tmp_path / "c").glob(checkpoints.PATTERN))) == checkpoints.KEPT
    assert not list((tmp_path / "c").glob(".writing-*"))
