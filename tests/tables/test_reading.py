"""Frames, arrays and files give the same table, and a mistake in them is one sentence that says where it is."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

import tf_reg
from tests.tools import require_module

ROWS = 12
COLUMNS = {
    "Größe (m²)": [50.0, np.nan, 61.5, *range(9)],
    "年齢": [3, 4, 5, *range(9)],
    "heating": ["gas", "", "öl, heavy", *["wood"] * 9],
    "sold": [datetime.date(2020, 1, 31), datetime.date(1969, 12, 31), None, *[datetime.date(2021, 2, 3)] * 9],
    "lift": [True, False, True, *[False] * 9],
    "price": [float(one) for one in range(ROWS)],
}


@pytest.fixture
def frame():
    require_module("pandas", "tables")
    import pandas as pd

    made = pd.DataFrame(COLUMNS)
    made["heating"] = made["heating"].replace("", None)
    made["sold"] = pd.to_datetime(made["sold"])
    return made


def assert_equal(one, other):
    assert one.columns == other.columns
    assert (one.target, one.task, one.class_names) == (other.target, other.task, other.class_names)
    for a, b in zip(one.values, other.values, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.targets, other.targets)


def test_kinds_names_and_values(frame):
    table = tf_reg.read_table(frame, "price")
    assert [(column.name, column.input_name, column.kind) for column in table.columns] == [
        ("Größe (m²)", "Grosse_m2", "number"),
        ("年齢", "column", "number"),
        ("heating", "heating", "category"),
        ("sold", "sold", "date"),
        ("lift", "lift", "category"),
    ]
    size, _, heating, sold, lift = table.values
    np.testing.assert_array_equal(size[:3], [50, np.nan, 61.5])
    assert heating[:3].tolist() == ["gas", "", "öl, heavy"]
    np.testing.assert_array_equal(sold[:3], [18292, -1, np.nan])
    assert lift[:2].tolist() == ["True", "False"]
    assert table.task == "regression"
    assert "days since 1970-01-01: 'sold'" in " ".join(table.notes)


def test_every_source_gives_the_same_table(frame, tmp_path):
    import polars as pl

    expected = tf_reg.read_table(frame, "price")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv", index=False, sep=";", encoding="utf-8-sig", na_rep="NA")
    frame.to_parquet(tmp_path / "a.parquet")
    np.savez(
        tmp_path / "a.npz",
        **{
            "Größe (m²)": frame["Größe (m²)"].to_numpy(),
            "年齢": frame["年齢"].to_numpy(),
            "heating": frame["heating"].fillna("").to_numpy().astype("U"),
            "sold": frame["sold"].to_numpy().astype("datetime64[D]"),
            "lift": frame["lift"].to_numpy(),
            "price": frame["price"].to_numpy(),
        },
    )
    for source in (
        *(tmp_path / name for name in ("a.csv", "b.csv", "a.parquet", "a.npz")),
        str(tmp_path / "a.csv"),
        pl.from_pandas(frame),
        pl.from_pandas(frame).lazy(),
        {name: frame[name].tolist() if name in ("heating", "sold") else frame[name] for name in frame},
        frame.astype({"年齢": "Int64", "heating": "category", "lift": "boolean"}),
        frame.assign(sold=frame["sold"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    ):
        assert_equal(tf_reg.read_table(source, "price"), expected)


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def many(bad, row=3_000, rows=4_000, names="id,größe,city"):
    lines = [names, *(f"{number},{number / 7:.3f},{'Rom' if number % 2 else 'Köln'}" for number in range(1, rows + 1))]
    lines[row] = bad
    return lines


def test_a_wrong_type_names_column_row_value_and_what_to_do(tmp_path):
    file = write(tmp_path / "t.csv", many("3000,n.a.,Rom"))
    expected = r"column 'größe' holds numbers. Received: 'n.a.' in row 3,000. Correct it, leave it empty.*categorical"
    with pytest.raises(ValueError, match=expected):
        tf_reg.read_table(file)
    assert tf_reg.read_table(file, categorical=["größe"]).columns[1].kind == "category"
    assert len(tf_reg.read_table(file, drop=["größe"]).columns) == 2
    with pytest.raises(
        ValueError, match=r"Received: '12,5' in row 3,000. Correct it with a point in place of the comma"
    ):
        tf_reg.read_table(write(tmp_path / "t.csv", many('3000,"12,5",Rom')))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (many("3000,1.5"), r"2 values in row 3,000 \(line 3,001\) and 3 names"),
        (many("3000,1.5,Rom,x"), "4 values in row 3,000"),
        (many("3000,inf,Rom"), "numbers up to 3.4e38. Received: inf in row 3,000"),
        (many("3000,1e39,Rom"), r"Received: 1e\+39 in row 3,000"),
        (many("3000,1_0,Rom"), "Received: '1_0' in row 3,000"),
        (many("x", names="a,a,b"), "2 columns of the name 'a'"),
        (many("x", names="a,,b"), "no name for its column 2"),
        (["a,b"], "one row or more"),
        ([""], "is empty"),
        (["d", *["31.12.2020"] * 9], "dates, such as '31.12.2020' in row 1. Write them as 2026-12-31"),
        (["d", *["2020-12-31"] * 19, "soon"], "holds dates, such as 2026-12-31. Received: 'soon' in row 20"),
        (["a", '"x'], "can't be read as CSV"),
    ],
)
def test_mistakes_in_a_file(lines, expected, tmp_path):
    with pytest.raises(ValueError, match=expected):
        tf_reg.read_table(write(tmp_path / "t.csv", lines))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.csv").write_bytes("\n".join(["ort", *["Köln"] * 1999]).encode() + "\nöl\n".encode("latin-1"))
    (tmp_path / "a.npz").write_bytes(b"no archive")
    np.save(tmp_path / "a.npy", np.ones(3))
    np.savez(tmp_path / "objects.npz", a=np.array([{}, 1], object))
    np.savez(tmp_path / "cube.npz", a=np.ones((2, 2, 2)))
    for name, expected in {
        "latin.csv": r"isn't UTF-8 \(invalid start byte in line 2,001\)",
        "a.npz": "can't be read as an npz file",
        "a.npy": r"a file of the type .csv",
        "objects.npz": "arrays of numbers, dates or text",
        "cube.npz": "one axis, or of two",
        "none.csv": "no such file",
    }.items():
        with pytest.raises(ValueError, match=expected):
            tf_reg.read_table(tmp_path / name)
    require_module("pyarrow", "tables")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="can't be read as a parquet file"):
        tf_reg.read_table(tmp_path / "a.parquet")


def test_missing_values_of_all_spellings(tmp_path):
    spellings = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "<NA>", "n/a", "#N/A"]
    table = tf_reg.read_table(write(tmp_path / "t.csv", ["x,y", "1,a", *(f"{one},{one}" for one in spellings)]))
    assert np.isnan(table.values[0][1:]).all()
    assert set(table.values[1][1:]) == {""}


def test_arrays_of_two_axes_are_columns():
    table = tf_reg.read_table({"X": np.arange(6.0).reshape(3, 2), "y": ["a", "b", "a"]}, "y")
    assert [column.name for column in table.columns] == ["X_0", "X_1"]
    assert (table.task, table.class_names) == ("classification", ("a", "b"))


def test_what_is_masked_is_missing():
    def mask(values):
        return np.ma.masked_array(values, [False, True, False])

    dates = np.array(["2020-01-31", "2020-02-01", "2020-02-02"], "datetime64[D]")
    table = tf_reg.read_table({"a": mask([1, 2, 3]), "b": mask(dates), "c": mask(["x", "y", "z"])})
    np.testing.assert_array_equal(table.values[0], [1, np.nan, 3])
    np.testing.assert_array_equal(table.values[1], [18292, np.nan, 18294])
    assert table.values[2].tolist() == ["x", "", "z"]


def test_dates_are_no_numbers_in_more_rows():
    table = tf_reg.read_table({"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"column .a. holds numbers. Received: dates, such as 2020-01-31"):
        table.read({"a": np.array(["2020-01-31"], "datetime64[D]")})


def test_numbers_that_are_one_in_a_float32_are_said():
    day = 1.7e9 + np.linspace(0, 86_400, 50)
    year = 1.7e9 + np.linspace(0, 3e7, 50)
    table = tf_reg.read_table({"day": day, "year": year, "from_midnight": day - day[0], "constant": np.full(50, 0.1)})
    assert [note for note in table.notes if "float32" in note] == [
        "The model takes float32, in which some of these numbers become one: 'day'. Subtract a constant from the "
        "column, such as its least number."
    ]


def test_a_column_of_lists_is_refused(frame):
    frame["parts"] = [[1]] * ROWS
    with pytest.raises(ValueError, match=r"Received: a list in row 1.*take the column out of the table"):
        tf_reg.read_table(frame)


@pytest.mark.parametrize("texts", [["3,5", "4,25", ""], ["1.234,5", "-2,0", "7,1"], ["1,234.5", "2,000", "3,141.59"]])
def test_numbers_with_commas_are_no_categories(texts):
    with pytest.raises(
        ValueError, match=r"'price' holds numbers with commas, such as .* in row 1. Write them with a point"
    ):
        tf_reg.read_table({"price": texts, "y": [1, 2, 3]}, "y")
    table = tf_reg.read_table({"price": texts, "y": [1, 2, 3]}, "y", categorical=["price"])
    assert table.columns[0].kind == "category"


def test_a_damaged_npz_is_one_sentence(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(1000.0), y=np.arange(1000.0))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="can't be read as an npz file"):
        tf_reg.read_table(tmp_path / "a.npz", "y")
