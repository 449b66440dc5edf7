"""`verify_saved_model` on graphs that no server can use, though their files are whole."""

import re

import keras
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import classifier
from tf_reg.serving.verify.verification import VerificationError


def test_keras_own_export_is_refused(tmp_path):
    classifier().export(tmp_path / "random", verbose=False)
    with pytest.raises(VerificationError, match="serving_default: StatelessRandomUniformV2 draws random numbers"):
        tf_reg.verify_saved_model(tmp_path / "random")
    keras.Sequential([keras.Input((100,)), layers.Dense(100)]).export(tmp_path / "twice", verbose=False)
    with pytest.raises(VerificationError, match=r"for 40,400 bytes of weights, more than .* stored twice"):
        tf_reg.verify_saved_model(tmp_path / "twice")


def saved(path, functions, shape, module=None):
    """A SavedModel of functions of one tensor, by the names of their signatures."""
    x = tf.TensorSpec(shape, "float32", name="x")
    made = {name: tf.function(function).get_concrete_function(x) for name, function in functions.items()}
    tf.saved_model.save(module or tf.Module(), str(path), signatures=made)
    return path


GRAPHS = {  # what the graph alone shows, one signature each
    "random": (lambda x: {"y": x + tf.random.uniform([3])}, "RandomUniform draws random numbers"),
    "stateless": (lambda x: {"y": x + tf.random.stateless_normal([3], [1, 2])}, "[^;]* draws random numbers"),
    "inside": (lambda x: {"y": tf.map_fn(lambda row: row + tf.random.normal([3]), x)}, "[^;]* draws random numbers"),
    "xla": (lambda x: {"y": tf.function(lambda z: 2 * z, jit_compile=True)(x)}, "[^;]*needs XLA"),
    "half": (lambda x: {"y": tf.cast(x, "float16")}, "y is float16, which the server's JSON lacks"),
}


def test_graphs_that_a_server_can_not_use(tmp_path):
    functions = {name: function for name, (function, _) in GRAPHS.items()} | {"serving_default": lambda x: {"y": x}}
    with pytest.raises(VerificationError) as caught:
        tf_reg.verify_saved_model(saved(tmp_path, functions, (None, 3)))
    for name, (_, message) in GRAPHS.items():
        assert re.search(f"{name}: {message}", str(caught.value)), name
    assert "serving_default: " not in str(caught.value)


ANSWERS = {  # what shows when it runs, or of the signature that is the default
    "batch statistics": (lambda x: {"y": x - tf.reduce_mean(x, 0)}, "depends on the other examples of its batch"),
    "no batch axis": (lambda x: {"y": tf.reduce_sum(x)}, "has no batch axis"),
    "for CPUs": (lambda x: {"y": tf.strings.to_number(tf.strings.as_string(x))}, "without a GPU kernel: AsString"),
    "time": (lambda x: {"y": x + tf.cast(tf.timestamp() * 1e6 % 1e6, "float32")}, "Timestamp has state|differs when"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_that_a_server_must_not_give(tmp_path, kind):
    function, message = ANSWERS[kind]
    with pytest.raises(VerificationError, match=message):
        tf_reg.verify_saved_model(saved(tmp_path, {"serving_default": function}, (None, 3)))


def test_writes_and_fixed_batches(tmp_path):
    module = tf.Module()
    module.count = tf.Variable(0.0)

    def count(x):
        return {"y": x + module.count.assign_add(1.0)}

    with pytest.raises(VerificationError, match="AssignAddVariableOp writes a variable"):
        tf_reg.verify_saved_model(saved(tmp_path / "1", {"serving_default": count}, (None, 3), module=module))
    with pytest.raises(VerificationError, match="the batch size of x is fixed"):
        tf_reg.verify_saved_model(saved(tmp_path / "2", {"serving_default": lambda x: {"y": x}}, (4, 3)))
