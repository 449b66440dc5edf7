"""The rule of the fuzzing finds what breaks it: each kind of fault, a hang and a crash."""

import json
import math

import numpy as np
import pytest

from tests.fuzz.apart import fuzzed
from tests.fuzz.domains import STRENGTH
from tests.fuzz.judging import ViolationError, explore, judge
from tests.fuzz.targets import Given, Target
from tf_reg._checks import count, number, require

RIGHT, WRONG, ODD = Given(0.5, "right", 0.5), Given("a", "wrong"), Given(np.float16(0.5), "odd")


def deep(x):
    return json.loads(x)  # raises a ValueError of json


def ours(x):
    require(0 <= number(x) < math.inf, "x is a finite number, zero or above", "x", x)
    return number(x)


def nameless(x):
    count("a", "another")


def refuses_all(x):
    require(False, "x is something else", "x", x)


def is_half(answer, given):
    assert math.isclose(answer, given["x"] / 2)


def judged(call, given, check=None):
    return judge(Target("f", call, {"x": STRENGTH}, ("x",), check), {"x": given})


@pytest.mark.parametrize(
    ("call", "given", "check", "said"),
    [
        (lambda x: {}[x], WRONG, None, "a KeyError in"),
        (lambda x: x.shape, WRONG, None, "a AttributeError in"),
        (deep, WRONG, None, "a JSONDecodeError from deep inside, .*json"),
        (nameless, WRONG, None, r"names no argument of \['x'\]"),
        (refuses_all, RIGHT, None, "for right values"),
        (lambda x: x, WRONG, None, "no error for x"),
        (ours, RIGHT, is_half, "a wrong answer"),
    ],
)
def test_a_fault_is_found(call, given, check, said):
    with pytest.raises(ViolationError, match=said):
        judged(call, given, check)


def test_what_keeps_the_rule():
    assert judged(ours, WRONG) == "error"
    assert judged(ours, ODD) == "answer"
    assert judged(ours, RIGHT, lambda answer, given: is_half(answer / 2, given)) == "checked"


def test_a_check_that_is_missing_is_found():
    """A function that takes a strength, with its check and without."""
    assert not explore(Target("f", ours, {"x": STRENGTH}, ("x",)), 50, 0).faults
    assert explore(Target("f", lambda x: x, {"x": STRENGTH}, ("x",)), 50, 0).faults


def test_the_same_seed_has_the_same_cases():
    seen = []
    for seed in (0, 0, 1):
        given = []
        explore(Target("f", lambda x, given=given: given.append(repr(x)), {"x": STRENGTH}, ("x",)), 20, seed)
        seen.append([one for one in given if "0x" not in one])
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.slow
def test_a_hang_a_crash_and_what_takes_anything():
    def run(name, limit):
        return fuzzed([name], cheap=20, dear=0, limit=limit, module="tests.fuzz.stuck_targets")

    for name, limit in (("hangs", 2.0), ("crashes", 60.0)):
        found = run(name, limit)
        assert f"{name}(x=" in found.stopped
        assert "stuck_targets.py" in found.stopped
        assert not found.rows
    assert any("no error for x" in fault for fault in run("takes anything", 60.0).faults)
