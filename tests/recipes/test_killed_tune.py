"""A search by `tf-reg tune` whose process is killed goes on by the same command and ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys

import pytest

from tests.tools import ROOT, imported

imported("optuna", "tune")

from tests.recipes.killed_tune import tuned  # noqa: E402

KILLS = 6  # half of them at a commit to the database


def cases(seed=0):
    """Moments."""
    rng = random.Random(seed)
    for number in range(KILLS):
        moment, most = (("batch", 12), ("commit", 80))[number % 2]
        yield moment, rng.randint(1, most)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return tuned(tmp_path_factory.mktemp("reference"))


@pytest.mark.long
@pytest.mark.parametrize(("moment", "number"), list(cases()))
def test_it_ends_as_if_it_had_not_been_killed(moment, number, reference, tmp_path):
    command = [sys.executable, "-m", "tests.recipes.killed_tune", str(tmp_path), moment, str(number)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert tuned(tmp_path) == reference
