"""mc_predict: right moments for every kind of model, nothing else in training mode, the same draws with a seed."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

from tf_reg import DropBlock2D, DropConnect, StochasticDepth, mc_predict
from tf_reg.uncertainty import monte_carlo

contract = pytest.mark.contract
BACKEND = keras.backend.backend()


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


class Subclassed(keras.Model):
    """Hands `training` on by hand, and returns a dict."""

    def __init__(self, dropout=None, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.out = layers.Dense(6, "relu"), layers.Dense(2)
        self.norm, self.dropout = layers.BatchNormalization(), dropout or layers.Dropout(0.5)

    def call(self, x, training=False):
        hidden = self.dropout(self.norm(self.hidden(x), training=training), training=training)
        return {"logits": self.out(hidden), "hidden": hidden}


class Conditional(layers.Layer):
    """Calls its dropout in training alone, as custom layers do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = layers.Dropout(0.5)

    def call(self, x, training=False):
        return self.dropout(x) if training else x


def mlp(dropout):
    return keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu"), dropout, layers.Dense(2)])


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu"), layers.Dropout(0.5)], name="inner")
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inner(layers.Dense(4)(inputs))))


def residual():
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs))
    x = DropBlock2D(0.2, 3)(x)
    x = x + StochasticDepth(0.3)(DropConnect(layers.Conv2D(4, 3, padding="same"), 0.2)(x))
    return keras.Model(inputs, [layers.GlobalAveragePooling2D()(x), x])


def images(*stack):
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Flatten(), layers.Dense(2)])


def sequences(make):
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, make(inputs))


def words():
    ids = keras.Input((5,), dtype="int32")
    embedded = layers.Dropout(0.4)(layers.Embedding(10, 4, mask_zero=True)(ids))
    return keras.Model(ids, layers.LSTM(3)(embedded))


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    return keras.Model({"a": a, "b": b}, layers.Dense(2)(layers.Concatenate()([a, layers.Dropout(0.5)(b)])))


IMAGES, SEQUENCES = (8, 8, 3), (5, 3)
MODELS = {
    "dropout": (lambda: mlp(layers.Dropout(0.5)), (4,)),
    "noise shape": (lambda: mlp(layers.Dropout(0.5, noise_shape=(1, 6))), (4,)),
    "gaussian": (lambda: mlp(layers.GaussianDropout(0.5)), (4,)),
    "alpha": (lambda: mlp(layers.AlphaDropout(0.5)), (4,)),
    "connections": (lambda: mlp(DropConnect(layers.Dense(5), 0.4)), (4,)),
    "nested": (nested, (4,)),
    "subclassed": (Subclassed, (4,)),
    "spatial": (lambda: images(layers.SpatialDropout2D(0.4)), IMAGES),
    "residual": (residual, IMAGES),
    "lstm": (lambda: sequences(layers.LSTM(3, dropout=0.3, recurrent_dropout=0.3)), SEQUENCES),
    "both ways": (lambda: sequences(layers.Bidirectional(layers.GRU(3, dropout=0.3))), SEQUENCES),
    "cells": (lambda: sequences(layers.RNN([layers.LSTMCell(3, dropout=0.3), layers.GRUCell(2)])), SEQUENCES),
    "attention": (lambda: sequences(lambda x: layers.MultiHeadAttention(2, 3, dropout=0.3)(x, x)), SEQUENCES),
    "attention layer": (lambda: sequences(lambda x: layers.Attention(dropout=0.3)([x, x])), SEQUENCES),
    "each step": (lambda: sequences(layers.TimeDistributed(layers.Dropout(0.3))), SEQUENCES),
    "words with a mask": (words, None),
}
every_model = pytest.mark.parametrize(("build", "shape"), MODELS.values(), ids=MODELS.keys())


def example(shape, count):
    return np.random.default_rng(0).integers(0, 10, (count, 5)) if shape is None else random(count, *shape)


def passes(model, x, samples):
    """What the model gives in training mode, batch normalisation frozen: `(samples, examples, ...)` of each output."""
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    if any(isinstance(layer, DropConnect) or getattr(layer, "noise_shape", None) for layer in model.layers):
        runs = [keras.tree.flatten(model(x, training=True)) for _ in range(samples)]
        return [np.stack([numpy(run[i]) for run in runs]) for i in range(len(runs[0]))]
    outputs = keras.tree.flatten(model(np.tile(x, (samples, *[1] * (x.ndim - 1))), training=True))
    return [numpy(y).reshape(samples, len(x), *y.shape[1:]) for y in outputs]


@contract
@every_model
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
def test_nothing_of_the_model_changes():
    model = Subclassed()
    x = random(40, 4) + 3
    model.compile("sgd", "mse")
    model(x)
    before = [numpy(variable).copy() for variable in model.variables]
    mc_predict(model, x, samples=3)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, numpy(variable))
    np.testing.assert_array_equal(numpy(model(x)["logits"]), numpy(model(x)["logits"]))


@contract
def test_what_is_no_dropout_stays_in_inference_mode():
    stack = [layers.RandomFlip(), layers.GaussianNoise(1.0), layers.BatchNormalization(), layers.Dropout(1e-6)]
    model, x = images(*stack), random(3, 8, 8, 3)
    mean, _ = mc_predict(model, x, samples=5, seed=0)
    np.testing.assert_allclose(mean, model.predict(x, verbose=0), atol=1e-3)


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
def test_several_inputs_in_a_dict():
    model = two_inputs()
    mean, spread = mc_predict(model, {"a": random(5, 4), "b": random(5, 3)}, samples=9, batch_size=2)
    assert mean.shape == spread.shape == (5, 2)


@contract
def test_a_rate_that_changed_takes_effect():
    for dropout in (layers.Dropout(0.5), StochasticDepth(0.5)):
        model = keras.Sequential([keras.Input((1,)), dropout])
        x = np.ones((1000, 1), "float32")
        assert mc_predict(model, x, samples=4, batch_size=1000).mean.max() == 2.0
        dropout.rate = 0.75
        assert mc_predict(model, x, samples=4, batch_size=1000).mean.max() > 2.5


@contract
@pytest.mark.parametrize(
    "attention", [lambda x: layers.Attention()([x, x]), lambda x: layers.MultiHeadAttention(2, 3)(x, x)]
)
def test_masks_are_kept(attention):
    ids = keras.Input((5,), dtype="int32")
    words = layers.Dropout(1e-7)(layers.Embedding(9, 6, mask_zero=True)(ids))
    model = keras.Model(ids, attention(words))
    x = np.array([[3, 4, 0, 0, 0], [1, 2, 3, 4, 5], [7, 0, 0, 0, 0]])
    np.testing.assert_allclose(mc_predict(model, x, samples=3).mean, model.predict(x, verbose=0), atol=1e-6)


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


@pytest.mark.skipif(BACKEND == "torch", reason="torch traces nothing")
def test_it_compiles_once_and_what_stands_before_dropout_runs_once():
    calls = {"before": 0, "after": 0}

    class Count(layers.Layer):
        def call(self, x):
            calls[self.name] += 1
            return 1.0 * x

    model = keras.Sequential([keras.Input((4,)), Count(name="before"), layers.Dropout(0.5), Count(name="after")])
    calls.update(before=0, after=0)
    for seed in (0, 1, None):
        mc_predict(model, random(10, 4, seed=1), samples=50, batch_size=4, seed=seed)
    assert calls == {"before": 1, "after": 1}


@contract
def test_a_model_without_dropout_is_an_error():
    for model in (mlp(layers.Dropout(0.0)), mlp(layers.GaussianNoise(0.5)), sequences(layers.LSTM(3))):
        with pytest.raises(ValueError, match="mc_predict needs a model with dropout layers"):
            mc_predict(model, np.ones((1, 4), "float32"))


@contract
def test_dropout_that_inference_does_not_reach_is_an_error_and_can_be_chosen():
    conditional = Conditional()
    model = Subclassed(conditional)
    with pytest.raises(ValueError, match=r"reaches every dropout layer.*doesn't call \['dropout"):
        mc_predict(model, random(3, 4))
    _, spread = mc_predict(model, random(3, 4), layers=[conditional])
    assert spread["logits"].max() > 0
    functional = mlp(conditional)
    assert mc_predict(functional, random(3, 4), layers=[conditional]).spread.max() > 0


@contract
def test_some_layers_draw_alone():
    first, second = layers.Dropout(0.5), layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((4,)), first, second])
    mean, _ = mc_predict(model, np.ones((50, 4), "float32"), samples=1, layers=[second])
    assert set(np.unique(mean)) == {0.0, 2.0}
    assert set(np.unique(mc_predict(model, np.ones((50, 4)), samples=1, layers=second).mean)) == {0.0, 2.0}
    with pytest.raises(ValueError, match="layers must be layers of the model whose call takes `training`"):
        mc_predict(model, random(3, 4), layers=[layers.Dropout(0.5)])
    with pytest.raises(ValueError, match=r"layers must be one layer or several.*Received: none"):
        mc_predict(model, random(3, 4), layers=[])


class Unseeded(layers.Layer):
    def call(self, x, training=False):
        return x * keras.random.uniform(keras.ops.shape(x)) if training else x


@contract
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(0.0),
        layers.BatchNormalization,
        Unseeded,
        lambda: layers.LSTM(2),
    ],
    ids=["rate 0", "norm", "no generator", "cell of rate 0"],
)
def test_layers_that_cannot_draw_are_refused(make):
    layer = make()
    model = sequences(lambda x: layer(layers.Dropout(0.5)(x)))
    with pytest.raises(ValueError, match=r"layers that draw.*Received: .* self\.seed_generator = keras.random"):
        mc_predict(model, random(3, *SEQUENCES), layers=[layer])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples must be a positive integer. Received: samples=0"),
        ({"samples": 2.5}, "samples must be a positive integer"),
        ({"samples": True}, "samples must be a positive integer"),
        ({"x": [random(2, 4)] * 2}, r"x must have an array for each of the model's inputs: .*Received: 2 arrays"),
        ({"model": two_inputs(), "x": {"a": random(2, 4)}}, "inputs: a, b. Received: a dict of a"),
        ({"model": two_inputs(), "x": random(2, 4)}, "inputs: a, b. Received: 1 arrays"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"seed": -1}, "seed must be a non-negative integer or None. Received: seed=-1"),
        ({"x": np.ones((0, 4))}, "x is an array of shape"),
        ({"x": [np.ones((1, 4)), np.ones((2, 4))]}, "of the same number of examples"),
        ({"x": iter([])}, "For a data set, call mc_predict for each batch"),
        ({"x": np.float32(3)}, "x is an array of shape"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        mc_predict(**{"model": mlp(layers.Dropout(0.5)), "x": random(2, 4), **arguments})


def test_a_model_that_was_used_can_be_saved_and_fitted(tmp_path):
    model, x = mlp(layers.Dropout(0.5)), random(8, 4)
    model.compile("sgd", "mse")
    mc_predict(model, x, samples=2)
    model.fit(x, x[:, :2], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        mc_predict(loaded, x, samples=4, seed=0).mean, mc_predict(model, x, samples=4, seed=0).mean
    )
    keras.models.clone_model(model)
