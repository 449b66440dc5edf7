"""`tf-reg predict` on tables: raw columns of a file, by both protocols, beside what the model predicts."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.servers import stand_in

COLUMNS = {"Größe (m²)": [50.0, 70.0, None, 90.0], "Stadt": ["Köln", "Köln", "Rom", "Rom"], "ab": ["2020-01-01"] * 4}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    keras.utils.set_random_seed(0)
    table = tf_reg.read_table(COLUMNS)
    features = tf_reg.column_features(table)
    model = keras.Model(features.inputs, layers.Dense(1)(features.outputs))
    tf_reg.export(model, folder / "flats", output_name="price", examples=table.x)
    with stand_in(folder) as running:
        running.model, running.table = model, table
        yield running


@pytest.fixture
def predict(command, served, tmp_path):
    def run(lines, *flags):
        (tmp_path / "flats.csv").write_text("\n".join(lines), encoding="utf-8")
        port = served.grpc if "--grpc" in flags else served.rest
        return command("predict", "flats.csv", "--model", "flats", "--port", port, *flags)

    return run


HEAD = "price,ab,Stadt,Größe (m²)"


@pytest.mark.parametrize("protocol", ["", "--rows", "--grpc"])
def test_rows_of_a_csv(predict, served, protocol, tmp_path):
    missing = "" if protocol == "--grpc" else "60"  # JSON has no NaN
    lines = [HEAD, f"1,2020-01-02,never seen,{missing}", "2,2020-01-01,,55.5", "3,1999-12-31,東京,1"]
    code, out, err = predict(lines, *filter(None, [protocol]))
    assert (code, err) == (0, "")
    expected = served.model.predict(served.table.read(tmp_path / "flats.csv").x, verbose=0)
    found = [line.split() for line in out.splitlines()]
    assert [words[:2] for words in found] == [[f"flats.csv[{row}]", "price"] for row in range(3)]
    np.testing.assert_allclose(
        [float(line.split("[")[2].strip("]")) for line in out.splitlines()], expected.ravel(), rtol=2e-3
    )


@pytest.mark.parametrize(
    ("lines", "flags", "expected"),
    [
        (["Stadt,ab", "Rom,2020-01-01"], (), "no column for the model's inputs Grosse_m2. It has: Stadt, ab."),
        (
            [HEAD, *["1,2020-01-01,Rom,5"] * 19, "1,2020-01-01,Rom,x"],
            (),
            "Received: 'x' in row 20. Correct it, leave it",
        ),
        ([HEAD, "1,2020-01-01,Rom"], (), "3 values in row 1"),
        ([HEAD, "1,2020-01-01,Rom,"], (), "neither NaN nor infinity: leave them out, or use --grpc"),
    ],
)
def test_mistakes_are_a_sentence(predict, lines, flags, expected):
    code, out, err = predict(lines, *flags)
    assert (code, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1
