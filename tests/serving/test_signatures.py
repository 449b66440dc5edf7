"""What an export offers: signatures, names, dtypes, further outputs, the manifest and the warm-up requests."""

import collections
import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import classifier, pixels, published, serve
from tf_reg._walk import layer_paths
from tf_reg.serving import saved_graph
from tf_reg.serving.verify.c_api import Run, run_apart
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import manifest, signatures, warmup


def everything():
    """Augmentation, batch norm, dropout, L1 and L2, a nested model, two inputs and two outputs."""
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((4,), name="right")
    x = left
    for layer in (layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.2), layers.RandomContrast(0.3)):
        x = layer(x)
    x = layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-3))(x)
    x = layers.SpatialDropout2D(0.5)(layers.BatchNormalization()(x))
    nested = [
        keras.Input((144,)),
        layers.Dropout(0.3),
        layers.GaussianNoise(0.3),
        layers.Dense(5, activation="relu", kernel_regularizer="l2", bias_regularizer="l1"),
        layers.BatchNormalization(),
    ]
    x = keras.Sequential(nested, name="nested")(layers.Flatten()(x))
    x = layers.Concatenate()([x, right])
    return keras.Model([left, right], [layers.Dense(3, "softmax", name="kind")(x), layers.Dense(1, name="size")(x)])


def trained(model, inputs):
    """A model whose moving averages aren't what they were in the beginning."""
    model.compile("sgd", ["categorical_crossentropy", "mse"])
    targets = [np.eye(3, dtype="float32")[np.arange(8) % 3], np.ones((8, 1), "float32")]
    model.fit(inputs, targets, epochs=2, batch_size=4, verbose=0)
    return model


def test_names_of_several_inputs_and_outputs_are_kept(tmp_path):
    inputs = {"left": pixels(8), "right": np.random.default_rng(1).normal(size=(8, 4)).astype("float32")}
    model = trained(everything(), inputs)
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
    for got, again, single, expected in zip(first, second, alone, model.predict(inputs, verbose=0), strict=True):
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


@pytest.mark.parametrize("end", ["softmax", "sigmoid", "layer", "activation", "binary"])
def test_classes_and_logits(tmp_path, end):
    ends = {
        "softmax": [layers.Dense(5, activation="softmax")],
        "sigmoid": [layers.Dense(5, activation="sigmoid")],
        "layer": [layers.Dense(5), layers.Softmax()],
        "activation": [layers.Dense(5), layers.Activation("softmax")],
        "binary": [layers.Dense(1, activation="sigmoid")],
    }
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, activation="relu"), *ends[end]])
    top = 1 if end == "binary" else 3
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    before = model.get_config()
    path = tf_reg.export(model, tmp_path / "m", class_id=True, top_k=top, logits=True, examples=x)
    assert model.get_config() == before
    outputs = {name: value.numpy() for name, value in serve(path, x).items()}
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
    ranks = np.argsort(-expected, axis=1)[:, :top]
    np.testing.assert_array_equal(outputs["class_id"], expected[:, 0] > 0.5 if end == "binary" else ranks[:, 0])
    np.testing.assert_array_equal(outputs["top_k_ids"], ranks)
    np.testing.assert_allclose(outputs["top_k_probabilities"], np.take_along_axis(expected, ranks, 1), atol=1e-6)
    finish = keras.ops.sigmoid if end in ("sigmoid", "binary") else keras.ops.softmax
    np.testing.assert_allclose(finish(outputs["logits"]), expected, atol=1e-6)
    assert outputs["logits"].min() < 0


def test_the_last_layer_may_be_shared(tmp_path):
    inputs, last = keras.Input((4,)), layers.Dense(4, activation="softmax", kernel_initializer="glorot_normal")
    first, second = last(inputs), last(layers.Dense(4)(inputs))
    for number, output in enumerate((first, second), start=1):
        model, x = keras.Model(inputs, output), np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
        outputs = serve(tf_reg.export(model, tmp_path / "m", examples=x, logits=True), x)
        np.testing.assert_allclose(outputs["probabilities"], model.predict(x, verbose=0), atol=1e-6)
        np.testing.assert_allclose(keras.ops.softmax(outputs["logits"]), outputs["probabilities"], atol=1e-6)
        assert number == len(published(tmp_path / "m"))


def crossed(structure=list):
    """Two inputs and two outputs of the same shapes, in the reverse order of their names."""
    inputs = {name: keras.Input((2,), name=name) for name in ("b", "a")}
    outputs = {f"of_{name}": layers.Dense(1, name=f"of_{name}")(tensor) for name, tensor in inputs.items()}
    if structure is list:
        return keras.Model(list(inputs.values()), list(outputs.values()))
    return keras.Model(structure(inputs), structure(outputs))


@pytest.mark.slow
@pytest.mark.parametrize("structure", [list, dict, collections.OrderedDict])
def test_names_keep_to_their_tensors(tmp_path, structure):
    model = crossed(structure)
    x = dict(zip("ba", np.random.default_rng(0).normal(size=(2, 3, 2)).astype("float32"), strict=True))
    loaded = tf.saved_model.load(str(tf_reg.export(model, tmp_path / "m", examples=x)))
    outputs = loaded.signatures["serving_default"](**{name: tf.constant(array) for name, array in x.items()})
    for name, array in x.items():
        kernel, bias = model.get_layer(f"of_{name}").get_weights()
        np.testing.assert_allclose(outputs[f"of_{name}"], array @ kernel + bias, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("structure", [list, dict, collections.OrderedDict])
@pytest.mark.parametrize("side", ["input_names", "output_names"])
def test_names_that_are_mixed_up_are_found(tmp_path, monkeypatch, structure, side):
    names = getattr(signatures, side)
    monkeypatch.setattr(signatures, side, lambda *args: names(*args)[::-1])
    with pytest.raises(VerificationError, match=r"Nothing was published: .*differs from the model by"):
        tf_reg.export(crossed(structure), tmp_path / "m")


def test_logits_of_something_else_are_found(tmp_path, monkeypatch):
    call = signatures._Head.__call__
    monkeypatch.setattr(signatures._Head, "__call__", lambda *args: call(*args)[::-1])
    with pytest.raises(VerificationError, match="the output probabilities differs from the model by"):
        tf_reg.export(classifier(), tmp_path / "m", logits=True)


def test_options_that_do_not_fit_are_refused(tmp_path):
    features = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    two = everything()
    relu = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu")])
    for model, options, message in (
        (features, {"top_k": 4}, "from 1 to the model's 3 classes"),
        (features, {"top_k": 0}, "from 1 to the model's 3 classes"),
        (features, {"signatures": ["serving_bytes"]}, "needs images of a fixed size"),
        (features, {"signatures": ["serving_float"]}, "`signatures` may have"),
        (features, {"signatures": "serving_uint8"}, "`signatures` may have"),
        (features, {"signatures": None}, "`signatures` may have.*in a list. Received: None"),
        (features, {"signatures": [["serving_uint8"]]}, "`signatures` may have"),
        (features, {"top_k": True}, "from 1 to the model's 3 classes. Received: True"),
        (features, {"output_name": "logits", "logits": True}, "Received: logits, logits"),
        (features, {"output_name": "class_id", "class_id": True}, "Received: class_id, class_id"),
        (features, {"output_name": "top_k_ids", "top_k": 1}, "Received: top_k_ids, top_k_ids, top_k_top_k_ids"),
        (features, {"output_name": "ids", "top_k": 1}, "choose another `output_name`. Received: ids, top_k_ids, top_k"),
        (two, {"class_id": True}, "for a model with one output"),
        (two, {"signatures": ["serving_uint8"]}, "for a model with one input"),
        (relu, {"logits": True}, "ends in a softmax or a sigmoid"),
        (features, {"details": {"classes": {1, 2}}}, "what JSON can hold"),
        (features, {"details": {"loss": float("nan")}}, "what JSON can hold"),
        (features, {"details": {"files": []}}, "The manifest itself says files"),
        (features, {"details": {"tolerance": 1, "backend": ""}}, "The manifest itself says backend, tolerance"),
        (features, {"details": ["a"]}, r"`details` must be a dictionary.*Received: \['a'\]"),
        (features, {"examples": np.zeros((0, 4))}, "at least 1"),
        (features, {"examples": np.zeros((2, 5))}, r"the input inputs .* \(None, 4\).*Received: the shape \(2, 5\)"),
        (features, {"examples": np.zeros(4)}, r"Received: the shape \(4,\)"),
        (features, {"examples": tf.data.Dataset.range(3)}, "Received: .*Dataset, which is no array of numbers"),
        (features, {"examples": [[1], [2, 3]]}, "Received: list, which is no array of numbers"),
        (features, {"examples": np.array([["a"] * 4])}, "Received: ndarray, which is no array of numbers"),
        (two, {"examples": tf.data.Dataset.range(2)}, "list or a dictionary of arrays for the inputs left, right"),
        (two, {"examples": {"left": pixels(2), "right": pixels(2)}}, r"the input right .* \(None, 4\)"),
        (two, {"examples": {"left": pixels(2)}}, "for the inputs left, right. Received: left"),
        (two, {"examples": [pixels(2)]}, "for the inputs left, right. Received 1 of them"),
        (two, {"examples": [pixels(2), np.zeros((3, 4))]}, "as many for each input"),
    ):
        with pytest.raises(ValueError, match=message):
            tf_reg.export(model, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists() or published(tmp_path / "m") == []


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
    expected = model.predict(images.astype("float32"), verbose=0)
    loaded = tf.saved_model.load(str(path)).signatures
    given = loaded["serving_uint8"](inputs=tf.constant(images))["probabilities"]
    np.testing.assert_allclose(given, expected, atol=1e-6)
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
    np.testing.assert_allclose(loaded["serving_bytes"](inputs=files)["probabilities"], expected, atol=1e-6)
    big = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    jpeg = [tf.io.encode_jpeg(image).numpy() for image in big]
    small = [np.rint(tf.image.resize(tf.io.decode_jpeg(content), (8, 8), antialias=True)) for content in jpeg]
    given = loaded["serving_bytes"](inputs=tf.constant(jpeg))["probabilities"]
    np.testing.assert_allclose(given, model.predict(np.stack(small), verbose=0), atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
        loaded["serving_bytes"](inputs=tf.constant([b"no image"]))


@pytest.mark.parametrize(
    "kind",
    ["LSTM", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("GRU", "SimpleRNN", "ConvLSTM1D", "cells"))],
)
def test_dropout_of_recurrent_layers_stays_behind(tmp_path, kind):
    rates = {"dropout": 0.3, "recurrent_dropout": 0.2}
    if kind == "cells":
        recurrent = layers.RNN([layers.LSTMCell(4, **rates), layers.GRUCell(4, **rates)])
    elif kind == "ConvLSTM1D":
        recurrent = layers.ConvLSTM1D(2, 2, **rates)
    else:
        recurrent = layers.Bidirectional(getattr(layers, kind)(4, **rates))
    shape = (5, 6, 2) if kind == "ConvLSTM1D" else (5, 3)
    ends = [layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input(shape), recurrent, *ends])
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    path = tf_reg.export(model, tmp_path / "m", examples=x)
    np.testing.assert_allclose(serve(path, x)["probabilities"], model.predict(x, verbose=0), atol=1e-5)
    cells = [layer for _, layer in layer_paths(model) if "recurrent_dropout" in vars(layer)]
    assert cells
    assert all((cell.dropout, cell.recurrent_dropout) == (0.3, 0.2) for cell in cells)
    model.export(tmp_path / "k" / "1", verbose=False)
    with pytest.raises(VerificationError, match=r"AssignVariableOp writes a variable|draws random numbers"):
        tf_reg.verify_saved_model(tmp_path / "k" / "1")


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


def test_the_manifest_says_what_it_is(tmp_path):
    model = classifier()
    details = {"classes": ["a", "b", "c"], "config": {"l2": 1e-4}, "metrics": {"test_accuracy": 0.9}}
    path = tf_reg.export(model, tmp_path / "m", details=details, class_id=True)
    said = json.loads((path / "assets.extra" / "tf_reg.json").read_text())
    assert {key: said[key] for key in details} == details
    assert said["name"] == "m"
    assert said["signatures"]["serving_default"]["inputs"] == {"inputs": {"dtype": "float32", "shape": [None, 8, 8, 1]}}
    assert said["signatures"]["serving_default"]["outputs"]["class_id"] == {"dtype": "int32", "shape": [None]}
    assert said["versions"] == {"tensorflow": tf.__version__, "keras": keras.__version__, "tf_reg": tf_reg.__version__}
    assert said["sparsity"]["total"]["weights"] == 8 * 8 * 16 + 16 * 3
    assert said["sparsity"]["total"]["sparsity"] == 0
    for name, file in said["files"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == file["sha256"]
    assert "variables/variables.index" in said["files"]
    assert "assets.extra/tf_serving_warmup_requests" in said["files"]


def test_details_with_numbers_as_names(tmp_path):
    manifest.write(tmp_path, {"classes": {10: "ten", 9: "nine"}, "scales": {0.5: (1, 2)}})
    said = manifest.read(tmp_path)
    assert said == {"classes": {"10": "ten", "9": "nine"}, "scales": {"0.5": [1, 2]}, "files": {}}


def test_warmup_requests_are_the_examples(tmp_path):
    model, x = classifier(), pixels(20)
    path = tf_reg.export(model, tmp_path / "flowers", examples=x, signatures=["serving_uint8"])
    records = list(warmup.read(path / warmup.FILE))
    assert [record.signature for record in records] == ["serving_default"] * 2 + ["serving_uint8"] * 2
    assert [len(record.inputs["inputs"]) for record in records] == [1, 8, 1, 8]
    np.testing.assert_array_equal(records[1].inputs["inputs"], x[:8])
    expected = model.predict(x[:8], verbose=0)
    np.testing.assert_allclose(records[1].outputs["probabilities"], expected, atol=1e-6)
    assert records[3].inputs["inputs"].dtype == np.uint8


def test_operations_for_cpus_alone_are_refused_unless_allowed(tmp_path):
    text = layers.Lambda(lambda x: tf.strings.to_number(tf.strings.as_string(x)), output_shape=(4,))
    model = keras.Sequential([keras.Input((4,)), text, layers.Dense(2, activation="softmax")])
    with pytest.raises(VerificationError, match=r"without a GPU kernel: AsString, StringToNumber.*gpu=False"):
        tf_reg.export(model, tmp_path / "m")
    assert published(tmp_path / "m") == []
    path = tf_reg.export(model, tmp_path / "m", gpu=False)
    assert tf_reg.verify_saved_model(path, gpu=False).cpu_only == ("AsString", "StringToNumber")
