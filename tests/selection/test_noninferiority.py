"""The tests of paired scores, against brute force and published values."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from tf_reg.selection.noninferiority import compare_scores, examples_needed, provable_drop, tango


def brute_force(n, lost, won, margin):
    """The score statistic at the constrained maximum of the likelihood, which a numeric search finds."""
    same = n - lost - won

    def minus_log_likelihood(q):  # q of the lost, q - margin of the won
        parts = ((lost, q), (won, q - margin), (same, 1 - 2 * q + margin))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in parts if count)

    low, high = max(0.0, margin), (1 + margin) / 2
    options = {"xatol": 1e-12}
    found = optimize.minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options=options).x
    q = min((low, found), key=minus_log_likelihood) if lost == 0 or won == 0 else found
    variance = n * (2 * q - margin - margin**2)
    return (won - lost + n * margin) / math.sqrt(variance)


@pytest.mark.parametrize("margin", [0.005, 0.05, 0.2])
@pytest.mark.parametrize(("n", "lost", "won"), [(500, 12, 9), (500, 0, 3), (500, 4, 0), (80, 0, 0), (3000, 90, 120)])
def test_the_statistic_is_that_of_the_constrained_maximum(n, lost, won, margin):
    assert tango(n, lost, won, margin) == pytest.approx(brute_force(n, lost, won, margin), rel=1e-4)


def test_no_changed_answer_has_a_closed_form():
    assert tango(1000, 0, 0, 0.005) == pytest.approx(math.sqrt(1000 * 0.005 / 0.995))


def test_the_published_example():
    """Tango 1998, the cross-over of two disinfection systems for soft contact lenses: z = 1.709, p = 0.044."""
    assert tango(44, lost=1, won=0, margin=0.1) == pytest.approx(1.709, abs=1e-3)
    lens = np.ones(44), np.concatenate([np.zeros(1), np.ones(43)])
    assert compare_scores(*lens, 0.1, 0.05).p_value == pytest.approx(0.044, abs=1e-3)


def test_a_margin_of_zero_is_the_test_of_mcnemar():
    assert tango(200, lost=10, won=25, margin=0.0) == pytest.approx((25 - 10) / math.sqrt(35))


def pairs(n, lost, won):
    original, candidate = np.ones(n), np.ones(n)
    candidate[:lost] = 0
    original[lost : lost + won] = 0
    return original, candidate


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (30, 20), (20, 30), (0, 9)])
def test_the_bound_is_the_drop_that_the_test_just_refuses(lost, won):
    original, candidate = pairs(2000, lost, won)
    bound = compare_scores(original, candidate, 0.01, 0.01).upper
    assert compare_scores(original, candidate, bound, 0.01).p_value == pytest.approx(0.01, rel=1e-3)
    assert bound > (lost - won) / 2000


def test_the_error_rate_is_the_level():
    """Of pairs whose true drop is the margin, the test passes about the share that it promises."""
    random, n, margin = np.random.default_rng(0), 2000, 0.02
    counts = random.multinomial(n, [0.05, 0.03, 0.92], size=20_000)
    passed = [stats.norm.cdf(-tango(n, lost, won, margin)) <= 0.05 for lost, won, _ in counts]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.005)


def test_other_scores_get_the_t_test():
    random = np.random.default_rng(0)
    original = random.normal(size=50)
    candidate = original - 0.1 + 0.2 * random.normal(size=50)
    found = compare_scores(original, candidate, 0.15, 0.05)
    expected = stats.ttest_rel(original, candidate + 0.15, alternative="less")
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = stats.ttest_rel(original, candidate, alternative="less").confidence_interval(0.95)
    assert found.upper == pytest.approx(interval.high)
    assert found.drop == pytest.approx((original - candidate).mean())


@pytest.mark.parametrize(("drop", "p_value"), [(0.125, 0.0), (0.25, 1.0), (0.5, 1.0)])
def test_scores_that_all_fall_alike(drop, p_value):
    original = np.array([0.5, 1.5, 2.5])
    found = compare_scores(original, original - drop, 0.25, 0.05)
    assert (found.p_value, found.upper) == (p_value, drop)


def test_one_example_proves_nothing():
    assert compare_scores(np.array([0.5]), np.array([0.5]), 0.1, 0.05).p_value == 1


@pytest.mark.parametrize("disagreement", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("level", [0.05, 0.05 / 8])
def test_the_needed_examples_are_just_enough(level, disagreement):
    needed, z = examples_needed(0.01, level, disagreement), stats.norm.ppf(1 - level)
    half = needed * disagreement / 2
    assert tango(needed, half, half, 0.01) >= z
    fewer = needed - 1
    assert tango(fewer, fewer * disagreement / 2, fewer * disagreement / 2, 0.01) < z
    assert provable_drop(needed, level, disagreement) == pytest.approx(0.01, rel=0.01)


def test_the_needed_examples_where_nothing_changes():
    assert examples_needed(0.005, 0.05) == math.ceil(stats.norm.ppf(0.95) ** 2 * 0.995 / 0.005)


def test_the_table_of_the_page():
    drops = (0.05, 0.02, 0.01, 0.005, 0.002)
    assert [examples_needed(drop, 0.05 / 6) for drop in drops] == [109, 281, 568, 1141, 2860]
