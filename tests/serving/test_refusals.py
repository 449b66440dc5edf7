"""A refused export names the layer and the way out, whatever was raised and wherever."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_reg
from tests.exports import published
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write.watch import Watch, cause

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


class Calling(layers.Layer):
    """Calls a function of tensors that have values, or that have none yet in a graph."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def needs_values(x):
    return x * float(np.asarray(x).mean())


def needs_a_size(x):
    if x.shape[0] is None:
        raise AssertionError
    return x


def needs_three(x):
    return ops.reshape(ops.reshape(x, (3, -1)), ops.shape(x))


def fails(x):
    raise ZeroDivisionError("There is nothing to share.")


def changes_in_a_graph(x):
    return x * (2.0 if tf.executing_eagerly() else 3.0)


def runs_python(x):
    return tf.ensure_shape(tf.numpy_function(np.negative, [x], tf.float32), x.shape)


CASES = {  # the function, the error, and what is said of it
    "values": (needs_values, ValueError, "can't be written as a graph .*NumPy.*use keras.ops alone"),
    "a size": (needs_a_size, ValueError, r"can't be written as a graph .*: AssertionError\. In a graph"),
    "three": (needs_three, ValueError, "can't take a batch of 1, .*let every `call` take any"),
    "fails": (fails, ValueError, r"can't take the examples, .*: There is nothing to share\. Pass `examples`"),
    "differs": (changes_in_a_graph, VerificationError, "differs from the model by .*which do the same in a graph"),
    "python": (runs_python, VerificationError, "EagerPyFunc has state|PyFunc has state.*A server runs no Python"),
    "infinite": (lambda x: x / 0.0, VerificationError, "is NaN or infinite.*Its inputs are finite"),
    "the batch": (lambda x: x - ops.mean(x, 0), VerificationError, "depends on the other.*every example on its own"),
    "xla": (tf.function(lambda x: 2 * x, jit_compile=True), VerificationError, "needs XLA.*`jit_compile` out"),
    "random": (
        lambda x: x + tf.random.normal([4]),
        VerificationError,
        "draws random numbers at .*training=True` alone",
    ),
}
PLAIN = ("a size", "differs", "the batch")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=() if k in PLAIN else pytest.mark.slow) for k in CASES])
def test_the_layer_and_the_way_out(tmp_path, kind):
    function, error, message = CASES[kind]
    inner = keras.Sequential([keras.Input((5, 4)), layers.Dense(4), Calling(function, name="mine")], name="body")
    model = keras.Sequential([keras.Input((5, 4)), inner, layers.Flatten(), layers.Dense(2, activation="softmax")])
    with pytest.raises(error, match=message) as caught:
        tf_reg.export(model, tmp_path / "m", examples=X, gpu=False)
    said = str(caught.value)
    assert "the layer 'body/mine' (Calling)" in said
    assert "\n" not in said
    assert ".writing-" not in said
    assert published(tmp_path / "m") == [] if (tmp_path / "m").exists() else True


def test_nan_is_not_taken_for_a_missing_softmax(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2, activation="softmax", name="end")])
    model.get_layer("end").bias.assign([0.0, np.nan])
    with pytest.raises(VerificationError, match=r"NaN or infinite.* the layer 'end' \(Dense\)"):
        tf_reg.export(model, tmp_path / "m")


def test_layers_with_states(tmp_path):
    ends = [layers.Bidirectional(layers.GRU(3, stateful=True), name="both"), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((5, 4), batch_size=3), *ends])
    with pytest.raises(ValueError, match=r"'both/forward_gru', 'both/backward_gru' with stateful=True\. Build the "):
        tf_reg.export(model, tmp_path / "m", examples=X)


def test_a_wrong_graph_comes_before_a_missing_kernel(tmp_path):
    """What lacks a GPU kernel and computes something else isn't mended by a server on CPUs."""
    text = Calling(
        lambda x: x * tf.strings.to_number(tf.strings.as_string(2.0 + tf.cast(tf.executing_eagerly(), "float32")))
    )
    model = keras.Sequential([keras.Input((5, 4)), text, layers.Flatten(), layers.Dense(2, activation="softmax")])
    with pytest.raises(VerificationError, match="differs from the model"):
        tf_reg.export(model, tmp_path / "m", examples=X)


class Mending(layers.Layer):
    """Goes on where the layer in it fails."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = Calling(fails)

    def call(self, x):
        try:
            return self.inner(x)
        except ZeroDivisionError:
            return x


@pytest.mark.contract
def test_the_layer_at_work_is_known():
    model = keras.Sequential([keras.Input((4,)), Mending(name="mending"), Calling(ops.negative, name="last")])
    watch = Watch(model)
    with watch.watching():
        model(np.ones((2, 4), "float32"))
    assert (watch.failed, watch.where) == (None, ", behind the layer 'last' (Calling)")
    model.layers[-1].function = fails
    with pytest.raises(ZeroDivisionError), watch.watching():
        model(np.ones((2, 4), "float32"))
    assert watch.where == ", in the layer 'last' (Calling)"
    assert "call" not in vars(model.layers[-1])


def test_the_cause_in_a_message():
    keras_says = (
        "<class 'A'> could not be deserialized properly.\nconfig={}.\n\nException encountered: No class 'B'.\nMore"
    )
    assert cause(keras_says) == "No class 'B'."
    assert cause("Exception encountered when calling X.call().\n\n\x1b[1mShapes differ:\n2 and 3\x1b[0m") == (
        "Shapes differ: 2 and 3."
    )
    autograph_says = (
        'in user code:\n\n    File "x.py", line 3, in count  *\n        return f(x)\n\n    ValueError: Too long.\n'
    )
    assert cause(autograph_says) == "ValueError: Too long."
    assert cause("") == ""
