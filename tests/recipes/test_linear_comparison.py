"""Linear models by tf_reg beside scikit-learn's: the same coefficients, and the zeros where they belong."""

import re

import numpy as np
import pytest

from tests.tools import mostly_long
from tf_reg.recipes import linear_comparison as linear


def test_the_line_and_the_features_are_what_they_say():
    line, features = linear.data(0)
    assert (line.x.shape, features.x.shape) == ((30, 1), (100, 20))
    assert np.count_nonzero(features.true) == 5
    assert np.polyfit(line.x[:, 0], line.y, 1) == pytest.approx([2, 1], abs=0.5)
    assert not np.array_equal(linear.data(1)[0].y, line.y)


@pytest.mark.parametrize("seed", mostly_long([0, 7], 0))
def test_the_coefficients_are_those_of_scikit_learn(seed):
    fits = linear.compare(seed)
    assert len(fits) == 8
    for fit in fits:
        assert fit.difference < 1e-5, (fit.data.name, fit.method.name)
        np.testing.assert_array_equal(fit.ours[0] == 0, fit.theirs[0] == 0)
    lasso = next(fit for fit in fits if fit.method.name.startswith("Lasso") and len(fit.data.true) > 1)
    assert np.count_nonzero(lasso.ours[0][5:]) < 5 <= np.count_nonzero(lasso.ours[0]) + 1


@pytest.mark.slow
def test_the_command(command, tmp_path):
    code, out, err = command("compare", "linear", "--seed", 3)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "report  runs/linear.html"
    differences = [float(line.split()[-1]) for line in out.splitlines()[1:9]]
    assert max(differences) < 1e-5
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "linear-path.png",
        "linear.html",
        "linear.png",
    ]
    page = (tmp_path / "runs/linear.html").read_text()
    assert len(re.findall("data:image/png", page)) == 2
    assert "Ridge(1)" in page


def test_flags_without_effect_are_refused(command):
    code, _, err = command("compare", "linear", "--epochs", 3)
    assert code == 2
    assert err.startswith(
        "tf-reg compare: --epochs does nothing in compare linear, which has data and models of its own."
    )
