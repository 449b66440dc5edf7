"""The dropout family: expectation, gradients, inference, saving, precision; one contract for all members."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.tools import slow_on_tensorflow
from tf_reg import DropBlock2D, DropConnect, StochasticDepth, mc_predict

contract = pytest.mark.contract
BACKEND = keras.backend.backend()
SHAPE = (6, 6, 2)

MEMBERS = {
    "StochasticDepth": lambda rate=0.3, **options: StochasticDepth(rate, **options),
    "DropBlock2D": lambda rate=0.3, **options: DropBlock2D(rate, block_size=3, **options),
    "DropBlock2D, oblong": lambda rate=0.3, **options: DropBlock2D(rate, block_size=(1, 4), **options),
    "DropConnect, dense": lambda rate=0.3, **options: DropConnect(layers.Dense(3), rate, **options),
    "DropConnect, einsum": lambda rate=0.3, **options: DropConnect(
        layers.EinsumDense("abcd,de->abce", (6, 6, 3)), rate, **options
    ),
    "DropConnect, conv": lambda rate=0.3, **options: DropConnect(layers.Conv2D(3, 3), rate, **options),
    "DropConnect, transpose": lambda rate=0.3, **options: DropConnect(layers.Conv2DTranspose(3, 3), rate, **options),
    "DropConnect, depthwise": lambda rate=0.3, **options: DropConnect(layers.DepthwiseConv2D(3), rate, **options),
}
FEW = ["StochasticDepth", "DropBlock2D", "DropConnect, dense"]
every_member = pytest.mark.parametrize(
    "member",
    [pytest.param(make, id=name, marks=() if name in FEW else slow_on_tensorflow) for name, make in MEMBERS.items()],
)
every_class = pytest.mark.parametrize("member", [MEMBERS[name] for name in FEW], ids=FEW)


def images(examples=4, seed=0):
    return np.random.default_rng(seed).normal(1, 1, size=(examples, *SHAPE)).astype("float32")


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def model_of(layer):
    return keras.Sequential([keras.Input(SHAPE), layer])


@contract
@every_member
def test_inference_changes_nothing(member):
    layer, x = member(), images()
    expected = numpy(layer.layer(x)) if isinstance(layer, DropConnect) else x
    assert (numpy(layer(x)) == expected).all()
    assert (model_of(layer).predict(x, verbose=0) == expected).all()


@contract
@every_member
def test_the_expectation_is_the_input(member):
    """Within 3 standard errors over 10,000 draws, at a corner, at a border and in the middle."""
    layer = member(rate=0.4, seed=3)
    x = images(1)
    expected = numpy(layer(x))[0]
    if isinstance(layer, DropConnect):
        draws = 10_000 if BACKEND != "torch" else 1_000
        mean, spread = (part[0] for part in mc_predict(model_of(layer), x, samples=draws, seed=0))
    else:
        draws = 10_000
        y = numpy(layer(np.repeat(x, draws, axis=0), training=True))
        mean, spread = y.mean(axis=0), y.std(axis=0)
    assert (spread > 0).all()
    deviations = (mean - expected) / (spread / np.sqrt(draws))
    places = [(0, 0, 0), (0, 2, 1), (2, 2, 0), (-1, -1, -1)]
    assert all(abs(deviations[place]) < 3 for place in places)
    assert np.mean(np.abs(deviations) < 3) > 0.9


@contract
@every_class
def test_at_rate_zero_training_changes_nothing(member):
    layer, x = member(rate=0.0), images()
    np.testing.assert_array_equal(numpy(layer(x, training=True)), numpy(layer(x)))


@contract
@every_class
def test_the_rate_can_be_set(member):
    layer, x = member(rate=0.1), images(64)
    model = model_of(layer)
    assert layer.rate == 0.1
    layer.rate = 0.9
    assert layer.rate == 0.9
    dropped = layer.layer.kernel if isinstance(layer, DropConnect) else None
    if dropped is None:
        assert np.mean(numpy(model(x, training=True)) == 0) == pytest.approx(0.9, abs=0.1)
    assert layer.get_config()["rate"] == 0.9


@contract
@pytest.mark.parametrize("member", [MEMBERS[name] for name in FEW[:2]], ids=FEW[:2])
def test_gradients_go_through_what_was_kept_alone(member):
    layer, x = member(seed=1), images()
    y, gradient = value_and_gradient(layer, x)
    assert ((gradient == 0) == (y == 0)).all()
    np.testing.assert_allclose(gradient[y != 0], 1 / (1 - 0.3), rtol=1e-6)
    np.testing.assert_allclose(y[y != 0], x[y != 0] / (1 - 0.3), rtol=1e-6)


def value_and_gradient(layer, x):
    """What a layer makes of `x` in training, and the gradient of its sum with respect to `x`."""
    x = ops.convert_to_tensor(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return numpy(y), numpy(tape.gradient(y, x))
    if BACKEND == "jax":
        import jax

        def total(x):
            y = layer(x, training=True)
            return ops.sum(y), y

        gradient, y = jax.grad(total, has_aux=True)(x)
        return numpy(y), numpy(gradient)
    x.requires_grad_()
    y = layer(x, training=True)
    ops.sum(y).backward()
    return numpy(y.detach()), numpy(x.grad)


@contract
def test_a_connection_that_is_dropped_gets_no_gradient():
    """One step of SGD on the sum of the outputs: a kept weight moves by x / (1 - rate), the others stay."""
    layer = DropConnect(layers.Dense(5, use_bias=False, kernel_initializer="ones"), rate=0.5, seed=0)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, prediction: ops.sum(prediction))
    model.fit(np.full((1, 8), 3.0, "float32"), np.zeros((1, 5)), verbose=0)
    moved = 1 - numpy(layer.layer.kernel)
    assert set(np.unique(moved)) == {0.0, 6.0}
    assert 0.2 < np.mean(moved == 0) < 0.8


@contract
@every_class
def test_draws_differ_from_call_to_call_and_repeat_with_a_seed(member):
    x = images(16)
    first, second = member(seed=5), member(seed=5)
    y = first(x, training=True)
    if isinstance(first, DropConnect):
        second.build(x.shape)
        second.layer.set_weights(first.layer.get_weights())
    np.testing.assert_array_equal(numpy(y), numpy(second(x, training=True)))
    assert (numpy(first(x, training=True)) != numpy(y)).any()


def plain(config):
    """A config without the shape that Keras adds to a layer within once it is built."""
    return {**config, "layer": config["layer"]["config"]} if "layer" in config else config


@every_member
def test_saving_and_cloning_keep_it(member, tmp_path):
    model, x = model_of(member()), images()
    model.layers[0].rate = 0.1
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert plain(loaded.layers[0].get_config()) == plain(model.layers[0].get_config())
    assert loaded.layers[0].rate == keras.models.clone_model(model).layers[0].rate == 0.1
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@contract
@every_class
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(member, policy):
    keras.config.set_dtype_policy(policy)
    layer = member()
    y = layer(images(), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert np.isfinite(numpy(ops.cast(y, "float32"))).all()
    assert layer._rate.dtype == "float32"


@contract
@every_class
def test_it_trains_in_a_compiled_model(member):
    model = keras.Sequential([keras.Input(SHAPE), member(), layers.Flatten(), layers.Dense(1)])
    model.compile("adam", "mse")
    assert np.isfinite(model.fit(images(8), np.zeros((8, 1)), verbose=0).history["loss"]).all()


@every_class
def test_rates_out_of_range(member):
    layer = member()
    for rate in (-0.1, 1.0, float("nan"), "half", "0.5", True, False, None):
        with pytest.raises(ValueError, match=r"rate is the share that is dropped.*Received"):
            member(rate=rate)
        with pytest.raises(ValueError, match="rate is the share that is dropped"):
            layer.rate = rate


@every_class
def test_numbers_of_numpy_do(member):
    layer = member(rate=np.float64(0.25), seed=np.int64(3))
    assert json.loads(json.dumps({name: layer.get_config()[name] for name in ("rate", "seed")})) == {
        "rate": 0.25,
        "seed": 3,
    }
    assert json.dumps(DropBlock2D(0.1, block_size=np.int64(3)).get_config()["block_size"]) == "[3, 3]"


@every_class
def test_seeds_are_integers(member):
    for seed in (True, 1.5, "3"):
        with pytest.raises(ValueError, match=r"seed must be an integer or None\. Received: seed="):
            member(seed=seed)


@contract
def test_whole_examples_are_dropped_by_stochastic_depth():
    y = numpy(StochasticDepth(0.5, seed=0)(images(200), training=True)).reshape(200, -1)
    dead = (y == 0).all(axis=1)
    assert 60 < dead.sum() < 140
    assert (y[~dead] != 0).all()


@contract
def test_blocks_are_dropped_by_drop_block():
    """Every zero belongs to a block of 3 x 3 zeros, or to what the border leaves of one; channels differ."""
    y = numpy(DropBlock2D(0.2, block_size=3, seed=0)(np.ones((8, 12, 12, 2), "float32"), training=True))
    zeros = np.pad(y == 0, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=True)
    covered = np.zeros_like(zeros)
    for row in range(14):
        for column in range(14):
            block = zeros[:, row : row + 3, column : column + 3]
            whole = block.all(axis=(1, 2), keepdims=True)
            covered[:, row : row + 3, column : column + 3] |= whole
    assert (covered[:, 2:-2, 2:-2] == (y == 0)).all()
    assert 0 < np.mean(y == 0) < 0.4
    assert (y[..., 0] != y[..., 1]).any()


@contract
def test_the_channels_of_drop_block_may_come_first():
    y = numpy(DropBlock2D(0.3, (1, 6), "channels_first", seed=0)(np.ones((8, 3, 5, 6), "float32"), training=True))
    assert y.shape == (8, 3, 5, 6)
    whole = (y == 0).all(axis=-1)
    assert whole.any()
    assert ((y == 0).any(axis=(0, 1, 2))).all()


@contract
def test_a_block_of_one_is_dropout():
    y = numpy(DropBlock2D(0.25, block_size=1, seed=0)(np.ones((50, 10, 10, 4), "float32"), training=True))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.01)


@contract
def test_drop_connect_keeps_penalties_and_other_losses():
    inner = layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l1")
    model = keras.Sequential([keras.Input((4,)), DropConnect(inner, 0.5)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.ones((2, 4), "float32")
    history = model.fit(x, np.zeros((2, 3)), verbose=0).history
    model.compile(keras.optimizers.SGD(0.0), lambda y, prediction: 0.0 * ops.sum(prediction))
    zero = model.fit(x, np.zeros((2, 3)), verbose=0).history["loss"][0]
    penalty = float(ops.convert_to_numpy(inner.kernel_regularizer(inner.kernel)))
    assert zero > penalty * 1.001, "the activity's penalty is missing"
    assert history["loss"][0] > penalty


@contract
@pytest.mark.filterwarnings("ignore:.*destroy the mask")  # Keras 3.16 says so of an LSTM
def test_drop_connect_hands_a_mask_on_where_its_layer_does():
    """Keras warns of a mask that is lost, and warnings are errors."""
    ids = keras.Input((3,), dtype="int32")
    words = DropConnect(layers.Dense(2), 0.3)(layers.Embedding(5, 4, mask_zero=True)(ids))
    model = keras.Model(ids, layers.LSTM(2)(words))
    y = model.predict(np.array([[1, 2, 0], [1, 2, 2]]), verbose=0)
    one = model.predict(np.array([[1, 2, 0]]), verbose=0)
    np.testing.assert_allclose(y[:1], one, atol=1e-6)
    assert not DropConnect(layers.Conv1D(2, 2)).supports_masking


def test_drop_connect_takes_layers_with_a_kernel():
    with pytest.raises(ValueError, match=r"DropConnect drops weights of a kernel.*Received: layer=<LSTM"):
        DropConnect(layers.LSTM(3))
    layer = DropConnect(layers.Dense(3))
    layer.build((None, 4))
    layer.layer.quantize("int8")
    with pytest.raises(ValueError, match="can't train a quantized kernel"):
        layer(np.ones((1, 4), "float32"), training=True)
