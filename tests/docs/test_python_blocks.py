"""Every Python block of the pages runs by itself and prints what the page shows."""

import math
import re

import pytest

from tests.docs.pages import PAGES, blocks
from tests.tools import require_module

BLOCKS = [block for page in PAGES for block in blocks(page, "python")]
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")


FIRST = {block.page: block for block in reversed(BLOCKS)}.values()  # of every page


def marked(block):
    slow = "slow" in block.marks or block not in FIRST or block.page.name == "compaction.md"
    return pytest.param(block, id=str(block), marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("block", [marked(block) for block in BLOCKS])
def test_a_block_runs_alone(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "needs" in block.marks:
        require_module(block.marks[block.marks.index("needs") + 1])
    exec(compile("\n" * (block.line - 1) + block.text, str(block.page), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    if block.shown is not None:
        check_shown(block.shown, printed)
    else:
        assert printed == "", "the page doesn't show what the block prints"


def check_shown(shown, printed):
    """The page shows the lines that are printed, in their order; `...` stands for any number of lines."""
    lines = iter(printed.splitlines())
    expected = shown.splitlines()
    for line in expected:
        if line != "...":
            assert any(alike(line, other) for other in lines), f"not printed: {line!r} in\n{printed}"
    if "..." not in expected:
        assert len(expected) == len(printed.splitlines()), printed


def alike(line, other):
    """The same words; the numbers may differ as they do from one processor to another."""
    words, numbers = taken_apart(line)
    other_words, other_numbers = taken_apart(other)
    return words == other_words and all(
        math.isclose(a, b, rel_tol=0.15, abs_tol=0.02) for a, b in zip(numbers, other_numbers, strict=True)
    )


def taken_apart(line):
    """A line's words, without what only aligns columns, and its numbers."""
    numbers = [float(number.replace(",", "")) for number in NUMBER.findall(line)]
    return re.sub(r"-{3,}", "---", " ".join(NUMBER.sub(" # ", line).split())), numbers


@pytest.mark.parametrize(
    ("line", "other", "same"),
    [
        ("2,476 (60.4%) of 64", "2,401 (59.0%) of  64", True),
        ("2,476 (60.4%) of 64", "1,476 (60.4%) of 64", False),
        ("[3 7]", "[3 9]", False),
        ("[-0. 1.77]", "[ 0. 1.8]", True),
        ("dense 1", "dense_1 1", False),
        ("-----", "------", True),
    ],
)
def test_numbers_may_differ_a_little_and_words_not(line, other, same):
    assert alike(line, other) == same


def test_the_readme_and_every_guide_have_blocks():
    with_blocks = {block.page.name for block in BLOCKS}
    assert {"README.md", "zeros.md", "existing-models.md", "dropout.md", "export.md", "migration.md"} <= with_blocks
