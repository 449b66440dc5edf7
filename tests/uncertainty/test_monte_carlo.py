"""mc_predict: right moments for every kind of model, and the same draws with a seed."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.dropout_models import MODELS, example, mlp, numpy, random
from tests.tools import slow_on_tensorflow
from tf_reg import DropConnect, StochasticDepth, _keras, mc_predict
from tf_reg.uncertainty import monte_carlo

contract = pytest.mark.contract
BACKEND = keras.backend.backend()
PLAIN = ("dropout", "lstm", "connections", "noise shape")
every_model = pytest.mark.parametrize(
    ("build", "shape"),
    [pytest.param(*made, id=name, marks=() if name in PLAIN else slow_on_tensorflow) for name, made in MODELS.items()],
)


def passes(model, x, samples):
    """What the model gives in training mode, batch normalisation frozen: `(samples, examples, ...)` of each output."""
    for layer in _keras.sublayers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    if any(isinstance(layer, DropConnect) or getattr(layer, "noise_shape", None) for layer in model.layers):
        runs = [keras.tree.flatten(model(x, training=True)) for _ in range(samples)]
        return [np.stack([numpy(run[i]) for run in runs]) for i in range(len(runs[0]))]
    outputs = keras.tree.flatten(model(np.tile(x, (samples, *[1] * (x.ndim - 1))), training=True))
    return [numpy(y).reshape(samples, len(x), *y.shape[1:]) for y in outputs]


@contract
@every_model
@pytest.mark.filterwarnings("ignore:.*destroy the mask")  # Keras 3.16 says so of an LSTM
def test_every_model_gives_what_its_dropout_makes_of_it(build, shape):
    """Against the model's own passes in training mode, mean and spread."""
    model, x, samples = build(), example(shape, 3), 60
    moments = mc_predict(model, x, samples=samples, seed=0)
    again = mc_predict(model, x, samples=samples, seed=0)
    parts = [keras.tree.flatten(tree) for tree in (moments.mean, moments.spread, again.mean)]
    for mean, spread, repeated, own in zip(*parts, passes(model, x, samples), strict=True):
        assert mean.shape == spread.shape == own.shape[1:]
        assert spread.max() > 0
        np.testing.assert_array_equal(mean, repeated)
        scale = own.std(axis=0) + spread
        assert np.mean(np.abs(mean - own.mean(axis=0)) < 4 * scale / np.sqrt(samples) + 1e-6) > 0.95
        assert spread.mean() == pytest.approx(own.std(axis=0).mean(), rel=0.35)


@contract
@pytest.mark.parametrize("values", [monte_carlo.VALUES, 1], ids=["one pass", "a pass a sample"])
def test_the_moments_are_right(values, monkeypatch):
    """Of a network whose 2^6 masks can all be tried, within 4 standard errors."""
    monkeypatch.setattr(monte_carlo, "VALUES", values)
    model, x = mlp(layers.Dropout(0.5)), random(3, 4)
    hidden = numpy(model.layers[0](x))
    masks = np.array(list(itertools.product([0.0, 2.0], repeat=6)), "float32")
    outputs = np.stack([numpy(model.layers[2](hidden * mask)) for mask in masks])
    samples = 4000 if BACKEND != "torch" else 400
    mean, spread = mc_predict(model, x, samples=samples, seed=1)
    errors = outputs.std(axis=0) / np.sqrt(samples)
    assert (np.abs(mean - outputs.mean(axis=0)) < 4 * errors).all()
    np.testing.assert_allclose(spread, outputs.std(axis=0), rtol=5 / np.sqrt(samples))


@contract
def test_samples_differ_and_do_not_depend_on_how_they_are_grouped():
    """For outputs 0 or 2: the spread of a few samples follows from their mean, whatever goes together."""
    model = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5)])
    mean, spread = mc_predict(model, np.ones((3, 50), "float32"), samples=7, seed=0)
    np.testing.assert_allclose(spread, np.sqrt(mean * (2 - mean)), atol=1e-6)
    assert len(np.unique(mean.round(4))) > 4
    assert (mean[0] != mean[1]).any()


def test_large_models_go_through_in_parts(monkeypatch):
    monkeypatch.setattr(monte_carlo, "VALUES", 50 * 3 * 2)
    test_samples_differ_and_do_not_depend_on_how_they_are_grouped()


@contract
def test_seeds_and_batches():
    model, x = mlp(layers.Dropout(0.5)), random(5, 4)
    seeded = [mc_predict(model, x, samples=4, seed=seed, batch_size=2).mean for seed in (0, 0, 1)]
    np.testing.assert_array_equal(seeded[0], seeded[1])
    assert (seeded[0] != seeded[2]).any()
    assert seeded[0].shape == (5, 2)
    of_numpy = mc_predict(model, x, samples=np.int64(4), seed=np.int64(0), batch_size=np.int32(2)).mean
    np.testing.assert_array_equal(seeded[0], of_numpy)
    same = mc_predict(model, np.repeat(x[:1], 6, axis=0), samples=4, seed=0, batch_size=2).mean
    assert len(np.unique(same, axis=0)) > 2, "batches have draws of their own"
    keras.utils.set_random_seed(3)
    first = mc_predict(model, x, samples=4).mean
    assert (first != mc_predict(model, x, samples=4).mean).any()
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(first, mc_predict(model, x, samples=4).mean)


@contract
def test_a_rate_that_changed_takes_effect():
    for dropout in (layers.Dropout(0.5), StochasticDepth(0.5)):
        model = keras.Sequential([keras.Input((1,)), dropout])
        x = np.ones((1000, 1), "float32")
        assert mc_predict(model, x, samples=4, batch_size=1000).mean.max() == 2.0
        dropout.rate = 0.75
        assert mc_predict(model, x, samples=4, batch_size=1000).mean.max() > 2.5


@contract
@pytest.mark.parametrize("convert", [np.asarray, ops.convert_to_tensor], ids=["numpy", "tensor"])
def test_batches_are_slices(convert):
    """A whole array made a tensor for each batch would make a large one slow."""
    x = convert(np.arange(10.0).reshape(5, 2))
    batches = list(monte_carlo._batches({"x": x}, 5, 2))
    assert [type(batch["x"]) for batch in batches] == [type(x)] * 3
    rows = [numpy(batch["x"])[:, 0].tolist() for batch in batches]
    assert rows == [[0, 2], [4, 6], [8, 0]]


@contract
def test_the_weights_are_those_of_now():
    model, x = mlp(layers.Dropout(0.5)), random(3, 4)
    first = mc_predict(model, x, samples=4, seed=0).mean
    model.set_weights([2 * weight for weight in model.get_weights()])
    assert np.abs(mc_predict(model, x, samples=4, seed=0).mean - first).max() > 0.1


@contract
def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    mean, spread = mc_predict(mlp(layers.Dropout(0.5)), random(3, 4), samples=6)
    assert mean.dtype == spread.dtype == np.float32
    assert np.isfinite(mean).all()


@contract
@pytest.mark.parametrize(
    ("name", "build", "shape"),
    [
        pytest.param(name, *made, id=name, marks=() if name in PLAIN else slow_on_tensorflow)
        for name, made in MODELS.items()
    ],
)
@pytest.mark.filterwarnings("ignore:.*destroy the mask")
def test_with_the_same_masks_equal_examples_have_equal_predictions(name, build, shape):
    keras.utils.set_random_seed(0)
    model, x = build(), example(shape, 4)
    twice = keras.tree.map_structure(lambda array: np.concatenate([array, array]), x)
    shared = mc_predict(model, twice, samples=7, seed=0, same_masks=True)
    for moments in (shared.mean, shared.spread):
        for one in keras.tree.flatten(moments):
            np.testing.assert_array_equal(one[:4], one[4:])
    assert max(one.max() for one in keras.tree.flatten(shared.spread)) > 0


@contract
def test_with_the_same_masks_a_sample_is_one_network():
    """Of a linear network a mean of two inputs has the mean of their predictions, if the masks are the same."""
    model, x = mlp(layers.Dropout(0.5)), random(2, 4)
    linear = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(2)])
    three = np.concatenate([x, x.mean(axis=0, keepdims=True)])
    mean, _ = mc_predict(linear, three, samples=3, seed=1, same_masks=True)
    np.testing.assert_allclose(mean[2], mean[:2].mean(axis=0), rtol=1e-5)
    own, _ = mc_predict(linear, three, samples=3, seed=1)
    assert np.abs(own[2] - own[:2].mean(axis=0)).max() > 1e-3
    assert mc_predict(model, x, samples=3, same_masks=True).mean.shape == (2, 2)
