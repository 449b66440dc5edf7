"""The regularization path: the same points as scikit-learn's, warm, and resumable."""

import functools

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.linear_model import LinearRegression, enet_path, lasso_path

import tf_reg
from tests.selection.problems import alphas, digits, linear, mlp, regression
from tests.tools import slow_on_tensorflow
from tf_reg.selection.fits import Fits


def kernels(path):
    return np.array([next(iter(path.coefficients(place).values()))[:, 0] for place in range(len(path))]).T


def centred(x, y):
    x, y = x.astype("float64"), y.astype("float64")
    return x - x.mean(0), y - y.mean()


@pytest.mark.contract
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_each_point_is_that_of_scikit_learn(ratio):
    x, y = regression()
    given = alphas(*centred(x, y), ratio, 1e-2, 6)
    _, expected, _ = enet_path(*centred(x, y), l1_ratio=ratio, alphas=given, tol=1e-12, max_iter=10**6)
    penalty = keras.regularizers.L1L2(2 * ratio, 1 - ratio)
    path = tf_reg.regularization_path(lambda: linear(penalty), (x, y), smallest=1e-2, count=6, verbose=0)
    np.testing.assert_allclose(path.strengths, given, rtol=1e-5)
    np.testing.assert_allclose(kernels(path), expected, atol=1e-4)
    np.testing.assert_array_equal(kernels(path) == 0, expected == 0)
    assert all(record.optimal for record in path.records)


def test_given_strengths_in_any_order():
    x, y = regression()
    path = tf_reg.regularization_path(linear, (x, y), [0.05, 0.5], verbose=0)
    _, expected, _ = lasso_path(*centred(x, y), alphas=[0.25, 0.025], tol=1e-12)
    np.testing.assert_array_equal(path.strengths, [0.5, 0.05])
    np.testing.assert_allclose(kernels(path), expected, atol=1e-4)


@pytest.mark.contract
def test_relaxed_fits_are_those_of_the_selected_inputs_alone():
    x, y = regression()
    path = tf_reg.regularization_path(linear, (x, y), [0.8], validation=(x, y), relax=True, verbose=0)
    kept = kernels(path)[:, 0] != 0
    assert 0 < kept.sum() < 8
    residuals = y - LinearRegression().fit(x[:, kept], y).predict(x[:, kept])
    [record] = path.records
    assert record.relaxed.train_loss == pytest.approx((residuals**2).mean(), rel=1e-4)
    assert record.train_loss > 1.05 * record.relaxed.train_loss
    assert record.relaxed.zeros == record.zeros


@pytest.mark.slow
def test_relaxed_fits_leave_the_path_as_it_is():
    plain, relaxed = (network_path(strengths=[1e-3, 1e-2], relax=relax) for relax in (False, True))
    for one, other in zip(plain.records, relaxed.records, strict=True):
        assert (one.zeros, one.train_loss) == (other.zeros, pytest.approx(other.train_loss, rel=1e-5))


def build(seed=0):
    return mlp(units=8, seed=seed)


def network_path(folder=None, build=build, **options):
    x, y = digits()
    data, held_out = (x[:300], y[:300]), (x[300:500], y[300:500])
    given = {"epochs": 2, "dense_epochs": 3, "count": 4, "verbose": 0, **options}
    return tf_reg.regularization_path(build, data, validation=held_out, folder=folder, **given)


@pytest.mark.contract
@slow_on_tensorflow
def test_a_network_goes_up_from_a_dense_fit_until_all_is_zero():
    path = network_path(epochs=6)
    zeros = [record.zeros for record in path.records]
    assert path.dense.strength == 0
    assert path.dense.metrics["accuracy"] > 0.5
    assert (np.diff(path.strengths) > 0).all()
    assert zeros[-1] == path.records[-1].weights > zeros[0]
    assert path.records[0].metrics["accuracy"] > 0.5 > path.records[-1].metrics["accuracy"]
    best = path.best("accuracy")
    assert path.records[best].metrics["accuracy"] == max(record.metrics["accuracy"] for record in path.records)
    model = path.model(best)
    measured = tf_reg.sparsity(model).total
    assert (measured.zeros, measured.live) == (path.records[best].zeros, path.records[best].parameters)
    x, y = digits()
    found = model.evaluate(x[300:500], y[300:500], verbose=0, return_dict=True)
    assert found["accuracy"] == pytest.approx(path.records[best].metrics["accuracy"], abs=1e-6)


@pytest.mark.slow
def test_an_interrupted_path_goes_on_where_it_stopped(tmp_path, monkeypatch):
    whole = network_path()
    fits, fit = [], Fits.fit

    def interrupted(self, examples, strength, *args, **options):
        if len(fits) == 3:
            raise KeyboardInterrupt
        fits.append(strength)
        return fit(self, examples, strength, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Fits, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            network_path(tmp_path / "path")
    assert sorted(one.name for one in (tmp_path / "path").iterdir()) == [
        "000.npz",
        "001.npz",
        "settings.json",
        "start.npz",
    ]
    fits.copy()

    def counted(self, examples, strength, *args, **options):
        fits.append(strength)
        return fit(self, examples, strength, *args, **options)

    monkeypatch.setattr(Fits, "fit", counted)
    resumed = network_path(tmp_path / "path")
    assert (
        len(fits) == len(set(fits)) == len(whole.records) + 1 - (whole.records[-2].zeros == whole.records[-2].weights)
    )
    np.testing.assert_array_equal(resumed.strengths, whole.strengths)
    for one, other in zip(resumed.records, whole.records, strict=True):
        assert one.zeros == other.zeros
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
    fits.clear()
    assert network_path(tmp_path / "path").records == resumed.records
    assert fits == []


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused(tmp_path):
    network_path(tmp_path / "path", strengths=[0.1])
    with pytest.raises(ValueError, match=r"has results of another plan and seed\. Go on with the same"):
        network_path(tmp_path / "path", strengths=[0.1], epochs=3, seed=1)
    with pytest.raises(ValueError, match="has results of another penalties"):
        network_path(tmp_path / "path", functools.partial(mlp, tf_reg.GroupLasso, 8), strengths=[0.1])
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match=r"new or empty one.*mine.txt in it"):
        network_path(tmp_path, strengths=[0.1])


@pytest.mark.slow
def test_the_weights_of_a_penalty_without_zeros_go_with_the_strength():
    """L1 on the first kernel and L2 on the last: the path moves both."""

    def build():
        model = mlp(units=8)
        tf_reg.regularize(model, {model.layers[1].name: keras.regularizers.L2(1.0)})
        model.compile(tf_reg.Proximal(keras.optimizers.Adam(1e-2)), model.loss)
        return model

    path = network_path(build=build, strengths=[1e-3, 1.0])
    norms = [np.abs(ops.convert_to_numpy(path.model(place).layers[1].kernel)).sum() for place in (0, 1)]
    assert norms[1] < 0.5 * norms[0]
    assert [len(path.coefficients(place)) for place in (0, 1)] == [1, 1]


@pytest.mark.slow
def test_the_order_of_the_examples_is_the_seed_alone():
    records = [network_path(strengths=[0.01], seed=seed).records for seed in (0, 0, 1)]
    losses = [one[0].train_loss for one in records]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strengths": [0.1, 0.1]}, "different numbers above zero"),
        ({"strengths": [-1.0]}, "different numbers above zero"),
        ({"strengths": "all"}, "'auto', or different numbers"),
        ({"epochs": 0}, "epochs is a whole number"),
        ({"smallest": 1.0}, "smallest is a share"),
        ({"tolerance": 0}, "tolerance is a number above 0"),
        ({"relax": 1}, "relax is True or False"),
        ({"verbose": 2}, "verbose is 0 or 1"),
        ({"build": keras.Sequential()}, "function that returns a new compiled model"),
        ({"build": lambda: None}, "It returned: None"),
    ],
    ids=lambda one: one if isinstance(one, str) else next(iter(one)),
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        network_path(**options)


def test_the_best_needs_something_to_compare():
    x, y = regression()
    path = tf_reg.regularization_path(linear, (x, y), [0.5], verbose=0)
    with pytest.raises(ValueError, match="validation examples"):
        path.best()
    with pytest.raises(ValueError, match="relax=True"):
        path.best(relaxed=True)
    with pytest.raises(ValueError, match="one of 1 fits"):
        path.model(1)


def test_a_training_that_diverges_is_said():
    x, y = regression()
    with pytest.raises(ValueError, match=r"diverged at the strength 0.5.*Lower the learning rate"):
        tf_reg.regularization_path(
            lambda: linear(optimizer=lambda: keras.optimizers.SGD(1e4)), (x, y), [0.5], epochs=200, verbose=0
        )


def test_progress_is_a_line_for_each_strength(capsys):
    x, y = regression()
    tf_reg.regularization_path(linear, (x, y), [0.5, 0.1], validation=(x, y))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["  1  strength 0.5", "  2  strength 0.1"]
