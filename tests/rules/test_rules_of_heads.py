"""A penalty on the heads of attention: one rule, kept by a saved model, from training to fewer heads."""

import keras
import numpy as np
import pytest
from keras import layers, optimizers

import tf_reg
from tests.compaction.filling import numpy, same

pytestmark = pytest.mark.contract


def attending(heads=4, key=4, value=None, size=10):
    x = inputs = keras.Input((6, size))
    x = layers.Add()([x, layers.MultiHeadAttention(heads, key, value, name="mha")(x, x)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    return keras.Model(inputs, layers.Dense(1, name="last")(x))


def loss(model):
    return float(sum(map(numpy, model.losses)))


@pytest.mark.parametrize("value", [pytest.param(None, marks=pytest.mark.slow), 5])
def test_a_saved_model_keeps_it(value, tmp_path):
    model = attending(value=value)
    table = tf_reg.regularize(model, {"mha": tf_reg.GroupLasso(0.1, "heads")})
    assert [(row.path.split("/")[1], row.saved) for row in table.weights] == [
        ("query", True), ("key", True), ("value", True), ("attention_output", True),
    ]  # fmt: skip
    mha = model.get_layer("mha")
    expected = 0.0
    for dense, axis in ((mha.query_dense, 1), (mha.key_dense, 1), (mha.value_dense, 1), (mha.output_dense, 0)):
        by_head = np.moveaxis(numpy(dense.kernel), axis, 0).reshape(4, -1)
        expected += 0.1 * np.sqrt(by_head.shape[1]) * np.linalg.norm(by_head, axis=1).sum()
    assert loss(model) == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loss(loaded) == pytest.approx(loss(model), rel=1e-6)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert loss(clone) == pytest.approx(loss(model), rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TargetSparsity")  # a short search: the heads count here
def test_from_a_penalty_on_heads_to_fewer_heads(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(128, 6, 10)).astype("float32")
    y = x[:, 0, :1] + x[:, 1, 1:2]
    model = attending()
    tf_reg.regularize(model, {layers.MultiHeadAttention: tf_reg.GroupLasso(1e-3, "heads")})
    model.compile(tf_reg.Proximal(optimizers.Adam(1e-2)), "mse")
    target = tf_reg.TargetSparsity(0.5, of="channels", exact=True)
    model.fit(x, y, batch_size=32, epochs=8, verbose=0, callbacks=[target])
    output = numpy(model.get_layer("mha").output_dense.kernel)
    assert int((output == 0).all(axis=(1, 2)).sum()) == 2
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loss(loaded) == pytest.approx(loss(model), rel=1e-6)
    small = tf_reg.compact(loaded)
    assert small.get_layer("mha").num_heads == 2
    assert same(model, small)
    assert all(row.saved for row in tf_reg.regularizers_of(small).weights)
    loaded.fit(x, y, epochs=1, verbose=0)
    assert int((numpy(loaded.get_layer("mha").output_dense.kernel) == 0).all(axis=(1, 2)).sum()) == 2


def test_what_has_no_heads_is_refused():
    model = attending()
    with pytest.raises(ValueError, match=r"last/kernel can't have this rule. groups='heads' takes the projections"):
        tf_reg.regularize(model, {"last": tf_reg.GroupLasso(0.1, "heads")})
    with pytest.raises(ValueError, match=r"A regularizer must take its weight"):
        tf_reg.regularize(model, {"mha/*/bias": tf_reg.GroupLasso(0.1, "heads")})
    with pytest.raises(ValueError, match=r"fits a projection to the heads and one from them"):
        tf_reg.regularize(attending(4, 8, 4, size=4), {"mha": tf_reg.GroupLasso(0.1, "heads")})
    assert model.losses == []
