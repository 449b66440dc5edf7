"""Every public function answers rightly, or with one sentence that names the argument, whatever it is given."""

import re

import pytest

from tests.fuzz.apart import fuzzed
from tests.fuzz.everything import TARGETS, not_fuzzed
from tests.fuzz.judging import explore, summary
from tests.tools import ROOT

CHEAP = [target for target in TARGETS if not target.dear]
PLAIN = 4  # cases of each function


def test_every_argument_is_fuzzed():
    assert not not_fuzzed()


def test_there_are_enough_plain_cases():
    assert PLAIN * len(CHEAP) >= 300


@pytest.mark.parametrize("target", CHEAP, ids=lambda target: target.name)
def test_a_few_cases(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = explore(target, PLAIN, seed=1)
    assert not summary(counts), "\n".join(summary(counts))
    assert 2 <= counts.cases <= PLAIN, "a small domain has fewer"


@pytest.mark.long
def test_more_cases():
    found = fuzzed(cheap=40, dear=4, seed=2)
    assert not found.stopped, found.stopped
    assert not found.faults, "\n".join(found.faults)
    assert len(found.rows) == len(TARGETS)
    assert found.total("cases") >= 3000
    assert found.total("checked") >= 600


@pytest.mark.long
def test_ten_thousand_cases():
    """That of the table in the documentation, with its counts."""
    page = (ROOT / "docs" / "arguments.md").read_text()
    total = re.search(r"\| all (\d+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", page)
    found = fuzzed(cheap=200, dear=40, seed=0)
    assert not found.stopped, found.stopped
    assert not found.faults, "\n".join(found.faults)
    assert found.total("cases") >= 10_000
    assert len(found.rows) == int(total[1])
    assert found.total("cases") == int(total[2].replace(",", ""))
