"""A path and a search whose process is killed go on in their folder, and end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys

import keras
import pytest

from tests.selection.killed import KINDS
from tests.tools import ROOT

KILLS = 6  # of each kind; half of them while a file is brought to the disk


def cases(seed=0):
    """Kinds and moments."""
    rng = random.Random(seed)
    for kind in KINDS:
        for number in range(KILLS):
            moment = ("batch", "fsync", "batch", "rename")[number % 4]
            yield kind, moment, rng.randint(1, {"batch": 7, "fsync": 6, "rename": 3}[moment])


@pytest.mark.long
@pytest.mark.parametrize(("kind", "moment", "number"), list(cases()))
def test_it_ends_as_if_it_had_not_been_killed(kind, moment, number, tmp_path):
    command = [sys.executable, "-m", "tests.selection.killed", kind, tmp_path / "c", moment, number]
    environment = os.environ | {"KERAS_BACKEND": keras.backend.backend(), "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert KINDS[kind](tmp_path / "c") == KINDS[kind](tmp_path / "reference")
    assert not list((tmp_path / "c").glob(".writing-*"))
