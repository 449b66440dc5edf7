import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import classifier, pixels, predicted, serve, small
from tf_reg.serving.verify import apart, c_api
from tf_reg.serving.write import versions


@pytest.mark.usefixtures("apart")
def test_a_new_version_is_verified_in_a_process_of_its_own(tmp_path, monkeypatch):
    commands, run = [], subprocess.run

    def watched(command, **options):
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", watched)
    assert tf_reg.export(small(), tmp_path / "m").name == "1"
    assert commands == [[sys.executable, "-P", apart.__file__, c_api.__file__]]


def test_the_signature_computes_what_predict_does(plain_export):
    model, path, _ = plain_export
    for examples in (1, 2, 7):
        outputs = serve(path, pixels(examples))
        assert list(outputs) == ["probabilities"]
        assert outputs["probabilities"].dtype == tf.float32
        expected = model.predict(pixels(examples), verbose=0)
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)
        np.testing.assert_array_equal(outputs["probabilities"], serve(path, pixels(examples))["probabilities"])


def test_the_signature_is_stable(plain_export):
    signature = tf.saved_model.load(str(plain_export.path)).signatures["serving_default"]
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
    np.testing.assert_allclose(outputs, predicted(model, pixels(2)), atol=1e-2)
    assert outputs.dtype == tf.float32


@pytest.mark.parametrize("wrap", [lambda i: i, lambda i: [i], lambda i: {"a": i}])
def test_one_input_in_any_structure(tmp_path, wrap):
    inputs = keras.Input((2,), name="a")
    model = keras.Model(wrap(inputs), layers.Dense(2, activation="softmax")(inputs))
    x = np.ones((4, 2), "float32")
    outputs = serve(tf_reg.export(model, tmp_path / "m"), x)["probabilities"]
    np.testing.assert_allclose(outputs, predicted(model, wrap(x)), atol=1e-6)


def test_examples_of_its_own(tmp_path):
    model = keras.Sequential(
        [keras.Input((5,)), layers.Embedding(10, 4), layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    with pytest.raises(ValueError, match="Pass `examples` that it can take"):
        tf_reg.export(model, tmp_path / "m")
    x = np.random.default_rng(0).integers(0, 10, (6, 5)).astype("float32")
    assert serve(tf_reg.export(model, tmp_path / "m", examples=x), x)["probabilities"].shape == (6, 2)


def test_numbers_are_looked_up_on_a_cpu(tmp_path):
    words = layers.IntegerLookup(vocabulary=[3, 5], output_mode="one_hot")
    model = keras.Sequential([keras.Input((1,), dtype="int64"), words, layers.Dense(2, "softmax")])
    x = np.array([[3], [5], [2**40], [3]])
    path = tf_reg.export(model, tmp_path / "m", examples=x, gpu=False)
    np.testing.assert_allclose(serve(path, x)["probabilities"], predicted(model, x), atol=1e-6)
    if tf_reg.verify_saved_model(path, gpu=False).cpu_only is not None:
        with pytest.raises(RuntimeError, match=r"without a GPU kernel: .*the layer 'integer_lookup"):
            tf_reg.export(model, tmp_path / "m", examples=x)


def test_names_are_identifiers(tmp_path):
    model = small()
    for name in ("", "a-b", "my input", "self", 3, None):
        with pytest.raises(ValueError, match="`input_name` must be a name"):
            tf_reg.export(model, tmp_path, input_name=name)
        with pytest.raises(ValueError, match="`output_name` must be a name"):
            tf_reg.export(model, tmp_path, output_name=name)


def test_inputs_are_parameters(tmp_path):
    model = small()
    for name in ("class", "from", "None"):
        with pytest.raises(ValueError, match="`input_name` must be a name"):
            tf_reg.export(model, tmp_path, input_name=name)
    path = tf_reg.export(model, tmp_path / "m", output_name="class")
    assert list(serve(path, np.ones((1, 4), "float32"))) == ["class"]


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
    "strings": (
        lambda: keras.Sequential([keras.Input((), dtype="string"), layers.Identity()]),
        "outputs must be numbers",
    ),
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
            tf_reg.export(small(), folder)
    assert list(tmp_path.iterdir()) == []
    assert versions.local("a:b") == Path("a:b")


class Failing(layers.Layer):
    """Fails with a message, or without a word, once there are examples."""

    def __init__(self, message):
        super().__init__()
        self.message = message

    def call(self, x):
        raise RuntimeError(self.message)

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(("message", "words"), [("", r"RuntimeError\."), ("\nIt is full.\nMore", r"It is full\.")])
def test_why_a_model_can_not_take_the_examples(tmp_path, message, words):
    model = keras.Sequential([keras.Input((2,)), Failing(message)])
    with pytest.raises(ValueError, match=rf", in the layer 'failing' \(Failing\): {words} Pass `ex"):
        tf_reg.export(model, tmp_path / "m")
