"""`scripts/benchmark.py processes`: never an assertion about a time."""

import pytest

from benchmarks.process_speed import seconds
from tests.tools import require_module
from tf_reg_cli.errors import UserError


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_of_processes_is_timed(processes):
    require_module("jax")
    assert 0 < seconds("lenet-300-100", processes, batch_size=8, steps=3) < 60


@pytest.mark.long
def test_a_process_that_fails_is_one_sentence():
    require_module("jax")
    with pytest.raises(UserError, match="A process failed: "):
        seconds("lenet-300-100", 1, batch_size=8, steps=0)
