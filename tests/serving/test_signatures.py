"""The signatures of an export: names, dtypes, precisions, and requests of bytes."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import classifier, everything, pixels, predicted
from tf_reg._walk import layer_paths
from tf_reg.serving import saved_graph
from tf_reg.serving.verify.c_api import Run, run_apart
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import signatures


def trained(model):
    """A model whose moving averages aren't what they were in the beginning."""
    for _, layer in layer_paths(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-1, 1, layer.moving_mean.shape[0]))
            layer.moving_variance.assign(np.linspace(0.5, 2, layer.moving_mean.shape[0]))
    return model


def test_names_of_several_inputs_and_outputs_are_kept(tmp_path):
    inputs = {"left": pixels(8), "right": np.random.default_rng(1).normal(size=(8, 4)).astype("float32")}
    model = trained(everything())
    path = tf_reg.export(model, tmp_path / "m", examples=inputs)
    found = saved_graph.signatures(saved_graph.load(path))["serving_default"]
    assert {name: (t.dtype, t.shape) for name, t in found.inputs.items()} == {
        "left": ("float32", (None, 8, 8, 1)),
        "right": ("float32", (None, 4)),
    }
    assert {name: t.shape for name, t in found.outputs.items()} == {"kind": (None, 3), "size": (None, 1)}
    run = Run(
        {found.inputs[name].name: inputs[name] for name in inputs}, [found.outputs[n].name for n in ("kind", "size")]
    )
    one = Run({name: array[3:4] for name, array in run.feeds.items()}, run.fetches)
    first, second, alone = run_apart(path, [run, run, one])
    for got, again, single, expected in zip(first, second, alone, model(inputs, training=False), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(got, again)
        np.testing.assert_allclose(single, expected[3:4], atol=1e-5, rtol=1e-5)
    assert tf_reg.verify_saved_model(path, model, list(inputs.values())).difference < 1e-5


@pytest.mark.parametrize("structure", [list, dict])
def test_dictionaries_keep_their_keys_and_dtypes(tmp_path, structure):
    number, word = keras.Input((2,), name="number"), keras.Input((), dtype="int32", name="word")
    merged = layers.Concatenate()([number, layers.Embedding(2, 3)(word)])
    outputs = {"mean": layers.Dense(1)(merged), "twice": layers.Lambda(lambda x: 2 * x, output_shape=())(word)}
    inputs = {"number": number, "word": word} if structure is dict else [number, word]
    path = tf_reg.export(keras.Model(inputs, outputs), tmp_path / "m")
    found = saved_graph.signatures(saved_graph.load(path))["serving_default"]
    assert {name: t.dtype for name, t in found.inputs.items()} == {"number": "float32", "word": "int32"}
    assert {name: t.dtype for name, t in found.outputs.items()} == {"mean": "float32", "twice": "int32"}


def crossed(structure=list):
    """Two inputs and two outputs of the same shapes, in the reverse order of their names."""
    inputs = {name: keras.Input((2,), name=name) for name in ("b", "a")}
    outputs = {f"of_{name}": layers.Dense(1, name=f"of_{name}")(tensor) for name, tensor in inputs.items()}
    if structure is list:
        return keras.Model(list(inputs.values()), list(outputs.values()))
    return keras.Model(structure(inputs), structure(outputs))


@pytest.mark.parametrize("structure", [list, dict, collections.OrderedDict])
def test_names_keep_to_their_tensors(tmp_path, structure):
    model = crossed(structure)
    x = dict(zip("ba", np.random.default_rng(0).normal(size=(2, 3, 2)).astype("float32"), strict=True))
    loaded = tf.saved_model.load(str(tf_reg.export(model, tmp_path / "m", examples=x)))
    outputs = loaded.signatures["serving_default"](**{name: tf.constant(array) for name, array in x.items()})
    for name, array in x.items():
        kernel, bias = model.get_layer(f"of_{name}").get_weights()
        np.testing.assert_allclose(outputs[f"of_{name}"], array @ kernel + bias, atol=1e-6)


@pytest.mark.parametrize("side", ["input_names", "output_names"])
def test_names_that_are_mixed_up_are_found(tmp_path, monkeypatch, side):
    names = getattr(signatures, side)
    monkeypatch.setattr(signatures, side, lambda *args: names(*args)[::-1])
    with pytest.raises(VerificationError, match=r"Nothing was published: .*differs from the model by"):
        tf_reg.export(crossed(dict), tmp_path / "m")


def test_logits_of_something_else_are_found(tmp_path, monkeypatch):
    call = signatures._Head.__call__
    monkeypatch.setattr(signatures._Head, "__call__", lambda *args: call(*args)[::-1])
    with pytest.raises(VerificationError, match="the output probabilities differs from the model by"):
        tf_reg.export(classifier(), tmp_path / "m", logits=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_of_pixels_and_files(tmp_path, channels):
    model = keras.Sequential(
        [
            keras.Input((8, 8, channels)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    path = tf_reg.export(model, tmp_path / "m", signatures=["serving_uint8", "serving_bytes"])
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels)).astype("uint8")
    expected = predicted(model, images.astype("float32"))
    loaded = tf.saved_model.load(str(path)).signatures
    given = loaded["serving_uint8"](inputs=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-6)
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    np.testing.assert_allclose(loaded["serving_bytes"](inputs=files)["probabilities"], expected, atol=1e-6)
    big = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    jpeg = [tf.io.encode_jpeg(image).numpy() for image in big]
    small = [np.rint(tf.image.resize(tf.io.decode_jpeg(content), (8, 8), antialias=True)) for content in jpeg]
    given = loaded["serving_bytes"](inputs=tf.constant(jpeg))["probabilities"]
    np.testing.assert_allclose(given, predicted(model, np.stack(small)), atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
        loaded["serving_bytes"](inputs=tf.constant([b"no image"]))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float64"])
def test_other_precisions_serve_float32(tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3, activation="softmax")]
    )
    path = tf_reg.export(model, tmp_path / "m")
    found = saved_graph.signatures(saved_graph.load(path))["serving_default"]
    assert found.inputs["inputs"].dtype == "float32" if policy != "float64" else "float64"
    assert found.outputs["probabilities"].dtype == "float32"
    assert tf_reg.verify_saved_model(path, model).difference < 1e-2
