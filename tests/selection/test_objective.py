"""How far weights are from a minimum: the conditions of Karush, Kuhn and Tucker."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from tests.selection.problems import linear, regression
from tf_reg.selection.examples import examples_of
from tf_reg.selection.fits import Fits

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def at_the_minimum():
    """A model with the weights of scikit-learn's lasso, its gradients as a function, and the strength."""
    x, y = regression()
    x = x - x.mean(0)  # so that the intercept has no part in the gradient of the others
    solved = Lasso(0.2, tol=1e-12).fit(x.astype("float64"), y)
    examples = examples_of((x, y))
    fits = Fits(linear(), examples, len(examples), seed=0)
    kernel, bias = fits.objective.variables

    def violation(weights=solved.coef_, intercept=solved.intercept_, strength=0.4, relaxed=False):
        kernel.assign(weights[:, None])
        bias.assign([intercept])
        return fits.objective.violation(fits.objective.loss_and_gradients(examples)[1], strength, relaxed)

    return solved, violation


def test_at_the_minimum_nothing_is_left(at_the_minimum):
    solved, violation = at_the_minimum
    assert violation() < 1e-4
    assert 0 < (solved.coef_ == 0).sum() < 8


def test_away_from_it_the_rest_is_a_share_of_the_strength(at_the_minimum):
    solved, violation = at_the_minimum
    assert violation(strength=0.5) == pytest.approx(0.2, rel=1e-3)  # the active weights balance 0.4
    assert violation(strength=0.3) > 0.1
    assert violation(intercept=solved.intercept_ + 0.1) == pytest.approx(2 * 0.1 / 0.4, rel=1e-3)
    moved = solved.coef_ + np.where(solved.coef_ == 0, 0.05, 0)
    assert violation(moved) > 0.01


def test_relaxed_it_asks_for_the_slope_of_what_is_left(at_the_minimum):
    """The lasso's active weights are held back by the whole strength."""
    assert at_the_minimum[1](relaxed=True) == pytest.approx(1.0, rel=1e-3)
