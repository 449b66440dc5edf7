"""Whether scores fell by less than a margin: one-sided tests of paired scores, and how many examples they need."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from scipy import stats

HALVINGS = 60  # of an interval, down to float64's precision


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far the scores of a candidate lie below those of the original.

    Args:
        drop: The mean of the original's scores minus that of the candidate's.
        upper: The upper bound of the drop, at one minus the level.
        p_value: The probability of a drop as small as this one, if the true drop were the margin.
    """

    drop: float
    upper: float
    p_value: float


def compare_scores(original: np.ndarray, candidate: np.ndarray, margin: float, level: float) -> Comparison:
    """Test the hypothesis that the true drop of a score is the margin or more.

    Scores that are all 0 or 1 get Tango's score test of two paired proportions, others the paired t-test.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17.

    Args:
        original: A score for each example, `(examples,)`; larger is better.
        candidate: The scores of the same examples, `(examples,)`.
        margin: The drop that is too much, above zero.
        level: The probability of an error that is allowed, between 0 and 0.5.
    """
    if are_binary(original) and are_binary(candidate):
        lost, won = int(((original == 1) & (candidate == 0)).sum()), int(((original == 0) & (candidate == 1)).sum())
        n = len(original)
        p_value = NormalDist().cdf(-tango(n, lost, won, margin))
        return Comparison((lost - won) / n, _upper_of_pairs(n, lost, won, level), p_value)
    return _t_test(np.asarray(original, "float64") - np.asarray(candidate, "float64"), margin, level)


def are_binary(scores: np.ndarray) -> bool:
    """Return whether scores say right or wrong: all are 0 or 1."""
    return bool(np.isin(scores, (0, 1)).all())


def tango(n: float, lost: float, won: float, margin: float) -> float:
    """Tango's score statistic for a true drop of `margin`; it is large where the drop is smaller.

    With `d = -margin`, `z = (won - lost - n d) / sqrt(n (2 q + d (1 - d)))`, where q is the probability of a lost
    example, of maximum likelihood under this drop.

    Args:
        n: How many examples.
        lost: How many the original has right and the candidate wrong.
        won: How many the candidate has right and the original wrong.
        margin: The drop in question, between -1 and 1.
    """
    d = -margin
    a, b, c = 2 * n, -lost - won + (2 * n - won + lost) * d, -lost * d * (1 - d)
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * q + d * (1 - d))
    difference = won - lost - n * d
    if variance <= 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(variance)


def _upper_of_pairs(n: int, lost: int, won: int, level: float) -> float:
    """The smallest drop that the test refuses to believe."""
    z = NormalDist().inv_cdf(1 - level)
    return _root(lambda drop: tango(n, lost, won, drop) - z, (lost - won) / n, 1.0)


def _t_test(differences: np.ndarray, margin: float, level: float) -> Comparison:
    n, drop = len(differences), float(differences.mean())
    if n < 2:
        return Comparison(drop, math.inf, 1.0)
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return Comparison(drop, drop, 0.0 if drop < margin else 1.0)
    upper = drop + float(stats.t.ppf(1 - level, n - 1)) * error
    return Comparison(drop, upper, float(stats.t.cdf((drop - margin) / error, n - 1)))


def examples_needed(margin: float, level: float, disagreement: float = 0.0) -> int:
    """How many examples prove that right and wrong answers fall by less than a margin, if they don't fall at all.

    Args:
        margin: The drop that is too much, between 0 and 1.
        level: The probability of an error that is allowed.
        disagreement: The share of the examples that one model has right and the other one wrong.
    """
    z, more = NormalDist().inv_cdf(1 - level), 1
    while _evenly(more, margin, disagreement) < z:
        more *= 2
    fewer = more // 2
    while more - fewer > 1:
        middle = (fewer + more) // 2
        fewer, more = (middle, more) if _evenly(middle, margin, disagreement) < z else (fewer, middle)
    return more


def provable_drop(n: int, level: float, disagreement: float = 0.0) -> float:
    """The smallest margin that n examples of right and wrong answers can prove, if the answers don't get worse.

    Args:
        n: How many examples, 1 or above.
        level: The probability of an error that is allowed.
        disagreement: The share of the examples that one model has right and the other one wrong.
    """
    z = NormalDist().inv_cdf(1 - level)
    return _root(lambda margin: _evenly(n, margin, disagreement) - z, 0.0, 1.0)


def _evenly(n: int, margin: float, disagreement: float) -> float:
    """The statistic where as many examples are won as lost."""
    return tango(n, n * disagreement / 2, n * disagreement / 2, margin)


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function becomes zero, from above; `high` where it doesn't."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) >= 0 else (middle, high)
    return high
