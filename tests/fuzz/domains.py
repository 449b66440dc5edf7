"""What an argument takes: right values in every form that they come in, and which values could be right at all."""

from __future__ import annotations

import dataclasses
import decimal
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from keras import ops

from tests.fuzz.odd_values import WAYS


@dataclasses.dataclass(frozen=True)
class Domain:
    """The values of an argument.

    Args:
        right: A strategy of pairs: a right value, and the same in plain Python or float64, for the oracles.
        could: Whether a value could be right. If not, there must be an error.
    """

    right: Any
    could: Callable[[Any], bool]


def optional(domain):
    """The same, or None."""
    return Domain(st.one_of(st.just((None, None)), domain.right), lambda value: value is None or domain.could(value))


def real(value):
    """The number that a scalar of any kind is; NaN for what is none."""
    if isinstance(value, keras.Variable) or ops.is_tensor(value):
        if len(value.shape):
            return math.nan
        value = value.numpy() if isinstance(value, keras.Variable) or value.dtype != "bfloat16" else float(value)
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, np.bool_, str, bytes, complex, decimal.Decimal, np.timedelta64)) or value is None:
        return math.nan
    try:
        return float(value) if np.ndim(value) == 0 and not isinstance(value, np.complexfloating) else math.nan
    except (TypeError, ValueError, OverflowError):
        return math.nan


FORMS = {
    "Python's": lambda x: x,
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "an array": np.array,
    "a big-endian array": lambda x: np.array(x, ">f4"),
    "a tensor": lambda x: ops.convert_to_tensor(x, "float32"),
    "a bfloat16 tensor": lambda x: ops.convert_to_tensor(x, "bfloat16"),
    "a variable": lambda x: keras.Variable(np.float32(x)),
}


def _formed(x, form):
    made = FORMS[form](x)
    return made, real(made)


def number(low, high, *, inside=None, closed=True):
    """A number from `low` to `high`, in any form. `inside` are numbers to try, of which float16 keeps the range."""
    tried = inside or [0.25, 0.5, 0.75]
    whole = [n for n in (0, 1, 2) if (low < n or (closed and n == low)) and n < high]
    numbers = st.builds(_formed, st.sampled_from(tried), st.sampled_from(list(FORMS)))
    whole_ones = [
        st.builds(lambda n, form: (form(n), n), st.sampled_from(whole), st.sampled_from([int, np.int8, np.uint64]))
    ]
    return Domain(
        st.one_of(numbers, *(whole_ones if whole else [])),
        lambda value: low < real(value) < high or (closed and real(value) == low),
    )


STRENGTH = number(0, math.inf, inside=[0.0, 1e-3, 0.25, 0.5, 3.0, 100.0])
POSITIVE = number(0, math.inf, inside=[0.25, 0.5, 3.0], closed=False)
SHARE = number(0, 1, closed=False)
RATE = number(0, 1)


def count(*tried, least=1):
    """A whole number of Python or NumPy."""
    forms = [int, np.int8, np.int64, np.uint16]
    made = st.builds(lambda n, form: (form(n), n), st.sampled_from(tried), st.sampled_from(forms))
    return Domain(made, lambda value: _is_whole(value) and (value if isinstance(value, int) else real(value)) >= least)


def _is_whole(value):
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (not isinstance(value, complex) and real(value) % 1 == 0)


def same(strategy, could):
    """Values that have no other form."""
    return Domain(strategy.map(lambda value: (value, value)), could)


NONE = same(st.just(None), lambda value: True)  # right ones need another model or data set
FLAG = same(st.booleans(), lambda value: isinstance(value, (bool, np.bool_)))
TEXT = same(st.sampled_from(["a", "é", "val_loss"]), lambda value: isinstance(value, str))
SEED = count(0, 7, least=0)


def word(*words):
    """One of these words."""
    return same(st.sampled_from(words).map(str), lambda value: isinstance(value, str) and value in words)


def is_path(value):
    return isinstance(value, (str, os.PathLike))


def made(*makers, could=lambda value: True):
    """What functions return, anew for each case."""
    return Domain(st.sampled_from(makers).map(lambda make: (lambda value: (value, value))(make())), could)


def is_model(value):
    return isinstance(value, keras.Layer)


def is_many(value):
    """Whether a value could stand for several ones."""
    scalar = (str, bytes, int, float, complex, type(None), np.generic)
    return not isinstance(value, scalar) and (hasattr(value, "__iter__") or hasattr(value, "shape"))


def is_numbers(value):
    """Whether a value could be an array of numbers."""
    return isinstance(value, (int, float, np.number)) or is_many(value) or isinstance(value, np.generic)


KINDS = ["float32", "float64", "float16", "bfloat16", ">f4", ">f8"]


def _weight(shape, kind, way, seed, zeros):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(shape) < zeros, 0, rng.normal(size=shape))
    values = values.astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    plain = WAYS[way if way in ("transposed", "reversed") else "as it is"](values).astype("float64")
    if way in ("a tensor", "a variable"):
        values = values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
        return (ops.convert_to_tensor if way == "a tensor" else keras.Variable)(values), plain
    return WAYS[way](values), plain


def weights(*shapes):
    """Arrays of floats of these shapes, in every form in which they mean the same."""
    ways = ["as it is", "strided", "reversed", "read-only", "a tensor", "a variable", "a list"]
    strategy = st.builds(
        _weight,
        st.sampled_from(shapes),
        st.sampled_from(KINDS),
        st.sampled_from(ways),
        st.integers(0, 99),
        st.sampled_from([0, 0.5, 1]),
    )
    return Domain(strategy, is_numbers)


def mapping_without_sense(config: Mapping[str, Any]):
    """Configurations near this one: a key less, one more, another value."""
    from tests.fuzz.odd_values import ANYTHING

    keys = st.sampled_from(list(config))
    return st.one_of(
        keys.map(lambda key: {name: value for name, value in config.items() if name != key}),
        st.builds(lambda key, value: {**config, key: value}, keys, ANYTHING),
        st.builds(lambda key, value: {**config, key: value}, st.text(max_size=4), ANYTHING),
        st.builds(lambda key, value: {**config, key: value}, st.integers(), ANYTHING),
    )
