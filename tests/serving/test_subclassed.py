"""A subclassed model is exported as it is: what it takes is said by examples or by a signature."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.exports import predicted, published, serve
from tf_reg import _keras
from tf_reg.serving.verify.verification import VerificationError

X = np.random.default_rng(0).normal(size=(5, 6, 4)).astype("float32")


class Reader(keras.Model):
    """Reads a sequence; does in its own `call` what a function says."""

    def __init__(self, function=None):
        super().__init__()
        self.rnn, self.drop, self.end = layers.GRU(3), layers.Dropout(0.5), layers.Dense(2, "softmax")
        self.function, self.seen = function, []
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x, training=False):
        self.seen.append(ops.shape(x))
        x = x if self.function is None else self.function(self, x)
        return self.end(self.drop(self.rnn(x), training=training))


class Two(keras.Model):
    """Takes a dictionary, or a list, of two inputs, and gives two outputs."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        left, right = (inputs["left"], inputs["right"]) if isinstance(inputs, dict) else inputs
        return {"sum": left + 2 * right, "code": self.dense(left)}


def built(model, *inputs):
    model(*(inputs or (X,)))
    return model


def everything_of(model):
    """The names and contents of all attributes of a model and the layers in it, and its variables."""
    places = _keras.sublayers(model)
    attributes = [
        {name: (id(v), len(v) if hasattr(v, "__len__") else 0) for name, v in vars(p).items()} for p in places
    ]
    return attributes, [ops.convert_to_numpy(v).tolist() for v in model.variables]


def test_examples_say_what_it_takes(tmp_path):
    model = built(Reader())
    before = everything_of(model)
    path = tf_reg.export(model, tmp_path / "m", examples=X, class_id=True)
    assert everything_of(model) == before
    np.testing.assert_allclose(serve(path, X[:2])["probabilities"], predicted(model, X[:2]), atol=1e-6)
    before = everything_of(model)
    assert tf_reg.verify_saved_model(path, model, X).difference < 1e-6
    assert everything_of(model) == before


def test_a_signature_with_a_free_length(tmp_path):
    model = built(Reader())
    spec = keras.InputSpec(shape=(None, None, 4), dtype="float32")
    path = tf_reg.export(model, tmp_path / "m", examples=X, input_signature=spec)
    for length in (1, 9):
        x = np.resize(X, (2, length, 4)).astype("float32")
        np.testing.assert_allclose(serve(path, x)["probabilities"], predicted(model, x), atol=1e-6)


@pytest.mark.slow
def test_several_inputs(tmp_path):
    left, right = X[:, 0], X[:, 1]
    model = built(Two(), {"left": left, "right": right})
    given = {"left": left, "right": right}
    path = tf_reg.export(model, tmp_path / "dictionary", examples=given)
    assert tf_reg.verify_saved_model(path, model, given).compared == 11
    model = built(Two(), [left, right])
    signature = [keras.Input((4,), name="left"), keras.Input((4,), name="right")]
    path = tf_reg.export(model, tmp_path / "list", examples=[left, right], input_signature=signature)
    assert tf_reg.verify_saved_model(path).requests == 2
    with pytest.raises(ValueError, match="compared by their names"):
        tf_reg.verify_saved_model(path, model, [left, right])


def fails(model, x):
    raise ZeroDivisionError("There is nothing to share.")


def counts(model, x):
    model.count.assign(model.count + 1)
    return x


def mixes(model, x):
    return x - ops.mean(x, axis=0)


def grows(model, x):
    return x * (x.shape[1] or 6)


REFUSED = {
    "fails": (fails, ValueError, r"in the layer 'reader\w*' \(Reader\): There is nothing to share\."),
    "counts": (counts, VerificationError, r"writes a variable.*the layer 'reader\w*' \(Reader\)"),
    "mixes": (mixes, VerificationError, r"depends on the other examples.*the layer 'reader\w*"),
    "grows": (grows, VerificationError, r"^[^;]*examples of another length: .*differs from.*the layer 'reader\w*"),
}


@pytest.mark.parametrize(
    "kind", ["fails", "grows", *(pytest.param(k, marks=pytest.mark.slow) for k in ("counts", "mixes"))]
)
def test_a_refusal_names_the_layer_and_changes_nothing(tmp_path, kind):
    function, error, message = REFUSED[kind]
    model = built(Reader())
    model.function = function
    before = everything_of(model)
    spec = keras.InputSpec(shape=(None, None, 4))
    with pytest.raises(error, match=message) as caught:
        tf_reg.export(model, tmp_path / "m", examples=X, input_signature=spec)
    assert "\n" not in str(caught.value)
    assert everything_of(model) == before
    assert not (tmp_path / "m").exists() or published(tmp_path / "m") == []


def test_what_it_takes_must_be_known(tmp_path):
    functional = keras.Sequential([keras.Input((4,)), layers.Dense(2, "softmax")])
    for model, options, message in (
        (Reader(), {"examples": X}, "must be built. Received: 'reader.*no weights yet"),
        (built(Reader()), {}, "doesn't know what it takes.*Pass `examples`, or an `input_signature` such as"),
        (built(Reader()), {"input_signature": keras.InputSpec(shape=())}, "with the batch first"),
        (built(Reader()), {"input_signature": "images"}, "with the batch first. Received: 'images'"),
        (built(Reader()), {"input_signature": keras.InputSpec(shape=(None, 3))}, "can't be called on the inputs"),
        (functional, {"input_signature": keras.InputSpec(shape=(None, 4))}, "has its own. Received: InputSpec"),
    ):
        with pytest.raises(ValueError, match=message):
            tf_reg.export(model, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()
