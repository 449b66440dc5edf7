"""Each cell of the table in docs/backends.md is what a probe says on that backend, one process each."""

import concurrent.futures
import json
import os
import re
import subprocess
import sys

import pytest

from tests.test_backends import QUICK
from tests.tools import ROOT, require_module

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "torch"}


def table():
    """The cells of the page, by row and backend."""
    lines = [line for line in (ROOT / "docs/backends.md").read_text().splitlines() if line.startswith("| ")]
    head, *rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| "))] for line in lines]
    assert head == ["feature", *BACKENDS.values()]
    return {row: dict(zip(BACKENDS, cells, strict=True)) for row, *cells in rows}


def probed(backend):
    """What the probes say on a backend, by row."""
    environment = os.environ | QUICK | {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.probes.tell"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(map(json.loads, done.stdout.splitlines()))


def is_as_written(cell, said):
    """Whether a probe says what a cell of the page does; of a refusal the cell has some words."""
    kind, _, words = cell.partition(": ")
    return said.startswith("refused: ") and words in said if kind == "refused" and words else said == cell


@pytest.fixture(scope="module")
def answers():
    """What the probes say on each backend, as a future: two go on at a time."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        yield {backend: pool.submit(probed, backend) for backend in BACKENDS}


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_table_is_what_works(backend, answers):
    require_module(backend)
    said = answers[backend].result()
    cells = {row: columns[backend] for row, columns in table().items()}
    assert cells.keys() == said.keys()
    assert {row: (cell, said[row]) for row, cell in cells.items() if not is_as_written(cell, said[row])} == {}


@pytest.mark.parametrize(
    ("cell", "said", "same"),
    [
        ("yes", "yes", True), ("yes", "yes: slowly", False), ("yes: slowly", "yes: slowly", True), ("no", "yes", False),
        ("refused: Use one", "refused: Lion. Use one of these.", True), ("refused: Use one", "refused: No.", False),
        ("refused: Use one", "failed: Use one", False), ("yes", "failed: AssertionError: ", False),
        ("refused: ", "refused: No.", False),
    ],
)  # fmt: skip
def test_a_cell_that_is_wrong_is_seen(cell, said, same):
    assert is_as_written(cell, said) is same


def test_the_table_has_every_kind_of_answer():
    kinds = [cell.partition(":")[0] for columns in table().values() for cell in columns.values()]
    assert set(kinds) == {"yes", "refused"}
    assert len(kinds) > 80
