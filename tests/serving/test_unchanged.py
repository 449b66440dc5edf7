"""An export leaves the model as it was, whether it publishes a version or refuses."""

import contextlib

import keras
import numpy as np
import pytest
from keras import layers, ops

import tf_reg
from tests.exports import published
from tf_reg._walk import layer_paths
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write.unchanged import unchanged


class Counting(layers.Layer):
    """Counts its calls in a variable, a number and a list, and remembers what it has seen."""

    def __init__(self, training_alone=False, **options):
        super().__init__(**options)
        self.training_alone, self.calls, self.seen, self.sizes = training_alone, 0, None, {"all": []}

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.built = True

    def call(self, x, training=False):
        if training or not self.training_alone:
            self.count.assign(self.count + 1)
        self.calls, self.seen, self.last = self.calls + 1, x, x
        self.sizes["all"].append(len(x.shape))
        return x


class Measuring(layers.Layer):
    """Feeds a metric, draws a number, and moves its own kernel."""

    def __init__(self, **options):
        super().__init__(**options)
        self.mean = keras.metrics.Mean()
        self.seed = keras.random.SeedGenerator(1)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1],), name="kernel")
        self.built = True

    def call(self, x):
        self.mean.update_state(x)
        self.kernel.assign(0.5 * self.kernel)
        return x + 0 * keras.random.uniform(ops.shape(x), seed=self.seed)


def classifier(*between, **options):
    ends = [layers.Flatten(), layers.Dense(2, activation="softmax", activity_regularizer="l2")]
    return keras.Sequential([keras.Input((5, 4), **options), *between, *ends])


def state(model):
    """All that a user can see of a model: variables, metrics, the attributes of layers, and the losses."""
    layers_ = [layer for _, layer in layer_paths(model)]
    variables = [*model.variables, *(v for layer in layers_ for v in layer.metrics_variables)]
    values = {id(v): ops.convert_to_numpy(v).tolist() for v in variables}
    names = {layer.name: sorted(vars(layer)) for layer in layers_}
    return values, names, [float(ops.convert_to_numpy(loss)) for loss in model.losses]


X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")

REFUSED = {
    "a counter": (lambda: classifier(Counting()), VerificationError),
    "a metric and a seed": (lambda: classifier(Measuring()), VerificationError),
    "states": (lambda: classifier(layers.LSTM(3, stateful=True), batch_size=3), ValueError),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_export_changes_nothing(tmp_path, kind):
    make, error = REFUSED[kind]
    model = make()
    model(X)
    before = state(model)
    with pytest.raises(error):
        tf_reg.export(model, tmp_path / "m", examples=X)
    assert state(model) == before
    assert not (tmp_path / "m").exists() or published(tmp_path / "m") == []


def test_a_published_version_changes_nothing(tmp_path):
    counting = Counting(training_alone=True)
    model = classifier(counting, layers.GRU(3, dropout=0.5, return_sequences=True), layers.BatchNormalization())
    model(X, training=True)
    before, seen = state(model), counting.seen
    path = tf_reg.export(model, tmp_path / "m", examples=X, class_id=True)
    tf_reg.verify_saved_model(path, model, examples=X)
    assert state(model) == before
    assert (counting.calls, counting.sizes) == (2, {"all": [3, 3]})
    assert counting.seen is counting.last is seen
    np.testing.assert_allclose(ops.convert_to_numpy(counting.count), 1)


@pytest.mark.contract
@pytest.mark.parametrize("kind", REFUSED)
def test_calls_within_the_block_leave_no_trace(kind):
    model = REFUSED[kind][0]()
    model(X)
    before = state(model)
    with contextlib.suppress(KeyboardInterrupt), unchanged(model):
        model(X, training=True)
        assert state(model) != before
        raise KeyboardInterrupt
    assert state(model) == before


def test_variables_of_tensorflow_come_back():
    import tensorflow as tf

    model = classifier(layers.Dense(4))
    model.layers[0].own = [tf.Variable([1.0, 2.0])]
    with unchanged(model):
        model.layers[0].own[0].assign_add([1.0, 1.0])
        model.layers[0].kernel.assign_add(ops.ones((4, 4)))
        changed = ops.convert_to_numpy(model.layers[0].kernel).tolist()
    assert model.layers[0].own[0].numpy().tolist() == [1.0, 2.0]
    assert ops.convert_to_numpy(model.layers[0].kernel).tolist() != changed
