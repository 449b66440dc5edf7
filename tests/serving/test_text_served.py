"""A classifier of texts, trained by a few lines, is asked with raw strings: the C API, REST, gRPC and the command."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.servers import stand_in
from tests.tools import on_tensorflow, require_module
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api

pytestmark = [pytest.mark.slow, on_tensorflow("strings take TensorFlow")]

GOOD = ["a good film", "great, great fun!", "I love this one", "what a wonderful story", "so good"]
BAD = ["a bad film", "boring and bad", "I hate this one", "what an awful story", "so bad..."]
NEW = ["Good fun!", "AWFUL, boring film", "", "never seen 東京", "I love this\nwonderful film " * 40]


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    texts, labels = np.array(GOOD + BAD, object), np.repeat([0, 1], 5)
    words = layers.TextVectorization(max_tokens=50, output_sequence_length=8)
    words.adapt(texts)
    body = [layers.Embedding(50, 8), layers.GlobalAveragePooling1D()]
    model = keras.Sequential([keras.Input((), dtype="string"), words, *body, layers.Dense(2, "softmax")])
    inner = keras.Sequential(model.layers[1:])  # the words are looked up once, not in every step
    inner.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    inner.fit(words(texts), labels, epochs=20, verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    details = {"classes": ["good", "bad"]}
    tf_reg.export(trained, folder / "reviews", examples=np.array([*GOOD, *BAD, *NEW], object), details=details)
    return folder


@pytest.fixture(scope="module")
def expected(trained):
    import tensorflow as tf

    found = np.asarray(trained(tf.constant(NEW), training=False))
    assert found[0, 0] > 0.8
    assert found[1, 1] > 0.8
    assert np.ptp(found[:, 0]) > 0.5
    return found


def encoded(texts):
    return np.array([text.encode() for text in texts], object)


def test_the_loader_of_tensorflow_serving(folder, expected):
    path = folder / "reviews/1"
    signature = saved_graph.signatures(saved_graph.load(path))["serving_default"]
    names = [signature.outputs["probabilities"].name]
    texts = encoded(NEW)
    runs = [c_api.Run({signature.inputs["inputs"].name: part}, names) for part in (texts, texts[:1], texts[3:])]
    whole, first, last = (found for [found] in c_api.run_apart(path, runs))
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(first, expected[:1], atol=1e-5)
    np.testing.assert_allclose(last, expected[3:], atol=1e-5)


@pytest.fixture(scope="module")
def served(folder):
    require_module("tensorflow_serving", "serving")
    with stand_in(folder) as running:
        yield running


@pytest.mark.parametrize("kind", ["columns", "rows", "grpc"])
def test_raw_strings_over_the_wire(served, expected, kind):
    with contextlib.closing(served.client(kind, "reviews")) as client:
        found = client.predict("serving_default", {"inputs": encoded(NEW)})["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("flags", [(), ("--grpc",)])
def test_the_command_reads_texts(served, expected, command, tmp_path, flags):
    (tmp_path / "new.txt").write_text("\n".join(NEW[:4]) + "\n", encoding="utf-8")
    (tmp_path / "classes.txt").write_text("good\nbad\n")
    port = served.grpc if flags else served.rest
    words = ("new.txt", "--model", "reviews", "--classes", "classes.txt", "--port", port, *flags)
    code, said, error = command("predict", *words)
    assert (code, error) == (0, "")
    best = expected[:4].argmax(axis=1)
    assert said.splitlines() == [
        f"new.txt[{row}]  {['good', 'bad'][best[row]]}  {expected[row, best[row]]:.4f}" for row in range(4)
    ]
