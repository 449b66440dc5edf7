"""One run for many tests, and the command that makes another one."""

import contextlib
import csv
import functools
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tf_reg_cli.main import main

SPARSE = ("--learning-rate", 0.005, "--batch-size", 32, "--train-size", 600)


@pytest.fixture
def train(command):
    """Run `tf-reg train` in an empty folder: returns exit code, stdout and stderr."""
    return functools.partial(command, "train")


@pytest.fixture
def sparse_run(train):
    """Train on 600 digits: a function of the flags, to the metrics, the columns of the history, and the kernels."""

    def run(*flags, epochs=12):
        code, _, err = train(*SPARSE, "--epochs", epochs, "--no-baseline", "--name", "a", *flags)
        assert (code, err) == (0, "")
        return metrics_of("runs/a"), columns_of("runs/a"), kernels_of("runs/a")

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run with dead units: its folder, its version, what it printed, and what is in its files."""
    folder, out, err = tmp_path_factory.mktemp("finished"), io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["train", "--reg", "group", "--group-lasso", "0.01", *map(str, SPARSE), "--epochs", "12"])
    run = folder / "runs/digits-mlp-group"
    return SimpleNamespace(
        code=code, out=out.getvalue(), err=err.getvalue(), folder=folder, run=run,
        version=folder / "saved_models/digits-mlp-group/1", metrics=metrics_of(run), columns=columns_of(run),
        kernels=kernels_of(run),
    )  # fmt: skip


def metrics_of(run):
    return json.loads((Path(run) / "metrics.json").read_text(), parse_constant=pytest.fail)


def columns_of(run):
    with (Path(run) / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


def kernels_of(run):
    model = keras.models.load_model(Path(run) / "model.keras")
    return [np.array(model.get_layer(name).kernel) for name in ("hidden_1", "logits")]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database with all tables and no study: making the tables takes longer than most tests."""
    from tf_reg.recipes.tuning.storage import Database

    file = tmp_path_factory.mktemp("empty") / "study.db"
    Database(f"sqlite:///{file}", heartbeat=1).close()
    return file


@pytest.fixture
def join(tmp_path, empty_database):
    """Join the study in the folder, as a process does: a function of settings that differ, to the study."""
    from tests.recipes.studies import SETTINGS
    from tf_reg.recipes.tuning.storage import Database
    from tf_reg.recipes.tuning.study import Study

    opened = []
    shutil.copy(empty_database, tmp_path / "study.db")

    def study(url=f"sqlite:///{tmp_path}/study.db", patience=5.0, objectives=("accuracy",), pruner=None, **settings):
        opened.append(Database(url, heartbeat=1, patience=patience))
        return Study(opened[-1], "s", SETTINGS | settings, objectives, pruner, 0)

    yield study
    for database in opened:
        database.close()
