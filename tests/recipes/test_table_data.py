"""Tables for the training program: pipelines, the tables by name, and what is refused in a sentence with flags."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn import linear_model, metrics, preprocessing

from tf_reg.recipes import training
from tf_reg.recipes.data import table_data, table_sets
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError


def rows_of(dataset):
    parts = [({name: np.asarray(v) for name, v in x.items()}, y) for x, y in dataset.as_numpy_iterator()]
    columns = {name: np.concatenate([x[name] for x, _ in parts]).ravel() for name in parts[0][0]}
    return columns, np.concatenate([y for _, y in parts])


@pytest.mark.parametrize(
    ("name", "rows", "columns", "task", "classes"),
    [
        ("diabetes", 442, 10, "regression", ()),
        ("breast_cancer", 569, 30, "classification", ("benign", "malignant")),
        ("wine", 178, 13, "classification", ("class_0", "class_1", "class_2")),
        ("houses", 5000, 13, "regression", ()),
    ],
)
def test_tables_by_name(name, rows, columns, task, classes):
    data = table_data.load(name)
    assert data.train_size + data.validation_size + data.test_size == rows
    assert data.test_size == pytest.approx(0.2 * rows, abs=2)
    assert (len(data.rows.columns), data.task, data.class_names) == (columns, task, classes)
    assert (data.moments is None) == (task == "classification")


def test_a_table_by_name_takes_another_target_and_fewer_columns():
    data = table_data.load("wine", target="alcohol", drop=("cultivar", "ash"))
    assert (data.task, data.rows.target, len(data.rows.columns)) == ("regression", "alcohol", 11)


def test_every_row_is_there_once_in_each_pass():
    data = table_data.load("wine", batch_size=32, seed=1)
    for pipeline, size in (
        (data.train, data.train_size),
        (data.train_eval, data.train_size),
        (data.test, data.test_size),
    ):
        columns, labels = rows_of(pipeline)
        assert len(labels) == size
        assert {len(values) for values in columns.values()} == {size}
    one, two = (rows_of(data.train)[0]["alcohol"] for _ in range(2))
    assert not np.array_equal(one, two)  # another order every epoch
    assert sorted(one) == sorted(two) == sorted(rows_of(data.train_eval)[0]["alcohol"])
    x, y = next(iter(data.train))
    assert y.shape[1] == 3
    assert all(value.shape == (len(y), 1) for value in x.values())


def test_houses_are_the_same_each_time_and_have_all_kinds_of_columns():
    one, two = table_sets.houses(50), table_sets.houses(50)
    assert all(np.array_equal(a, two.columns[name], equal_nan=a.dtype.kind == "f") for name, a in one.columns.items())
    data = table_data.load("houses")
    assert {column.kind for column in data.rows.columns} == {"number", "category", "date"}
    assert np.isnan(data.rows.values[[c.name for c in data.rows.columns].index("bedrooms_per_household")]).any()


def test_fewer_training_rows_keep_the_classes_in_proportion(tmp_path):
    data = table_data.load("wine", train_size=30)
    assert data.train_size == 30
    assert np.bincount(data.rows.labels).min() >= 7
    rare = ["x,y", *(f"{n},{'c' if n % 40 == 0 else 'ab'[n % 2]}" for n in range(200))]
    (tmp_path / "t.csv").write_text("\n".join(rare))
    assert set(table_data.load(f"csv:{tmp_path / 't.csv'}", target="y", train_size=3).rows.labels) == {0, 1, 2}
    with pytest.raises(UserError, match="--train-size must lie between 3 and 127"):
        table_data.load("wine", train_size=2)


def test_equal_rows_and_missing_classes_are_said(tmp_path):
    lines = ["x,y", *["1,a"] * 20, *["2,b"] * 20, "3,c"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    notes = " ".join(table_data.load(f"csv:{tmp_path / 't.csv'}", target="y").notes)
    assert "8 of the 8 test rows are equal to a training row." in notes
    assert "No test row of c." in notes


@pytest.mark.parametrize(
    ("lines", "more", "expected"),
    [
        (["a,b", "1,2", "2,1"], {}, "--target NAME, one of 'a', 'b'"),
        (["a,b", "1,2", "2,1"], {"target": "c"}, "--target must name a column of the table: 'a', 'b'. Received: 'c'"),
        (["a,b", "1,2", "2,1"], {"target": "a", "drop": ["c"]}, "--drop must name a column"),
        (["a,b", *["1,2"] * 20, "x,1"], {"target": "b"}, "Received: 'x' in row 21.* as categories: --categorical a"),
        (["a b,c", *["1,2"] * 20, "x,1"], {"target": "c"}, "--categorical 'a b'"),
        (["d,c", *["31.12.2020,1.5", "30.12.2020,1"] * 9], {"target": "c"}, "--drop d"),
        (["a,b", "1,1.5", "2,1.5"], {"target": "b"}, "different numbers"),
        (["a,b", "1,1.5", "2,2.5"], {"target": "b"}, "can't be divided so that one is for test"),
    ],
)
def test_mistakes_are_sentences_with_flags(lines, more, expected, tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=expected):
        table_data.load(f"csv:{tmp_path / 't.csv'}", **more)


def test_the_task_is_said_with_its_flag(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *(f"{n},{n % 3}" for n in range(40))]))
    data = table_data.load(f"csv:{tmp_path / 't.csv'}", target="b")
    assert "The target 'b' has 3 classes: a classification. Say --task regression for the other." in data.notes


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_the_name_of_a_file_must_fit(kind):
    with pytest.raises(UserError, match=f"{kind}:FILE takes a file whose name ends in"):
        table_data.load(f"{kind}:a.csv", target="a")


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.3])
def test_r2_is_that_of_scikit_learns_lasso_at_the_same_strength(alpha):
    """`Lasso(alpha)` on numbers and a target of mean 0 and variance 1 is `--l1 2*alpha`, by the design's rule."""
    config = Config(
        dataset="diabetes", model="linear", reg="l1", l1=2 * alpha, optimizer="sgd", momentum=0.9,
        learning_rate=0.02, refit_epochs=0, steps_per_execution=50,
    )  # fmt: skip
    model, data = training.prepare(config)
    whole = tf.data.Dataset.from_tensors((data.rows.x, data.rows.y)).repeat(4_000)
    model.fit(whole, verbose=0, shuffle=False)
    found = model.evaluate(data.test, verbose=0, return_dict=True)

    order = [column.input_name for column in data.rows.columns]

    def matrix(pipeline):
        columns, y = rows_of(pipeline)
        return np.stack([columns[name] for name in order], 1).astype("float64"), y.ravel().astype("float64")

    (x, y), (x_test, y_test) = matrix(data.train_eval), matrix(data.test)
    scaler = preprocessing.StandardScaler().fit(x)
    lasso = linear_model.Lasso(alpha=alpha, tol=1e-10, max_iter=100_000)
    lasso.fit(scaler.transform(x), (y - y.mean()) / y.std())
    expected = lasso.predict(scaler.transform(x_test)) * y.std() + y.mean()
    assert found["r2"] == pytest.approx(metrics.r2_score(y_test, expected), abs=2e-5)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y_test, expected), rel=1e-5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y_test, expected), rel=1e-5)
    kernel = np.array(model.get_layer("output").kernel).ravel()
    np.testing.assert_allclose(kernel, lasso.coef_, atol=2e-5)
    np.testing.assert_array_equal(kernel == 0, lasso.coef_ == 0)
    assert 0 < np.count_nonzero(kernel) < 10
