"""Models that take strings: the SavedModel, by TensorFlow's C API, on raw columns, beside what the model predicts."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api
from tf_reg.serving.verify.c_api import Run

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strings take TensorFlow")


def rows():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(80) < 0.2, np.nan, rng.normal(size=80))
    words = rng.choice(["Köln", "東京", "", "a b\n'\"\x00c"], 80).astype(object)
    return {"Größe": x, "Stadt": words, "year": np.arange(80.0), "price": rng.normal(size=80)}


@pytest.fixture(scope="module")
def table():
    return tf_reg.read_table(rows(), "price")


@pytest.fixture(scope="module")
def model(table):
    keras.utils.set_random_seed(0)
    features = tf_reg.column_features(table)
    x = layers.Dense(8, "relu")(features.outputs)
    return keras.Model(features.inputs, layers.Dense(1, name="price")(x))


@pytest.fixture(scope="module")
def version(model, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("strings") / "m"
    return tf_reg.export(model, folder, output_name="price", examples=table.x)


STRANGE = {
    "Größe": [np.nan, 0.5, np.nan, -1e6, 3e38, 0.0],
    "Stadt": ["never seen", "", "東京", "Koln", "x" * 10_000, "a b\n'\"\x00c"],
    "year": [0.0, np.nan, 7.0, 1.0, 1.0, -5.0],
}


def test_the_saved_model_equals_predict_on_raw_columns(version, model, table, apart):
    """An unseen category, an empty string, NaN, UTF-8: through the loader of TensorFlow Serving."""
    more = table.read(STRANGE)
    signature = saved_graph.signatures(saved_graph.load(version))["serving_default"]
    assert {name: tensor.dtype for name, tensor in signature.inputs.items()} == {
        "Grosse": "float32", "Stadt": "string", "year": "float32",
    }  # fmt: skip
    raw = {
        "Grosse": np.array(STRANGE["Größe"], "float32")[:, None],
        "Stadt": np.array([word.encode() for word in STRANGE["Stadt"]], object)[:, None],
        "year": np.array(STRANGE["year"], "float32")[:, None],
    }
    feeds = {signature.inputs[name].name: array for name, array in raw.items()}
    [[found]] = c_api.run_apart(version, [Run(feeds, [signature.outputs["price"].name])])
    expected = model.predict(more.x, verbose=0)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(expected)) == len(expected)


@pytest.mark.parametrize("kind", ["str", "bytes", "tensors", "list"])
def test_examples_of_strings(kind, version, model, table):
    x = {name: np.asarray(value)[:3] for name, value in table.x.items()}
    texts = [value.decode() for value in x["Stadt"].ravel()]
    x["Stadt"] = {
        "str": np.array(texts)[:, None],
        "bytes": np.array([text.encode() for text in texts], object)[:, None],
        "tensors": table.x["Stadt"][:3],
        "list": [[text] for text in texts],
    }[kind]
    found = tf_reg.verify_saved_model(version, model, x)
    assert found.compared >= 3
    assert found.difference < 1e-5


def test_made_up_strings(model, tmp_path):
    path = tf_reg.export(model, tmp_path / "m", output_name="price")
    assert tf_reg.verify_saved_model(path).requests == 2


@pytest.mark.parametrize("words", [np.array([[1.0]]), np.array(["a"], object), np.array([[None]], object)])
def test_examples_that_are_no_strings(words, model):
    given = {"Grosse": np.zeros((1, 1)), "year": np.zeros((1, 1)), "Stadt": words}
    with pytest.raises(ValueError, match=r"Stadt must be an array of strings.*an empty string"):
        tf_reg.export(model, "m", output_name="price", examples=given)


def test_a_model_that_knows_another_category_is_told_from_the_saved_one(version, model, table):
    renamed = rows()
    renamed["Stadt"] = np.array([one.replace("東京", "大阪") for one in renamed["Stadt"]], object)
    features = tf_reg.column_features(tf_reg.read_table(renamed, "price"))
    x = layers.Dense(8, "relu")(features.outputs)
    other = keras.Model(features.inputs, layers.Dense(1, name="price")(x))
    other.set_weights(model.get_weights())
    with pytest.raises(RuntimeError, match="differs from the model"):
        tf_reg.verify_saved_model(version, other, table.x)


def test_outputs_of_strings_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((1,), dtype="string"), layers.Identity()])
    with pytest.raises(ValueError, match=r"outputs must be numbers\. Received strings"):
        tf_reg.export(model, tmp_path / "m")


TEXTS = np.array(["Good film!", "bad, bad film", "a good   one", "Öl und 東京"], object)


def text_vectorization(tmp_path):
    layer = layers.TextVectorization(output_sequence_length=4)
    layer.adapt(TEXTS)
    return layer, (), layers.Embedding(20, 3, mask_zero=True), layers.GRU(2)


def vocabulary_in_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("good\nbad\n東京\n")
    return layers.StringLookup(vocabulary=str(tmp_path / "words.txt"), output_mode="one_hot"), (1,)


def hashing(tmp_path):
    return layers.Hashing(5, salt=[1, 2], output_mode="one_hot"), (1,)


@pytest.mark.parametrize(
    "kind", [text_vectorization, *(pytest.param(k, marks=pytest.mark.slow) for k in (vocabulary_in_a_file, hashing))]
)
def test_layers_of_words_are_exported(kind, tmp_path, apart):
    """What runs on the CPU alone is named, and no reason to refuse: strings lie there."""
    first, shape, *more = kind(tmp_path)
    model = keras.Sequential([keras.Input(shape, dtype="string"), first, *more, layers.Dense(2, "softmax")])
    words = TEXTS.reshape(4, *shape)
    path = tf_reg.export(model, tmp_path / "m", examples=words)
    (tmp_path / "words.txt").unlink(missing_ok=True)  # the version has its own copy
    moved = path.rename(tmp_path / "9")
    found = tf_reg.verify_saved_model(moved, model, np.array([*words[::-1], *words[:1]], object))
    assert found.difference < 1e-6
    assert found.cpu_only is None or set(found.cpu_only) & {
        "StringLower",
        "LookupTableFindV2",
        "StringToHashBucketStrong",
    }


def test_an_adapted_look_up_is_exported_too(tmp_path):
    lookup = layers.StringLookup(output_mode="one_hot")
    lookup.adapt(np.array(["a", "b", "b"]))
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, layers.Dense(2, "softmax")])
    words = np.array([["a"], ["b"], ["?"]], object)
    path = tf_reg.export(model, tmp_path / "m", examples=words)
    assert tf_reg.verify_saved_model(path, model, words).compared >= 3
