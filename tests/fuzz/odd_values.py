"""Values of every kind, most of which no function takes: what a case of the fuzzing puts in an argument's place."""

import contextlib
import decimal
import functools
import pathlib
import types

import keras
import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from keras import layers, ops

TYPES = [
    "?",
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u2",
    "u4",
    "u8",
    "f2",
    "f4",
    "f8",
    "c8",
    "c16",
    "S3",
    "U3",
    "M8[s]",
    "m8[s]",
    "O",
]
BIG_ENDIAN = [">i2", ">i4", ">u8", ">f2", ">f4", ">f8", ">c8"]
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e-45, 1e38, 1e300, -1.0]


def array(dtype, shape, seed, special, way):
    """An array of random entries: of any type and shape, as it is or seen another way."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * 3
    if special:
        values = np.where(rng.random(shape) < 0.3, special, values)
    with np.errstate(all="ignore"):
        made = values.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else "i8" if dtype[0] in "Mm" else dtype)
    made = np.asarray(made)
    return WAYS[way](made.view(dtype) if dtype[0] in "Mm" and made.ndim else made)


def strided(values):
    """The same entries, not one behind the other in memory."""
    return np.repeat(values, 2, axis=-1)[..., ::2] if values.ndim else values


def as_tensor(values):
    """A tensor of the backend, where it has the type."""
    with contextlib.suppress(TypeError, ValueError):
        return ops.convert_to_tensor(values)
    return values


def as_variable(values):
    """A Keras variable, where one holds such numbers."""
    return keras.Variable(values) if values.dtype.kind == "f" and values.dtype.isnative else values


def masked(values):
    """A masked array, each second entry hidden."""
    return np.ma.array(values, mask=np.arange(values.size).reshape(values.shape) % 2)


WAYS = {
    "as it is": lambda values: values,
    "transposed": lambda values: values.T,
    "strided": strided,
    "reversed": lambda values: values[::-1] if values.ndim else values,
    "read-only": lambda values: np.broadcast_to(values, values.shape),
    "a tensor": as_tensor,
    "a variable": as_variable,
    "a list": lambda values: values.tolist(),
    "masked": masked,
}

SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)
ARRAYS = st.builds(
    array,
    st.sampled_from([*TYPES, *BIG_ENDIAN, "bfloat16"]),
    SHAPES,
    st.integers(0, 9),
    st.sampled_from([*SPECIAL, None, None]),
    st.sampled_from(list(WAYS)),
)
NUMPY_SCALARS = st.builds(
    lambda dtype, value: array(dtype, (1,), 0, value, "as it is")[0],
    st.sampled_from([*TYPES, *BIG_ENDIAN, "bfloat16"]),
    st.sampled_from([*SPECIAL, 0.0, 1.0, 0.5, 3.0]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, -(2**63), 2**64, 10**400]),
    st.floats(),
    st.sampled_from(SPECIAL),
    st.complex_numbers(),
    st.sampled_from([decimal.Decimal("0.5"), decimal.Decimal("NaN"), decimal.Decimal("sNaN"), decimal.Decimal(3)]),
    st.fractions(),
    st.text(max_size=5).filter(lambda text: "/" not in text and ".." not in text),  # it may become a file
    st.sampled_from(["nan", "auto", "0", "é\n", "a" * 3000, "inputs", "*", "\0"]),
    st.binary(max_size=4).filter(lambda text: b"/" not in text),
)


@functools.cache
def two_ended():
    """A functional model with two inputs and two outputs."""
    a, b = keras.Input((3,)), keras.Input((3,))
    return keras.Model([a, b], [layers.Dense(2)(a), layers.Dropout(0.5)(b)])


@functools.cache
def weightless():
    return keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Softmax()])


@functools.cache
def built():
    return keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(2)])


class Subclassed(keras.Model):
    def call(self, x):
        return x


OBJECTS = {
    "an object": object,
    "a class": lambda: int,
    "a function": lambda: lambda *a, **k: 0.5,
    "a function that raises": lambda: lambda *a, **k: {}["missing"],
    "a module": lambda: types,
    "a path": lambda: pathlib.Path("somewhere"),
    "the path of the folder": lambda: pathlib.Path("."),
    "an unbuilt model": lambda: keras.Sequential([layers.Dense(2)]),
    "an empty model": keras.Sequential,
    "a built model": built,
    "a subclassed model": Subclassed,
    "a class of models": lambda: keras.Model,
    "a model of two inputs and outputs": two_ended,
    "a model without weights": weightless,
    "a layer": lambda: layers.Dense(2),
    "a class of layers": lambda: layers.Dense,
    "an input": lambda: keras.Input((2,)),
    "a regularizer": lambda: keras.regularizers.L1(0.1),
    "a class of regularizers": lambda: keras.regularizers.L1,
    "an optimizer": lambda: keras.optimizers.SGD(0.1),
    "a class of optimizers": lambda: keras.optimizers.SGD,
    "a callback": keras.callbacks.Callback,
    "a schedule": lambda: keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9),
    "a generator": lambda: (n for n in (1, 2)),
    "a set": lambda: {1, 2},
    "an empty set": set,
    "an empty dictionary": dict,
    "a dictionary": lambda: {"x": [1, 2], 3: None},
    "a dictionary of columns": lambda: {"x": [1.0, 2.0], "y": ["a", "b"]},
    "ragged lists": lambda: [[1], [1, 2], []],
    "a range": lambda: range(3),
    "an empty tuple": tuple,
    "a slice": lambda: slice(None),
    "an ellipsis": lambda: ...,
}


CONTAINERS = st.one_of(
    st.lists(SCALARS, max_size=4),
    st.lists(st.lists(SCALARS, max_size=3), max_size=3),
    st.tuples(SCALARS, SCALARS),
    st.dictionaries(st.text(max_size=3), SCALARS, max_size=3),
    st.lists(ARRAYS, max_size=3),
)
# What is likely to be just outside of what an argument takes.
NEAR = st.sampled_from(
    [
        -1,
        0,
        1,
        2,
        -0.5,
        0.5,
        1.0,
        2.5,
        np.nan,
        np.inf,
        -np.inf,
        10**400,
        2**31,
        np.int8(-1),
        np.uint8(0),
        True,
        None,
        "",
    ]
)
ANYTHING = st.one_of(
    SCALARS, NUMPY_SCALARS, ARRAYS, CONTAINERS, st.sampled_from(list(OBJECTS)).map(lambda label: OBJECTS[label]())
)
