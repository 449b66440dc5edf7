"""Each fault of docs/faults.md happens, and the program does what the table says."""

import re

import pytest

from tests.recipes import faults_of_data, faults_of_disk, faults_of_running  # noqa: F401  # each lists its faults
from tests.recipes.fault_bench import FAULTS, Bench
from tests.tools import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(name, command):
    _, make = FAULTS[name]
    with pytest.MonkeyPatch.context() as patch:
        make(Bench(command, patch))


def test_the_table_has_each_fault():
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs/faults.md").read_text(), re.MULTILINE)
    assert sorted(rows[1:]) == sorted((part, name, make.__doc__) for name, (part, make) in FAULTS.items())
    assert len(FAULTS) >= 30
