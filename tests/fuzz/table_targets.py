"""Tables, and the probabilities of classes."""

import math

import keras
import numpy as np
from hypothesis import strategies as st
from keras import ops

import tf_reg
from tests.fuzz import penalty_formulas as formulas
from tests.fuzz.domains import (
    Domain,
    count,
    is_many,
    is_model,
    is_numbers,
    made,
    optional,
    same,
    word,
)  # fmt: skip
from tests.fuzz.targets import Target
from tests.right_calls import COLUMNS, on_columns, table

PROBABILITIES = Domain(
    st.builds(
        lambda seed, rows, classes, form: _probabilities(seed, rows, classes, form),
        st.integers(0, 99),
        st.sampled_from([6]),
        st.just(3),
        st.sampled_from(["as it is", "a list", "a tensor", ">f8", "float16", "bfloat16"]),
    ),
    is_numbers,
)
TRUTH = Domain(
    st.sampled_from(
        [
            [0, 1, 2, 0, 1, 2],
            np.array([0, 1, 2, 0, 1, 2], ">i2"),
            np.array([[0], [1], [2], [0], [1], [2]]),
            np.eye(3)[[0, 1, 2, 0, 1, 2]],
            np.array([0, 1, 2, 0, 1, 2], "float16"),
            np.repeat(np.array([0, 1, 2, 0, 1, 2]), 2)[::2],
        ]
    ).map(lambda value: (value, np.array([0, 1, 2, 0, 1, 2]))),
    is_many,
)


def _probabilities(seed, rows, classes, form):
    logits = np.random.default_rng(seed).normal(size=(rows, classes))
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if form == "as it is":
        return exact, exact
    if form == "a list":
        return exact.tolist(), exact
    if form in ("a tensor", "bfloat16"):
        tensor = ops.convert_to_tensor(exact, "float32" if form == "a tensor" else form)
        return tensor, formulas.as_float64(tensor)
    return exact.astype(form), exact.astype(form).astype("float64")


def is_calibration_error(answer, given):
    """The sum over the bins, in NumPy."""
    table, bins = given["probabilities"], given.get("bins", 15)
    confidence, right = table.max(axis=1), table.argmax(axis=1) == given["y_true"]
    place = np.ceil(confidence * bins).astype(int)
    gaps = [abs(right[place == one].sum() - confidence[place == one].sum()) for one in set(place)]
    assert math.isclose(answer, sum(gaps) / len(table), abs_tol=1e-9), (answer, sum(gaps) / len(table))


SOURCE = Domain(
    st.sampled_from(
        [
            COLUMNS,
            {"x": [0, 1, 2, 3], "z": [1.0, 1, 1, 1], "y": [0.5, 1, 2, 4]},
            {"x": np.arange(4, dtype=">i4"), "z": np.ones(8)[::2], "y": np.array([0.5, 1, 2, 4], "float16")},
        ]
    ).map(lambda value: (value, COLUMNS)),
    lambda value: isinstance(value, (dict, str)) or is_many(value) or hasattr(value, "__fspath__"),
)


def keeps_cells(found, given):
    """The numbers of the columns are those that were given."""
    for column in found.columns:
        np.testing.assert_allclose(np.ravel(found.x[column.input_name]), given["source"][column.name])
    if given.get("target") is not None:
        np.testing.assert_allclose(np.ravel(found.y), given["source"][given["target"]])


def has_columns(found, given):
    """Each column has one feature, in the order of the table."""
    assert found.groups == {"x": [0], "z": [1]}
    answer = keras.Model(found.inputs, found.outputs)(given["table"].x)
    assert answer.shape == (4, 2)


def is_norm(found, given):
    kernel = np.array(on_columns()[0].layers[-1].kernel, "float64")
    for name, norm in zip(found.names, found.norms, strict=True):
        assert math.isclose(norm, np.linalg.norm(kernel[list(given["groups"][name])]), rel_tol=1e-5, abs_tol=1e-9)


TABLE = made(lambda: table(), could=lambda value: False)
COLUMN_GROUPS = same(st.just(0).map(lambda _: on_columns()[1]), lambda value: isinstance(value, dict))
ON_COLUMNS = made(lambda: on_columns()[0], could=is_model)
NAMES = same(st.sampled_from([(), [], ["z"], ("z",)]), is_many)

TARGETS = [
    Target(
        "expected_calibration_error",
        tf_reg.expected_calibration_error,
        {"y_true": TRUTH, "probabilities": PROBABILITIES, "bins": count(1, 5, 100)},
        ("y_true", "probabilities"),
        is_calibration_error,
    ),
    Target(
        "read_table",
        tf_reg.read_table,
        {
            "source": SOURCE,
            "target": Domain(word("y").right, lambda value: value is None or isinstance(value, str)),
            "task": optional(word("regression")),
            "categorical": same(st.sampled_from([(), []]), is_many),
            "drop": NAMES,
        },
        ("source", "target"),
        keeps_cells,
        aliases={"source": "table"},
    ),
    Target("column_features", tf_reg.column_features, {"table": TABLE, "least": count(1, 2)}, ("table",), has_columns),
    Target(
        "column_norms",
        tf_reg.column_norms,
        {"model": ON_COLUMNS, "groups": COLUMN_GROUPS},
        ("model", "groups"),
        is_norm,
    ),
]
