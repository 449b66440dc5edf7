"""What a table is made of: the task, the rows of each split in whatever order, more rows of the same columns."""

from __future__ import annotations

import keyword
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_reg
from tf_reg.tables.names import input_names


def made(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows).round(1)),
        "c": rng.choice(["a", "b", "ü", ""], rows).astype(object),
        "y": rng.choice(["no", "yes", "rare"], rows, p=[0.6, 0.35, 0.05]).astype(object),
    }


def rows_of(table):
    return [(str(a), b, int(c)) for a, b, c in zip(*table.values, table.targets, strict=True)]


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(60)), seed=st.integers(0, 5))
def test_the_order_of_the_rows_has_no_effect_on_the_splits(order, seed):
    columns = made(60)
    shuffled = {name: values[list(order)] for name, values in columns.items()}
    for one, other in zip(
        tf_reg.read_table(columns, "y").split(0.2, 0.2, seed),
        tf_reg.read_table(shuffled, "y").split(0.2, 0.2, seed),
        strict=True,
    ):
        assert rows_of(one) == rows_of(other)  # the same rows, in the same order


def test_splits_share_no_row_and_have_the_classes_in_proportion():
    table = tf_reg.read_table(made(), "y")
    train, validation, test = table.split(0.25, 0.2, seed=1)
    assert sorted(rows_of(train) + rows_of(validation) + rows_of(test)) == sorted(rows_of(table))
    assert len(test) == pytest.approx(0.2 * 200, abs=2)
    assert len(validation) == pytest.approx(0.25 * 160, abs=2)
    for part in (train, validation, test):
        assert abs(np.mean(part.targets == 0) - np.mean(table.targets == 0)) < 0.05
    again = table.split(0.25, 0.2, seed=2)
    assert sorted(rows_of(again[2])) == sorted(rows_of(test))
    assert sorted(rows_of(again[1])) != sorted(rows_of(validation))


def test_equal_rows_are_divided_too():
    table = tf_reg.read_table({"x": np.repeat([1.0, 2.0], 500), "y": np.tile([0.1, 0.7], 500)}, "y")
    train, _, test = table.split(0.1, 0.2)
    assert len(test) == 200
    for value in (1.0, 2.0):
        assert 70 < np.sum(test.values[0] == value) < 130
        assert np.sum(train.values[0] == value) > 300


def test_too_few_rows_for_a_split():
    table = tf_reg.read_table({"x": [1.0, 2.0], "y": [0.5, 0.7]}, "y")
    with pytest.raises(ValueError, match="divided so that one is for test"):
        table.split()
    with pytest.raises(ValueError, match="validation is a share"):
        table.split(1.0)


@pytest.mark.parametrize(
    ("values", "task", "expected", "classes"),
    [
        (["b", "a", "b"], None, "classification", ("a", "b")),
        ([True, False, True], None, "classification", ("False", "True")),
        ([0, 2, 10], None, "classification", ("0", "2", "10")),
        ([0, 2, 10], "regression", "regression", ()),
        (list(range(11)), None, "regression", ()),
        (list(range(11)), "classification", "classification", tuple(map(str, range(11)))),
        ([0.5, 1.0, 2.0], None, "regression", ()),
        ([1.0, 2.0, np.nan, 1.0], None, "classification", ("1", "2")),
    ],
)
def test_the_task(values, task, expected, classes):
    table = tf_reg.read_table({"x": np.arange(float(len(values))), "y": values}, "y", task=task)
    assert (table.task, table.class_names) == (expected, classes)
    assert table.y.shape == (len(table), len(classes) or 1)
    assert table.y.dtype == "float32"
    assert any("The target 'y' has" in note for note in table.notes) == (task is None)


@pytest.mark.parametrize(
    ("values", "more", "expected"),
    [
        (["b", "a", "b"], {"task": "regression"}, "needs a target of numbers. Received: 'y' with 'b' in row 1"),
        (["a", "a", "a"], {}, "2 to 1,000 classes. Received: 'y' with 1"),
        ([1.5, 1.5, 1.5], {}, "different numbers"),
        (["2020-01-01", "2020-01-02", "2020-01-03"], {}, "holds dates"),
        ([1, 2, 3], {"drop": ["y"]}, "drop must not have the target"),
        ([1, 2, 3], {"drop": ["z"]}, "drop must name a column of the table: 'x', 'y'. Received: 'z'"),
        ([1, 2, 3], {"drop": "x"}, "list of names"),
    ],
)
def test_targets_that_do_not_fit(values, more, expected):
    with pytest.raises(ValueError, match=expected):
        tf_reg.read_table({"x": np.arange(3.0), "y": values}, "y", **more)


def test_rows_without_a_target_and_columns_without_values_are_left_out_and_said():
    table = tf_reg.read_table({"x": [1.0, 2.0, 3.0], "e": [None, None, None], "y": ["a", "", "b"]}, "y")
    assert len(table) == 2
    assert table.values[0].tolist() == [1.0, 3.0]
    assert [column.name for column in table.columns] == ["x"]
    assert "Left out, as they have no value: 'e'." in table.notes
    assert "1 of the 3 rows have no 'y' and are left out." in table.notes


def test_more_rows_have_the_same_columns_in_their_own_order():
    table = tf_reg.read_table(made(), "y")
    more = table.read({"y": ["yes", "no"], "other": [1, 2], "c": ["new", ""], "x": ["1.5", ""]})
    assert more.columns == table.columns
    assert more.values[1].tolist() == ["new", ""]
    np.testing.assert_array_equal(more.values[0], [1.5, np.nan])
    assert more.targets.tolist() == [2, 0]
    assert table.read({"c": ["a"], "x": [0.0]}).targets is None
    with pytest.raises(ValueError, match="needs the columns 'x'"):
        table.read({"c": ["a"]})
    with pytest.raises(ValueError, match="classes that the table doesn't have: 'maybe'"):
        table.read({"c": ["a"], "x": [0.0], "y": ["maybe"]})
    with pytest.raises(ValueError, match="Received: 'seven' in row 1"):
        table.read({"c": ["a"], "x": ["seven"]})


def test_classes_that_are_numbers_are_known_again_as_text():
    table = tf_reg.read_table({"x": [1.0, 2.0, 3.0], "y": [0.0, 1.0, 1.0]}, "y")
    assert table.read({"x": [1.0, 2.0], "y": ["1.0", "0"]}).targets.tolist() == [1, 0]


def test_a_table_without_a_target_has_no_y():
    with pytest.raises(ValueError, match="has no target"):
        _ = tf_reg.read_table({"x": [1.0]}).y


@settings(max_examples=50, deadline=None)
@given(names=st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True))
def test_names_of_inputs_are_plain_and_each_another_one(names):
    found = input_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
        assert not keyword.iskeyword(name)
        assert name != "self"
