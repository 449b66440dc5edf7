import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import classifier, pixels, published, serve
from tf_reg.serving import exporting
from tf_reg.serving.write import versions, warmup


@pytest.mark.parametrize("examples", [1, 2, 7])
def test_the_signature_computes_what_predict_does(tmp_path, examples):
    model = classifier()
    path = tf_reg.export(model, tmp_path / "m")
    outputs = serve(path, pixels(examples))
    assert list(outputs) == ["probabilities"]
    assert outputs["probabilities"].dtype == tf.float32
    np.testing.assert_allclose(outputs["probabilities"], model.predict(pixels(examples), verbose=0), atol=1e-6)
    np.testing.assert_array_equal(outputs["probabilities"], serve(path, pixels(examples))["probabilities"])


def test_the_signature_is_stable(tmp_path):
    signature = tf.saved_model.load(str(tf_reg.export(classifier(), tmp_path / "m"))).signatures["serving_default"]
    ((), inputs), outputs = signature.structured_input_signature, signature.structured_outputs
    assert inputs == {"inputs": tf.TensorSpec((None, 8, 8, 1), tf.float32, name="inputs")}
    assert outputs == {"probabilities": tf.TensorSpec((None, 3), tf.float32, name="probabilities")}


def test_weights_are_stored_once(tmp_path):
    model = keras.Sequential([keras.Input((300,)), layers.Dense(300), layers.Softmax()])
    path = tf_reg.export(model, tmp_path / "m")
    stored = sum(file.stat().st_size for file in (path / "variables").iterdir())
    assert stored < 1.05 * 4 * model.count_params() + 2**14


def test_mixed_precision_serves_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = classifier(dtype="float32")
    outputs = serve(tf_reg.export(model, tmp_path / "m"), pixels(2))["probabilities"]
    np.testing.assert_allclose(outputs, model.predict(pixels(2), verbose=0), atol=1e-2)
    assert outputs.dtype == tf.float32


def test_versions_count_up_and_are_never_touched(tmp_path):
    model, base = classifier(), tmp_path / "m"
    assert [tf_reg.export(model, base).name for _ in range(2)] == ["1", "2"]
    assert tf_reg.export(model, base, version=7).name == "7"
    before = {file: file.read_bytes() for file in base.rglob("*") if file.is_file()}
    assert len(before) > 20
    with pytest.raises(ValueError, match=r"Version 2 exists .* never overwritten"):
        tf_reg.export(model, base, version=2)
    assert tf_reg.export(model, base).name == "8"
    assert all(file.read_bytes() == content for file, content in before.items())
    assert published(base) == ["1", "2", "7", "8"]


def test_a_version_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    base, verify = tmp_path / "m", exporting._verify

    def slow_verify(*args):
        (base / "1").mkdir(exist_ok=True)
        (base / "1" / "theirs").touch()
        return verify(*args)

    monkeypatch.setattr(exporting, "_verify", slow_verify)
    assert tf_reg.export(classifier(), base).name == "2"
    assert [child.name for child in (base / "1").iterdir()] == ["theirs"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        tf_reg.export(classifier(), tmp_path / "m")
    assert published(tmp_path / "m") == []


def test_a_model_that_is_written_wrong_is_not_published(tmp_path, monkeypatch):
    model, write = classifier(), exporting._write

    def write_another(interface, path):
        before = model.layers[-1].get_weights()
        model.layers[-1].bias.assign([5.0, 0.0, 0.0])
        write(interface, path)
        model.layers[-1].set_weights(before)

    monkeypatch.setattr(exporting, "_write", write_another)
    with pytest.raises(RuntimeError, match=r"Nothing was published: .*differs from the model by"):
        tf_reg.export(model, tmp_path / "m")
    assert published(tmp_path / "m") == []


def test_while_a_version_is_written_no_integer_name_shows(tmp_path, monkeypatch):
    seen, verify = [], exporting._verify

    def watching(*args):
        seen.extend(child.name for child in (tmp_path / "m").iterdir())
        return verify(*args)

    monkeypatch.setattr(exporting, "_verify", watching)
    tf_reg.export(classifier(), tmp_path / "m")
    assert len(seen) == 1
    assert not seen[0].isdecimal()


@pytest.mark.parametrize("wrap", [lambda i: i, lambda i: [i], lambda i: {"a": i}])
def test_one_input_in_any_structure(tmp_path, wrap):
    inputs = keras.Input((2,), name="a")
    model = keras.Model(wrap(inputs), layers.Dense(2, activation="softmax")(inputs))
    x = np.ones((4, 2), "float32")
    outputs = serve(tf_reg.export(model, tmp_path / "m"), x)["probabilities"]
    np.testing.assert_allclose(outputs, model.predict(wrap(x), verbose=0), atol=1e-6)


def test_examples_of_its_own(tmp_path):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Embedding(10, 4), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    with pytest.raises(ValueError, match="pass `examples` that it can"):
        tf_reg.export(model, tmp_path / "m")
    x = np.random.default_rng(0).integers(0, 10, (6, 5)).astype("float32")
    assert serve(tf_reg.export(model, tmp_path / "m", examples=x), x)["probabilities"].shape == (6, 2)


def test_lookup_layers_are_refused(tmp_path):
    words = layers.IntegerLookup(vocabulary=[3, 5])
    model = keras.Sequential([keras.Input((1,), dtype="int64"), words, layers.Embedding(4, 2)])
    with pytest.raises(ValueError, match=r"Received the layers integer_lookup.* look the words up in the client"):
        tf_reg.export(model, tmp_path / "m")


@pytest.mark.parametrize("name", ["", "a-b", "my input", "self", 3, None])
def test_names_are_identifiers(tmp_path, name):
    with pytest.raises(ValueError, match="`input_name` must be a name"):
        tf_reg.export(classifier(), tmp_path, input_name=name)
    with pytest.raises(ValueError, match="`output_name` must be a name"):
        tf_reg.export(classifier(), tmp_path, output_name=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["class", "from", "None"])
def test_inputs_are_parameters(tmp_path, name):
    with pytest.raises(ValueError, match="`input_name` must be a name"):
        tf_reg.export(classifier(), tmp_path, input_name=name)
    path = tf_reg.export(classifier(), tmp_path / "m", output_name=name)
    assert list(serve(path, pixels(1))) == [name]


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, 2**63])
def test_bad_versions(tmp_path, version):
    with pytest.raises(ValueError, match="must be a positive integer"):
        tf_reg.export(classifier(), tmp_path, version=version)


def test_logits_are_no_probabilities(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    with pytest.raises(ValueError, match=r"aren't probabilities.*`output_name`"):
        tf_reg.export(model, tmp_path / "m")
    path = tf_reg.export(model, tmp_path / "m", input_name="features", output_name="logits")
    assert list(serve(path, np.ones((2, 4), "float32"), "features")) == ["logits"]


def nested(outputs):
    """A model of a model with several outputs, in their structure."""
    inputs = keras.Input((2,))
    inner = keras.Model(inputs, outputs(inputs))
    return keras.Sequential([keras.Input((2,)), inner])


def several(*names, structure=list):
    """A model that adds its inputs up."""
    inputs = [keras.Input((2,), name=str(name)) for name in names]
    given = inputs if structure is list else structure(zip(names, inputs, strict=True))
    return keras.Model(given, layers.Add()(inputs))


REFUSED = {
    "no names": (lambda: several("keras_tensor", "b"), r"names that stay.*keras_tensor.*keras.Input\(shape, name="),
    "keyword": (lambda: several("class", "b"), "inputs need names that stay.*Received: class, b"),
    "self": (lambda: several("self", "b"), "inputs need names that stay.*Received: self, b"),
    "no input": (lambda: keras.Sequential([layers.Dense(1)]), r"0 inputs.*keras.Input\(shape\)"),
    "sequence": (lambda: nested(lambda x: {"p": layers.Dense(1)(x), "q": x}), r"one output.*with 2\..*model\(inputs\)"),
    "nothing": (lambda: None, "one of Keras. Received: None"),
    "layer": (lambda: layers.Dense(1), "one of Keras. Received: <Dense"),
    "strings": (lambda: keras.Sequential([keras.Input((), dtype="string"), layers.Identity()]), "must be numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_models_that_it_does_not_export_are_refused(tmp_path, kind):
    make, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        tf_reg.export(make(), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_keys_are_names(tmp_path):
    with pytest.raises(ValueError, match=r"inputs need names that stay.*Received: 1, 2"):
        tf_reg.export(several(1, 2, structure=dict), tmp_path / "m")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, {3: layers.Dense(1)(inputs), "a": layers.Dense(1)(inputs)})
    with pytest.raises(ValueError, match=r"outputs need names that stay.*Received: 3, a"):
        tf_reg.export(model, tmp_path / "m")


def test_addresses_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("gs://bucket/m", Path("s3://bucket/m"), "file:///m"):
        with pytest.raises(ValueError, match="must be a local one: export there, and copy it"):
            tf_reg.export(classifier(), folder)
    assert list(tmp_path.iterdir()) == []
    assert versions.local("a:b") == Path("a:b")


def test_everybody_may_read_a_version(tmp_path):
    before = os.umask(0o077)
    try:
        path = tf_reg.export(classifier(), tmp_path / "models" / "m")
    finally:
        os.umask(before)
    made = [path.parents[1], *path.parents[1].rglob("*")]
    assert len(made) > 12
    assert [file for file in made if file.stat().st_mode & 0o777 != (0o755 if file.is_dir() else 0o644)] == []


def test_a_link_has_a_name_of_its_own(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "flowers").symlink_to(tmp_path / "disk")
    path = tf_reg.export(classifier(), tmp_path / "flowers")
    assert json.loads((path / "assets.extra" / "tf_reg.json").read_text())["name"] == "flowers"
    assert b"disk" not in (path / warmup.FILE).read_bytes()


def test_next_versions(tmp_path):
    assert versions.next_version(tmp_path) == 1
    for name in ("2", "07", ".withdrawn-9", ".withdrawn-x", ".writing-50", "60x", "\u0667", str(2**63)):
        (tmp_path / name).mkdir()
    assert versions.versions(tmp_path) == [2, 7]
    assert versions.next_version(tmp_path) == 10
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(ValueError, match=r"up to 9223372036854775807.*Received: 9223372036854775808"):
        versions.next_version(tmp_path)


def test_new_files_without_hard_links(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert versions.write_new(tmp_path / "a", "one")
    assert not versions.write_new(tmp_path / "a", "two")
    assert versions.write_new(tmp_path / "a", "three", replace=True)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "three"}
    monkeypatch.setattr(versions, "_make_readable", lambda path: path.name == "b" and refuse())
    with pytest.raises(PermissionError):
        versions.write_new(tmp_path / "b", "one")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


class Failing(layers.Layer):
    """Fails with a message, or without a word, once there are examples."""

    def __init__(self, message):
        super().__init__()
        self.message = message

    def call(self, x):
        raise RuntimeError(self.message)

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(("message", "words"), [("", "RuntimeError"), ("\nIt is full.\nMore", r"It is full\.")])
def test_why_a_model_can_not_take_the_examples(tmp_path, message, words):
    model = keras.Sequential([keras.Input((2,)), Failing(message)])
    with pytest.raises(ValueError, match=rf"pass `examples` that it can: {words}$"):
        tf_reg.export(model, tmp_path / "m")
