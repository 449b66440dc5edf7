"""Stability selection: the shares of samples that keep an input are those of the lasso on the same halves."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import Lasso

import tf_reg
from tests.selection.problems import linear, regression
from tf_reg.selection.stability import Stability


def test_the_shares_are_those_of_the_lasso_on_the_same_halves(tmp_path):
    x, y = regression()
    found = tf_reg.stability_selection(linear, (x, y), [0.05, 0.4], samples=6, folder=tmp_path, verbose=0)
    kept = np.zeros((2, 8))
    for sample in range(6):
        half = np.random.default_rng((0, sample)).permutation(120)[:60]
        for place, alpha in enumerate((0.2, 0.025)):
            kept[place] += Lasso(alpha, tol=1e-10).fit(x[half].astype("float64"), y[half]).coef_ != 0
    [shares] = found.frequencies.values()
    np.testing.assert_allclose(shares, kept / 6)
    np.testing.assert_array_equal(found.strengths, [0.4, 0.05])
    assert 0 < (shares[0] == 1).sum() < 8
    again = tf_reg.stability_selection(linear, (x, y), [0.4, 0.05][::-1], samples=6, folder=tmp_path, verbose=0)
    np.testing.assert_array_equal(next(iter(again.frequencies.values())), shares)


@pytest.mark.contract
def test_inputs_of_a_network():
    """Groups of inputs; the last kernel has no penalty."""
    x, y = regression()

    def build():
        keras.utils.set_random_seed(0)
        first = keras.layers.Dense(4, "relu", kernel_regularizer=tf_reg.GroupLasso(1.0, groups="inputs"))
        model = keras.Sequential([keras.Input((8,)), first, keras.layers.Dense(1)])
        model.compile(tf_reg.Proximal(keras.optimizers.Adam(0.02)), "mse")
        return model

    found = tf_reg.stability_selection(build, (x, y), [0.03], samples=2, epochs=40, verbose=0)
    [(path, shares)] = found.frequencies.items()
    assert path.endswith("/kernel")
    assert shares.shape == (1, 8)
    assert shares[0, 0] == 1


def test_selected_and_the_bound_on_false_ones():
    shares = np.array([[1.0, 0.5, 0.0, 0.0], [0.9, 0.9, 0.2, 0.0]])
    found = Stability(np.array([1.0, 0.5]), {"kernel": shares}, 10)
    np.testing.assert_array_equal(found.selected(), [True, True, False, False])
    np.testing.assert_array_equal(found.selected("kernel", 0.95), [True, False, False, False])
    assert found.expected_false() == pytest.approx(2.1**2 / (0.8 * 4))
    for wrong in (0.5, 1.1, None):
        with pytest.raises(ValueError, match=r"threshold is a share above 0\.5"):
            found.selected(threshold=wrong)
    with pytest.raises(ValueError, match="path is one of 'kernel'"):
        found.selected("bias")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"samples": 1}, "samples is a whole number"), ({"share": 0.001}, "share leaves"), ({"share": 1}, "above 0")],
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tf_reg.stability_selection(linear, regression(), [0.5], verbose=0, **options)


def test_a_model_without_inputs_that_are_known_is_refused():
    def build():
        layer = keras.layers.LayerNormalization(gamma_regularizer=keras.regularizers.L1(1.0))
        model = keras.Sequential([keras.Input((8,)), layer, keras.layers.Dense(1)])
        model.compile(tf_reg.Proximal("sgd"), "mse")
        return model

    with pytest.raises(ValueError, match="counts the inputs of kernels"):
        tf_reg.stability_selection(build, regression(), [0.5], samples=2, verbose=0)
