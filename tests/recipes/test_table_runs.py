"""`tf-reg train` on tables: a CSV with all that real ones have, and what a run leaves behind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.recipes.conftest import columns_of, metrics_of
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api
from tf_reg.serving.verify.c_api import Run
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.main import main

pytestmark = pytest.mark.slow
FLAGS = ("--target", "Preis (€)", "--model", "mlp", "--hidden", 16, "--epochs", 8, "--quiet")


def lines(rows=400):
    """Missing numbers and categories, a date, names and values in UTF-8, a column of codes and one of noise."""
    rng = np.random.default_rng(0)
    size, kind = rng.uniform(20, 200, rows), rng.choice(["Haus", "Wohnung", "büro", ""], rows)
    day, code = rng.integers(1, 29, rows), rng.integers(1, 4, rows)
    price = 3 * size + 100 * (kind == "Haus") + 50 * code + rng.normal(0, 10, rows)
    yield "Größe,Art,verkauft am,Kennzahl,Rauschen,Preis (€)"
    for row in range(rows):
        shown = "" if row % 11 == 0 else f"{size[row]:.2f}"
        yield f"{shown},{kind[row]},2021-05-{day[row]:02d},{code[row]},{rng.normal():.3f},{price[row]:.1f}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, out, err = tmp_path_factory.mktemp("table"), io.StringIO(), io.StringIO()
    (folder / "häuser.csv").write_text("\n".join(lines()), encoding="utf-8")
    words = ["train", "--dataset", "csv:häuser.csv", *FLAGS, "--categorical", "Kennzahl", "--reg", "group", "--compact"]
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, [*words, "--name", "preise"])))
    assert code == 0, err.getvalue()
    return SimpleNamespace(
        folder=folder, out=out.getvalue(), err=err.getvalue(), run=folder / "runs/preise",
        version=folder / "saved_models/preise/1",
    )  # fmt: skip


def test_the_files(finished):
    names = {path.name for path in finished.run.iterdir()}
    assert names == {
        "columns.csv", "columns.png", "compact.keras", "config.json", "curves.png", "history.csv", "metrics.json",
        "model.keras", "regularization.png", "report.html", "tensorboard", "weights.png",
    }  # fmt: skip
    with (finished.run / "columns.csv").open(encoding="utf-8") as stream:
        rows = {row["column"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"Größe", "Art", "verkauft am", "Kennzahl", "Rauschen"}
    assert rows["Größe"]["features"] == "2"  # one says where it is missing
    assert float(rows["Größe"]["norm"]) > float(rows["Rauschen"]["norm"])


def test_what_is_printed(finished):
    first = finished.out.splitlines()[0]
    assert first.startswith("288 training rows: ")
    assert "--groups inputs" in first
    assert "The model takes dates as days since 1970-01-01: 'verkauft am'." in finished.err
    assert "a regression. Say --task classification for the other." in finished.err
    for word in ("test R2", "test RMSE", "test MAE", "training R2", "column", "test R2, no penalty"):
        assert word in finished.out
    assert "accuracy" not in finished.out
    assert "image" not in finished.out
    assert finished.out.splitlines()[-1].count("test R2") == 1


def test_metrics_and_history(finished):
    metrics, history = metrics_of(finished.run), columns_of(finished.run)
    assert metrics["test_r2"] > 0.5
    assert metrics["test_loss"] == pytest.approx(metrics["test_data_loss"] + metrics["penalty"], rel=1e-5)
    assert metrics["test_rmse"] >= metrics["test_mae"] > 0
    assert {"r2", "val_r2", "rmse", "mae", "data_loss", "penalty/hidden_1"} <= set(history)
    assert json.loads((finished.run / "config.json").read_text())["task"] == "regression"


def test_the_saved_model_takes_raw_columns_and_equals_predict(finished):
    signature = saved_graph.signatures(saved_graph.load(finished.version))["serving_default"]
    raw = {
        "Grosse": np.array([[np.nan], [100.0], [50.0]], "float32"),
        "Art": np.array([[b""], ["büro".encode()], [b"never seen"]], object),
        "verkauft_am": np.array([[np.nan], [18_750.0], [0.0]], "float32"),
        "Kennzahl": np.array([[b"2"], [b"1"], [b"9"]], object),
        "Rauschen": np.array([[0.0], [np.nan], [1.0]], "float32"),
    }
    assert set(signature.inputs) == set(raw)
    feeds = {signature.inputs[name].name: array for name, array in raw.items()}
    [[found]] = c_api.run_apart(finished.version, [Run(feeds, [signature.outputs["predictions"].name])])
    model = keras.saving.load_model(finished.run / "model.keras")
    import tensorflow as tf

    expected = model.predict({name: tf.constant(array) for name, array in raw.items()}, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    manifest = json.loads((finished.version / "assets.extra/tf_reg.json").read_text())
    assert manifest["columns"][0] == {"name": "Größe", "input_name": "Grosse", "kind": "number"}
    assert (manifest["target"], manifest["task"]) == ("Preis (€)", "regression")


def test_the_order_of_the_rows_has_no_effect(finished, command, tmp_path):
    head, *rows = lines()
    np.random.default_rng(1).shuffle(rows)
    (tmp_path / "häuser.csv").write_text("\n".join([head, *rows]), encoding="utf-8")
    words = ["--dataset", "csv:häuser.csv", *FLAGS, "--categorical", "Kennzahl", "--reg", "group", "--name", "preise"]
    assert command("train", *words)[0] == 0
    assert columns_of("runs/preise") == columns_of(finished.run)
    ours, theirs = metrics_of("runs/preise"), metrics_of(finished.run)
    assert {k: v for k, v in ours.items() if k != "seconds"}.items() <= theirs.items()


def test_a_run_is_exported_again(finished, command, monkeypatch):
    monkeypatch.chdir(finished.folder)  # its CSV has a relative path
    code, out, err = command("export", "runs/preise", "--saved-models-dir", "again")
    assert (code, err) == (0, "")
    assert "difference at most" in out
    signature = saved_graph.signatures(saved_graph.load(Path("again/preise/1")))["serving_default"]
    assert set(signature.outputs) == {"predictions"}
    assert "columns" in json.loads(Path("again/preise/1/assets.extra/tf_reg.json").read_text())


def test_shrink_of_a_regression_is_a_sentence(finished, command, monkeypatch):
    monkeypatch.chdir(finished.folder)
    code, _, err = command("shrink", "runs/preise")
    assert code == 2
    assert "shrink tests accuracies, which a regression hasn't got." in err


def test_classes(command):
    """A classification by name, with a penalty of columns, and from the weights of an earlier run."""
    words = ("--dataset", "wine", "--model", "linear", "--batch-size", 64, "--quiet")
    code, out, err = command("train", *words, "--reg", "group", "--epochs", 30)
    assert (code, err) == (0, "Note: The target 'cultivar' has 3 classes: a classification.\n")
    assert metrics_of("runs/wine-linear-group")["test_accuracy"] > 0.9
    assert "test accuracy" in out.splitlines()[-1]
    manifest = json.loads(Path("saved_models/wine-linear-group/1/assets.extra/tf_reg.json").read_text())
    assert manifest["classes"] == ["class_0", "class_1", "class_2"]
    more = ("--weights", "runs/wine-linear-group", "--epochs", 1, "--name", "b")
    assert command("train", *words, *more)[0] == 0
    assert metrics_of("runs/b")["test_accuracy"] > 0.9


def test_a_table_of_classes_is_shrunk(command):
    flags = ("--dataset", "breast_cancer", "--epochs", 15, "--validation-split", 0.4, "--quiet", "--name", "a")
    assert command("train", *flags)[0] == 0
    code, out, err = command("shrink", "runs/a", "--max-drop", 0.1, "--candidates", 1, "--refit-epochs", 5, "--quiet")
    assert code in (0, 1), err
    assert "original" in out


def test_target_sparsity_counts_columns(command):
    flags = ("--dataset", "diabetes", "--model", "linear", "--reg", "group", "--epochs", 30, "--quiet", "--name", "a")
    assert command("train", *flags, "--target-sparsity", 0.5, "--target-of", "groups", "--exact-target")[0] == 0
    with Path("runs/a/columns.csv").open() as stream:
        dead = [row["column"] for row in csv.DictReader(stream) if float(row["norm"]) == 0]
    assert len(dead) == 5


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--reg", "sparse-group"), "can't group the columns of a table that have several features, as 'Größe' has"),
        (("--reg", "mcp", "--groups", "inputs"), "take --reg group"),
        (("--jit",), "--jit compiles with XLA, which takes no strings."),
        (("--reg", "group", "--reweight"), "--reweight has no factors for columns"),
        (("--task", "classification"), "each class keeps one for training. Give more rows, fewer classes"),
        (("--label-smoothing", 0.1), "--label-smoothing is for classes. The target is a number: a regression."),
    ],
)
def test_what_the_columns_do_not_take_is_a_sentence(flags, expected, command, tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(lines(1100)), encoding="utf-8")
    code, out, err = command("train", "--dataset", "csv:t.csv", *FLAGS, *flags)
    assert (code, out) == (2, "")
    assert expected in err.splitlines()[-1]


def test_a_wrong_type_in_row_3000_is_a_sentence(command, tmp_path):
    made = list(lines(4_000))
    made[3_000] = "n/v," + made[3_000].partition(",")[2]
    (tmp_path / "t.csv").write_text("\n".join(made), encoding="utf-8")
    code, out, err = command("train", "--dataset", "csv:t.csv", *FLAGS)
    assert (code, out) == (2, "")
    assert err == (
        "tf-reg train: The column 'Größe' holds numbers. Received: 'n/v' in row 3,000. Correct it, leave it empty "
        "where the value is missing, or take the column as categories: --categorical 'Größe'.\n"
    )


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(precision, command):
    """Raw columns stay float32: half precision has no room for a year of days."""
    words = (
        "--dataset",
        "houses",
        "--train-size",
        400,
        "--epochs",
        6,
        "--precision",
        precision,
        "--quiet",
        "--name",
        "a",
    )
    code, _, err = command("train", *words)
    assert code == 0, err
    assert metrics_of("runs/a")["test_r2"] > 0.4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dataset": "wine", "model": "cnn"}, "--model cnn takes images. A table takes --model linear or mlp."),
        ({"dataset": "wine", "augment": True}, "--augment is for images. --dataset wine is a table."),
        ({"dataset": "wine", "image_size": (8,)}, "--image-size is for images."),
        ({"dataset": "digits", "target": "x"}, "--target is for a table. --dataset digits is images."),
        ({"dataset": "digits", "drop": ("x",)}, "--drop is for a table."),
        ({"dataset": "wine", "task": "regression", "mc_samples": 5, "dropout": 0.5}, "--mc-samples is for classes."),
    ],
)
def test_flags_of_images_and_of_tables(given, expected):
    with pytest.raises(UserError, match=expected):
        Config(**given)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["wine", "diabetes"])
def test_methods_are_compared_on_tables(command, tmp_path, dataset):
    plan = 'columns = ["test score"]\n[[method]]\nname = "none"\n[[method]]\nname = "a"\nchoose = [{ dropout = 0.1 }]'
    (tmp_path / "a.toml").write_text(plan)
    code, out, _ = command("compare", "a.toml", "--dataset", dataset, "--model", "linear", "--epochs", 3, "--seeds", 1)
    assert code == 0
    assert out.startswith("| method | chosen | test accuracy or R2 |")
    assert len(out.splitlines()) == 6


def test_training_rows_with_one_target_are_one_sentence(command):
    code, _, err = command("train", "--dataset", "diabetes", "--train-size", 1)
    assert code == 2
    assert "in all 1 training rows: there is nothing to learn. Take another --target, or more rows." in err
    assert len(err.splitlines()) == 1
