"""The rule: a right answer, or an error of ours that names the argument."""

from __future__ import annotations

import collections
import dataclasses
import re
import traceback
import warnings
import zlib
from collections.abc import Callable

import hypothesis
import keras

from tests.fuzz.targets import Given, Target, arguments
from tests.tools import ROOT
from tf_reg._checks import shown


class ViolationError(AssertionError):
    """A case that breaks the rule."""


@dataclasses.dataclass
class Counts:
    """How the cases of one function ended."""

    errors: int = 0
    answers: int = 0
    checked: int = 0  # of the answers: those that an oracle or a property agreed with
    faults: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def cases(self) -> int:
        return self.errors + self.answers + sum(self.faults.values())


def judge(target: Target, given: dict[str, Given]) -> str:
    """Call the function. Return "error", "answer" or "checked".

    Raises:
        ViolationError: The case breaks the rule.
    """
    suspects = [name for name, one in given.items() if one.verdict != "right"]
    try:
        answer = target.call(**{name: one.value for name, one in given.items()})
    except Exception as error:
        _check_error(target, error, suspects)
        return "error"
    wrong = [name for name in suspects if given[name].verdict == "wrong"]
    if wrong:
        raise ViolationError(f"no error for {wrong[0]}")
    if target.check is None or (suspects and not target.partial):
        return "answer"
    try:
        target.check(answer, {name: one.plain for name, one in given.items() if one.verdict == "right"})
    except Exception as error:
        raise ViolationError(f"a wrong answer: {' '.join(str(error).split())[:300]}") from error
    return "checked"


def _check_error(target: Target, error: Exception, suspects: list[str]) -> None:
    if isinstance(error, target.also):
        return
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename.rpartition('site-packages/')[2].replace(str(ROOT) + '/', '')}:{last.name}"
    kind = type(error).__name__
    if last.filename.endswith("odd_values.py"):  # a function that was given raised it
        return
    if not isinstance(error, (ValueError, TypeError)):
        raise ViolationError(f"a {kind} in {where}: {str(error)[:150]}") from error
    if not last.filename.startswith(f"{ROOT}/tf_reg/"):
        raise ViolationError(f"a {kind} from deep inside, {where}: {str(error)[:150]}") from error
    if re.match(target.refuses, str(error)):
        return
    if not suspects:
        raise ViolationError(f"an error in {where} for right values: {str(error)[:300]}") from error
    words = [rf"\b({name}|{target.aliases.get(name, name)})\b" for name in suspects]
    if not any(re.search(word, str(error)) for word in words):
        raise ViolationError(f"an error in {where} that names no argument of {suspects}: {str(error)[:200]}") from error


def explore(target: Target, cases: int, seed: int, before: Callable[[str], None] = lambda words: None) -> Counts:
    """Try a number of cases, and count how they end.

    Args:
        target: The function.
        cases: How many.
        seed: Of the cases.
        before: Called before each case with a description of it.
    """
    counts = Counts()

    @hypothesis.seed(zlib.crc32(f"{target.name} {seed}".encode()))
    @hypothesis.settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(arguments(target))
    def case(given):
        words = ", ".join(f"{name}={shown(one.value)}" for name, one in given.items())
        before(f"{target.name}({words})")
        try:
            ended = judge(target, given)
        except ViolationError as fault:
            counts.faults[f"{fault}\n      {target.name}({words})"] += 1
            return
        counts.errors += ended == "error"
        counts.answers += ended != "error"
        counts.checked += ended == "checked"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making and using what is odd may be warned of
        case()
    keras.utils.clear_session(free_memory=False)
    return counts


def summary(counts: Counts) -> list[str]:
    """The faults, one of each kind, each with how often it was seen."""
    kinds: dict[str, list] = {}
    for words, times in counts.faults.items():
        key = re.sub(r"[\d\[\]'.,-]+", "", words.partition("\n")[0])[:110]
        kinds.setdefault(key, [words, 0])[1] += times
    return [f"{times} x {words}" for words, times in kinds.values()]
