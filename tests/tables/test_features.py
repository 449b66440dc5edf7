"""The layers behind the columns: what they make of raw values, and that they know the rows they were given alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_reg
from tf_reg.tables.features import MOST_CATEGORIES, vocabulary

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strings take TensorFlow")
ROWS = {
    "x": [1.0, 2.0, 3.0, np.nan],
    "z": [5.0, 5.0, 5.0, 5.0],
    "c": ["b", "a", "b", "a"],
    "d": ["", "", "ü", "ü"],
    "rare": ["p", "q", "r", "s"],
}


def outputs(features, table):
    model = keras.Model(features.inputs, features.outputs)
    return keras.ops.convert_to_numpy(model(table.x))


@on_tensorflow
def test_features_by_hand():
    table = tf_reg.read_table(ROWS)
    features = tf_reg.column_features(table)
    assert features.groups == {"x": [0, 2], "z": [1], "c": [3, 4, 5], "d": [6, 7, 8], "rare": [9]}
    root = np.sqrt(2 / 3)
    expected = [
        # x, z, missing; other, a, b; other, "", ü; a column whose values are all rare has no effect
        [-1 / root, 0, 0, 0, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 1, 0, 0],
        [1 / root, 0, 0, 0, 0, 1, 0, 0, 1, 0],
        [0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
    ]
    np.testing.assert_allclose(outputs(features, table), expected, atol=1e-6)
    new = table.read({"x": [None], "z": [6.0], "c": ["never seen"], "d": ["u"], "rare": ["p"]})
    np.testing.assert_allclose(outputs(features, new), [[0, 1, 1, 1, 0, 0, 1, 0, 0, 0]])


@pytest.mark.contract
def test_numbers_work_on_every_backend():
    table = tf_reg.read_table({"x": [1.0, 2.0, 3.0, np.nan], "z": [1.0, 2.0, 4.0, 8.0], "y": [0.5, 1, 2, 4]}, "y")
    features = tf_reg.column_features(table)
    found = outputs(features, table)
    np.testing.assert_allclose(found[:, :2].mean(0), [0, 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 1].std(), 1, rtol=1e-6)
    assert found[:, 2].tolist() == [0, 0, 0, 1]


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow takes strings")
@pytest.mark.contract
def test_categories_are_refused_elsewhere():
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
        tf_reg.column_features(tf_reg.read_table({"c": ["a", "b"]}))


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32) | st.none(), min_size=2, max_size=40),
    words=st.lists(st.text(max_size=3), min_size=2, max_size=40),
    random=st.randoms(use_true_random=False),
)
def test_statistics_do_not_depend_on_the_order_of_rows(values, words, random):
    from tf_reg.tables.features import _moments

    numbers = np.array([np.nan if one is None else one for one in values], "float32")
    shuffled = numbers.copy()
    random.shuffle(shuffled)
    assert _moments(numbers) == _moments(shuffled)
    texts = np.array(words, object)
    mixed = np.array(random.sample(words, len(words)), object)
    assert vocabulary(texts, 2) == vocabulary(mixed, 2)


def test_the_commonest_categories_are_known():
    words = np.array([f"w{number}" for number in range(1200) for _ in range(2 + (number >= 100))], object)
    known = vocabulary(words, 2)
    assert len(known) == MOST_CATEGORIES
    assert "w150" in known
    assert "w0" not in known
    assert vocabulary(np.array(["a", "b", "b"], object), 1) == ["a", "b"]


@on_tensorflow
@settings(max_examples=10, deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.just("[UNK]"), min_size=1))
def test_every_text_can_be_a_category(words):
    table = tf_reg.read_table({"c": [*words, "x"]}, categorical=["c"])
    features = tf_reg.column_features(table, least=1)
    known = vocabulary(table.values[0], 1)
    found = outputs(features, table)
    assert found.shape[1] == len(known) + 1
    np.testing.assert_array_equal(found.argmax(1), [1 + known.index(one) for one in table.values[0]])
    np.testing.assert_array_equal(found.sum(1), 1)


@on_tensorflow
def test_the_model_is_keras_own_and_is_saved_whole(tmp_path):
    table = tf_reg.read_table(ROWS)
    features = tf_reg.column_features(table)
    model = keras.Model(features.inputs, keras.layers.Dense(2)(features.outputs))
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(np.asarray(again(table.x)), np.asarray(model(table.x)))
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


@on_tensorflow
@pytest.mark.slow
def test_each_fold_has_the_statistics_of_its_own_rows_alone():
    """A model of a fold knows no category of the rows that it is judged on, and the order of the rows has no effect."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    columns = {"x": x, "id": np.array([f"{n // 2}" for n in range(60)], object), "y": x + 0.1 * rng.normal(size=60)}
    seen = []

    def build_model(rows):
        seen.append(rows)
        features = tf_reg.column_features(rows)
        layer = keras.layers.Dense(1, kernel_regularizer=tf_reg.ColumnLasso(1.0, features.groups))
        model = keras.Model(features.inputs, layer(features.outputs))
        model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.05)), "mse")
        return model

    def found(order):
        seen.clear()
        table = tf_reg.read_table({k: v[order] for k, v in columns.items()}, "y", categorical=["id"])
        return tf_reg.cross_validate(build_model, table, [1.0, 0.5], splitter=3, epochs=20, verbose=0)

    first = found(np.arange(60))
    assert list(map(len, seen)) == [60, 40, 40, 40]
    held_out = [set(map(bytes, seen[0].digests())) - set(map(bytes, part.digests())) for part in seen[1:]]
    assert [len(one) for one in held_out] == [20, 20, 20]
    assert len(set().union(*held_out)) == 60
    np.testing.assert_array_equal(found(rng.permutation(60)).values, first.values)


@on_tensorflow
def test_examples_of_words_are_told_from_others():
    from tf_reg.selection.examples import examples_of

    def fingerprint(words):
        table = tf_reg.read_table({"c": words, "y": [0.5, 1.5]}, "y")
        return examples_of((table.x, table.y)).fingerprint()

    assert fingerprint(["Köln", "東京"]) == fingerprint(["Köln", "東京"]) != fingerprint(["Köln", "東亰"])


def test_column_norms_name_what_a_model_reads():
    table = tf_reg.read_table({"x": [1.0, 2.0, np.nan], "b": [1.0, 3.0, 2.0]})
    features = tf_reg.column_features(table)
    layer = keras.layers.Dense(2)
    model = keras.Model(features.inputs, layer(features.outputs))
    layer.set_weights([np.array([[3.0, 0.0], [0.0, 0.0], [0.0, 4.0]]), np.zeros(2)])
    found = tf_reg.column_norms(model, features.groups)
    assert (found.names, found.norms.tolist(), found.dead) == (("x", "b"), [5.0, 0.0], ("b",))
    assert str(found).splitlines()[1].split() == ["x", "2", "5.0000"]
    assert found.csv() == "column,features,norm\nx,2,5.0\nb,1,0.0\n"
    with pytest.raises(ValueError, match="reads the 2 features"):
        tf_reg.column_norms(model, {"x": [0, 1]})


@pytest.mark.contract
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e15, 1e25])
def test_a_column_of_any_scale_is_normalised(scale):
    table = tf_reg.read_table({"x": [scale * value for value in (1.0, 2.0, 4.0, 8.0)], "z": [1.0, 2.0, 4.0, 8.0]})
    found = outputs(tf_reg.column_features(table), table)
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-5)
    np.testing.assert_allclose(found[:, 0].std(), 1, rtol=1e-5)
