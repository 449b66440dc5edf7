"""The penalties in NumPy and float64, as their docstrings say them, and what a proximal operator must be."""

import math

import keras
import ml_dtypes
import numpy as np
from keras import ops


def norms(w, groups):
    """The norms of the groups of a kernel, and how many weights one has."""
    axis = {"outputs": -1, "inputs": -2}[groups]
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    return np.linalg.norm(rows, axis=1), rows.shape[1]


def l1_l2(w, l1=0.0, l2=0.0):
    return l1 * np.abs(w).sum() + l2 * np.square(w).sum()


def group_lasso(w, strength, groups="outputs", size_weights=True, l1=0.0):
    sizes, members = norms(w, groups)
    return strength * sizes.sum() * (math.sqrt(members) if size_weights else 1) + l1 * np.abs(w).sum()


def column_lasso(w, strength, groups, size_weights=True):
    rows = [w[list(group)] for group in groups]
    return strength * sum(np.linalg.norm(one) * (math.sqrt(one.size) if size_weights else 1) for one in rows)


def power(w, strength, q):
    return strength * (np.abs(w[w != 0]) ** q).sum()


def _mcp(x, strength, gamma):
    return np.where(x < gamma * strength, strength * x - x**2 / (2 * gamma), gamma * strength**2 / 2)


def _scad(x, strength, a):
    middle = (2 * a * strength * x - x**2 - strength**2) / (2 * (a - 1))
    return np.where(x <= strength, strength * x, np.where(x <= a * strength, middle, strength**2 * (a + 1) / 2))


def _log_sum(x, strength, epsilon):
    return strength * epsilon * np.log1p(x / epsilon)


CURVES = {"MCP": _mcp, "SCAD": _scad, "LogSum": _log_sum}


def concave(name, w, strength, shape, groups=None, size_weights=True):
    curve = CURVES[name]
    if groups is None:
        return curve(np.abs(w), strength, shape).sum()
    sizes, members = norms(w, groups)
    if size_weights:
        return members * curve(sizes / math.sqrt(members), strength, shape).sum()
    return curve(sizes, strength, shape).sum()


def tolerance(dtype):
    """How far a number of this type may be from the right one, as a share."""
    names = {"float16": 2e-2, "bfloat16": 6e-2, "float64": 1e-5}
    return names.get(str(dtype), 1e-4)


def as_float64(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float64"))


def agrees(answer, expected):
    """Whether a tensor without axes is the number expected, up to its type's rounding."""
    found, dtype = float(as_float64(answer)), keras.backend.standardize_dtype(answer.dtype)
    if expected < float(ml_dtypes.finfo(dtype).max) / 4:
        assert abs(found - expected) <= tolerance(dtype) * max(abs(expected), 1e-3), (found, expected, dtype)


def is_prox(answer, formula, value, step):
    """Whether an answer is no worse than the value, zero, and points near the answer: in float64."""
    w = as_float64(answer)
    assert w.shape == value.shape, (w.shape, value.shape)
    if step == 0:
        np.testing.assert_allclose(w, value, rtol=1e-2)
        return

    def height(point):
        return np.square(point - value).sum() / (2 * step) + formula(point)

    rng = np.random.default_rng(0)
    others = [value, 0 * value, *(w + size * rng.normal(size=w.shape) for size in (1e-2, 0.3, 1))]
    close = tolerance(keras.backend.standardize_dtype(answer.dtype))
    for other in others:
        assert height(w) <= height(other) + close * (height(value) + height(other) + 1e-3), (height(w), height(other))
