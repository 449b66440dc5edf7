"""Cross-validation: scikit-learn's choice on the same folds, and glmnet's rule by hand."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import ElasticNetCV, LassoCV
from sklearn.model_selection import GroupKFold, KFold, RepeatedKFold, StratifiedKFold

import tf_reg
from tests.selection.data_sets import DATA_SETS
from tests.selection.problems import alphas, digits, linear, mlp, regression
from tests.tools import mostly_long
from tf_reg.selection import cross_validation, folds
from tf_reg.selection.examples import examples_of
from tf_reg.selection.fits import Fits


class Path:
    """A path of four strengths."""

    strengths = np.array([1.0, 0.5, 0.25, 0.125])


def found(values, sizes, direction=1):
    return cross_validation.CrossValidation(Path(), np.array(values), np.array(sizes), "loss", direction, {})


def test_one_standard_error_by_the_rule_of_glmnet():
    """cvm: weighted mean over the folds; cvsd: sqrt(weighted.mean((cvraw - cvm)^2) / (N - 1)); by hand."""
    values = [[5.0, 3.0, 2.0, 2.2], [6.0, 2.0, 2.0, 2.2], [5.0, 2.5, 1.0, 1.0]]
    one = found(values, [10, 10, 20])
    np.testing.assert_allclose(one.mean, [5.25, 2.5, 1.5, 1.6])
    np.testing.assert_allclose(one.error[2], np.sqrt((10 * 0.25 + 10 * 0.25 + 20 * 0.25) / 40 / 2))
    assert (one.choose("min"), one.choose("1se")) == (2, 2)
    by_hand = np.sqrt((10 * 0.25**2 + 10 * 0.75**2 + 20 * 0.25**2) / 40 / 2)  # of 5, 6 and 5, whose mean is 5.25
    np.testing.assert_allclose(one.error[0], by_hand)
    values[2][2] = 0.0  # a larger spread: the mean is 1.0, and its error sqrt(1 / 2)
    assert found(values, [10, 10, 20]).choose("1se") == 2
    values[2][1] = 0.0  # mean 1.25, within 1.0 + 0.71
    assert found(values, [10, 10, 20]).choose("1se") == 1


def test_where_the_largest_is_the_best():
    one = found([[0.1, 0.8, 0.9, 0.9], [0.1, 0.8, 0.9, 0.9]], [5, 5], direction=-1)
    assert (one.choose("min"), one.choose("1se")) == (2, 2)
    with pytest.raises(ValueError, match="rule is 'min' or '1se'"):
        one.choose("best")


def elastic(ratio=1.0, features=8):
    return linear(keras.regularizers.L1L2(2 * ratio, 1 - ratio), features)


@pytest.mark.slow
def test_the_choice_is_that_of_lasso_cv():
    x, y = regression()
    expected = LassoCV(cv=KFold(3), alphas=alphas(x, y, 1.0, 1e-2, 6), tol=1e-9, max_iter=10**6).fit(
        x.astype("float64"), y
    )
    one = tf_reg.cross_validate(linear, (x, y), 2 * expected.alphas_, splitter=KFold(3), verbose=0)
    np.testing.assert_allclose(one.values, expected.mse_path_.T, rtol=1e-3)
    assert one.strength("min") == pytest.approx(2 * expected.alpha_)
    assert one.strength("1se") >= one.strength("min")
    weights = one.model("min").layers[0].kernel
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weights)[:, 0], expected.coef_, atol=1e-4)


@pytest.mark.parametrize("name", mostly_long(DATA_SETS, "diabetes"))
def test_the_choice_is_scikit_learns_on_real_data(name):
    x, y = DATA_SETS[name]()
    features, folds = x.shape[1], KFold(3)
    wide = x.astype("float64")
    lasso = LassoCV(cv=folds, alphas=alphas(x, y, 1.0, 1e-3, 20), tol=1e-8, max_iter=10**6).fit(wide, y)
    mine = tf_reg.cross_validate(
        lambda: linear(features=features), (x, y), 2 * lasso.alphas_, splitter=folds, verbose=0
    )
    assert mine.strength("min") == pytest.approx(2 * lasso.alpha_)
    net = ElasticNetCV(cv=folds, alphas=20, l1_ratio=[0.2, 0.8], tol=1e-8, max_iter=10**6).fit(wide, y)
    mine = tf_reg.cross_validate(
        lambda ratio: elastic(ratio, features), (x, y), grid={"ratio": [0.2, 0.8]}, splitter=folds, verbose=0
    )
    assert mine.arguments == {"ratio": net.l1_ratio_}
    assert mine.strength("min") == pytest.approx(net.alpha_, rel=1e-4)


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path, monkeypatch):
    x, y = regression()
    options = {"strengths": [0.5, 0.1], "splitter": 3, "grid": {"ratio": [0.5, 1.0]}, "verbose": 0}
    whole = tf_reg.cross_validate(elastic, (x, y), **options)
    fits, fit = [], Fits.fit

    def counted(self, *args, **more):
        if len(fits) == 11:
            raise KeyboardInterrupt
        fits.append(1)
        return fit(self, *args, **more)

    monkeypatch.setattr(Fits, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        tf_reg.cross_validate(elastic, (x, y), **options, folder=tmp_path)
    fits.clear()
    again = tf_reg.cross_validate(elastic, (x, y), **options, folder=tmp_path)
    assert len(fits) == 2 * 4 * 2 - 11
    np.testing.assert_allclose(again.values, whole.values, rtol=1e-5)
    assert again.arguments == whole.arguments
    assert len(again.others) == 1
    with pytest.raises(ValueError, match="has results of another splits"):
        tf_reg.cross_validate(elastic, (x, y), **{**options, "splitter": 4}, folder=tmp_path)


def test_splitters_of_scikit_learn():
    x, y = regression()
    labels, groups = (y > 2.2).astype(int), np.arange(len(y)) // 10
    examples = examples_of((x, labels))
    one_hot = examples_of((x, np.eye(2)[labels]))
    for given in (examples, one_hot):
        for _, held_out in folds.splits_of(StratifiedKFold(4), given, None, 0):
            assert abs(labels[held_out].mean() - labels.mean()) < 0.02
    for fitted, held_out in folds.splits_of(GroupKFold(4), examples, groups, 0):
        assert not set(groups[fitted]) & set(groups[held_out])
    assert len(folds.splits_of(RepeatedKFold(n_splits=2, n_repeats=3), examples, None, 0)) == 6
    splits = [folds.splits_of(3, examples, None, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(splits[0][0][1], splits[1][0][1])
    assert not np.array_equal(splits[0][0][1], splits[2][0][1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"splitter": 1}, "from 2 to"),
        ({"splitter": 500}, "able to divide these 120 examples"),
        ({"splitter": GroupKFold(3)}, "able to divide"),
        ({"splitter": [([0], [1])]}, "two folds or more"),
        ({"splitter": [([0], []), ([0], [1])]}, "two folds or more"),
        ({"splitter": [([0], [999]), ([0], [1])]}, "from 0 to 119"),
        ({"groups": np.arange(120)}, "groups is for a splitter of groups"),
        ({"splitter": "kfold"}, "a number of folds"),
        ({"metric": "accuracy"}, "the name of a metric that the model is compiled with"),
        ({"metric": "mine"}, "mode is 'min' or 'max' for a metric of your own"),
        ({"mode": "up"}, "mode is 'auto', 'min' or 'max'"),
        ({"grid": {}}, "grid has lists of values"),
        ({"grid": {"ratio": 0.5}}, "grid has lists of values"),
    ],
    ids=lambda one: one if isinstance(one, str) else next(iter(one)),
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tf_reg.cross_validate(linear, regression(), **{"strengths": [0.5], "verbose": 0, **options})


@pytest.mark.slow
def test_each_fold_of_a_network_begins_with_the_same_weights():
    x, y = digits()
    x, y, places = x[:200], y[:200], np.arange(200)
    folds = [(places[100:], places[:100]), (places[:100], places[100:])]
    options = {"strengths": [1e-3], "metric": "accuracy", "epochs": 2, "dense_epochs": 3, "verbose": 0}
    found = [
        tf_reg.cross_validate(lambda: mlp(units=8), (x, y), splitter=one, **options) for one in (folds, folds[::-1])
    ]
    np.testing.assert_allclose(found[0].values, found[1].values[::-1], atol=1e-6)
    assert found[0].values[0] != found[0].values[1]


def test_relaxed_fits_are_judged():
    x, y = regression()
    plain, relaxed = (
        tf_reg.cross_validate(linear, (x, y), [1.0], splitter=2, relax=relax, verbose=0) for relax in (False, True)
    )
    assert relaxed.mean[0] < 0.9 * plain.mean[0]
