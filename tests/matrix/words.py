"""Models of the matrix that take strings or look numbers up."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tests.matrix.cases import Case, Takes, case

WORD = Takes((1,), "string", words=("", "Köln", "東京", "never seen"))
TEXT = Takes((), "string")
TEXTS = ("Good film", "bad, bad film!", "a good bad Film", "Köln")


def looked_up():
    lookup = layers.StringLookup(vocabulary=["Köln", "東京"], output_mode="one_hot")
    return keras.Sequential([keras.Input((1,), dtype="string"), lookup, layers.Dense(3, "softmax")])


def text():
    words = layers.TextVectorization(max_tokens=20, output_sequence_length=5)
    words.adapt(np.array(TEXTS, object))
    body = [layers.Embedding(20, 6, mask_zero=True), layers.LSTM(4), layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((), dtype="string"), words, *body])


def text_ragged():
    words = layers.TextVectorization(max_tokens=20)
    words.adapt(np.array(TEXTS, object))
    body = [layers.Embedding(20, 6, mask_zero=True), layers.GlobalAveragePooling1D(), layers.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((), dtype="string"), words, *body])


def tf_idf():
    words = layers.TextVectorization(max_tokens=20, ngrams=2, output_mode="tf_idf")
    words.adapt(np.array(TEXTS, object))
    return keras.Sequential([keras.Input((1,), dtype="string"), words, layers.Dense(3, "softmax")])


def hashed():
    hashing = layers.Hashing(7, salt=3, output_mode="one_hot")
    return keras.Sequential([keras.Input((1,), dtype="string"), hashing, layers.Dense(3, "softmax")])


def crossed():
    city, year = keras.Input((1,), dtype="string", name="city"), keras.Input((1,), dtype="int64", name="year")
    cross = layers.HashedCrossing(9, output_mode="one_hot")([city, year])
    return keras.Model([city, year], layers.Dense(3, "softmax")(cross))


def whole_numbers():
    lookup = layers.IntegerLookup(vocabulary=[3, 5, 2**40], output_mode="multi_hot", num_oov_indices=2)
    return keras.Sequential([keras.Input((3,), dtype="int64"), lookup, layers.Dense(3, "softmax")])


def features():
    kind = keras.utils.FeatureSpace
    space = kind(
        {
            "age": kind.float_normalized(),
            "city": kind.string_categorical(num_oov_indices=1),
            "hashed": kind.string_hashed(num_bins=5),
            "level": kind.integer_categorical(),
            "size": kind.float_discretized(num_bins=3),
        },
        crosses=[kind.cross(("city", "level"), crossing_dim=8)],
        output_mode="concat",
    )
    random = np.random.default_rng(0)
    rows = {
        "age": random.normal(40, 9, 60).astype("float32"),
        "city": random.choice(["Köln", "東京"], 60),
        "hashed": random.choice(["a", "b", "c"], 60),
        "level": random.integers(0, 4, 60),
        "size": random.uniform(0, 9, 60).astype("float32"),
    }
    space.adapt(tf.data.Dataset.from_tensor_slices(rows))
    inputs = space.get_inputs()
    return keras.Model(inputs, layers.Dense(3, "softmax")(space.get_encoded_features()))


class Prices(layers.Layer):
    """Looks numbers up in a table of TensorFlow's own."""

    def __init__(self, **options):
        super().__init__(**options)
        keys, values = tf.constant([1, 2, 4], tf.int64), tf.constant([0.5, 2.0, -1.0])
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)

    def call(self, x):
        return self.table.lookup(tf.cast(x, "int64"))

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, "float32")


def static_table():
    return keras.Sequential([keras.Input((3,), dtype="int32"), Prices(), layers.Dense(3, "softmax")])


FEATURES = {
    "age": Takes((1,), low=10, high=70),
    "city": WORD,
    "hashed": Takes((1,), "string"),
    "level": Takes((1,), "int32", 0, 6),
    "size": Takes((1,), low=0, high=9),
}
CPU = {"gpu": False}
MODELS = {
    "StringLookup": case(looked_up, WORD),
    "TextVectorization and LSTM": case(text, TEXT),
    "TextVectorization, texts of any length": case(text_ragged, TEXT),
    "TextVectorization, tf-idf of word pairs": case(tf_idf, Takes((1,), "string")),
    "Hashing": case(hashed, WORD),
    "HashedCrossing": Case(crossed, {"city": WORD, "year": Takes((1,), "int64", 1990, 1995)}),
    "IntegerLookup": case(whole_numbers, Takes((3,), "int64", 0, 7), options=CPU),
    "FeatureSpace": Case(features, FEATURES),
    "StaticHashTable": case(static_table, Takes((3,), "int32", 0, 6), options=CPU),
}
