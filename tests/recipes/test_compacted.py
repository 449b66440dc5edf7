"""`--compact` in training and export: a smaller SavedModel, both models kept, and a table of what that saves."""

import filecmp
import functools
import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import tf_reg
from tests.exports import classifier, published
from tests.recipes.conftest import SPARSE, metrics_of
from tf_reg.recipes import compacted, run, training
from tf_reg.recipes.data import image_data
from tf_reg.serving.verify import c_api, latency
from tf_reg.serving.write import versions
from tf_reg_cli.config_file import configured
from tf_reg_cli.errors import UserError

SAME = ["model.keras", "metrics.json", "config.json", "history.csv"]


def served_here(dense, compact, jobs):
    """Do what `latency_apart` does, with Python's TensorFlow beside it: a second less."""
    with c_api.Session(dense) as one, c_api.Session(compact) as other:
        runs = [(c_api.Run(*job), c_api.Run(*small)) for job, small in jobs]
        return [latency.latency(functools.partial(one.run, a), functools.partial(other.run, b)) for a, b in runs]


@pytest.fixture
def hasty(monkeypatch, request):
    """Times are taken of three calls alone, and temporary folders are made where the test can look."""
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(latency, "latency_apart", served_here)
    folder = request.getfixturevalue("tmp_path_factory").mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    left = [path for path in folder.iterdir() if not path.name.startswith("__autograph_generated_file")]  # TensorFlow's
    assert left == []


@pytest.fixture
def trained(train, finished, monkeypatch, hasty):
    """Train for an epoch, put the weights of the finished run in, and go on as `--compact` does."""

    def fit(model, *arguments, **options):
        learn(model, *arguments, **options)
        model.set_weights(keras.models.load_model(finished.run / "model.keras").get_weights())

    learn = training.fit
    monkeypatch.setattr(training, "fit", fit)
    flags = ("--reg", "group", "--group-lasso", "0.01", *SPARSE, "--epochs", 1, "--no-baseline", "--name", "a")
    return functools.partial(train, *flags, "--compact")


def cells(out, label):
    [line] = [line for line in out.splitlines() if line.startswith(label)]
    return line.removeprefix(label).split()


@pytest.fixture(scope="module")
def done(finished, tmp_path_factory):
    """The finished run after `--compact`: the folder around it, its numbers, what is printed, and both models."""
    folder = tmp_path_factory.mktemp("compacted")
    model, images = keras.models.load_model(finished.run / "model.keras"), image_data.load("digits")
    shutil.copytree(finished.run, folder / "runs/a")
    before = run.Result(finished.metrics, folder / "runs/a", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "SECONDS", 0.0)
        patch.setattr(latency, "latency_apart", served_here)
        result = run._compact(model, images, folder / "saved_models/a", before, {"classes": images.class_names})
    small = keras.models.load_model(folder / "runs/a/compact.keras")
    return SimpleNamespace(
        folder=folder, metrics=metrics_of(folder / "runs/a"), result=result, model=model, small=small
    )


@pytest.mark.slow
def test_the_compacted_model_has_the_live_units(done, finished):
    hidden, logits = finished.kernels
    units = ((hidden != 0).any(axis=0) & (logits != 0).any(axis=1)).sum()
    assert done.small.get_layer("hidden_1").units == units < 128
    assert f"128 -> {units}" in done.result.compaction
    assert done.metrics["compact_parameters"] == done.small.count_params() == 64 * units + units + 10 * units + 10
    assert done.metrics["live_parameters"] == done.small.count_params()
    assert done.metrics["parameters"] == done.model.count_params()
    assert (done.metrics["multiply_adds"], done.metrics["compact_multiply_adds"]) == (74 * 128, 74 * units)


@pytest.mark.slow
def test_it_computes_the_same(done):
    assert done.metrics["compact_test_accuracy"] == done.metrics["test_accuracy"]
    assert done.metrics["compact_test_data_loss"] == pytest.approx(done.metrics["test_data_loss"], rel=1e-6)
    assert done.metrics["compact_changed_predictions"] == 0
    assert "\n0 of 360 test examples get another class" in done.result.compaction
    x = next(image_data.load("digits").test.as_numpy_iterator())[0]
    np.testing.assert_allclose(done.small.predict_on_batch(x), done.model.predict_on_batch(x), atol=1e-6)


@pytest.mark.slow
def test_nothing_is_lost_and_numbers_are_added(done, finished):
    kept = [name for name in SAME if name != "metrics.json"]
    assert filecmp.cmpfiles(done.folder / "runs/a", finished.run, kept, shallow=False)[0] == kept
    assert done.metrics.items() >= finished.metrics.items()
    names = {path.name for path in finished.run.iterdir()} | {"compact.keras"}
    assert {path.name for path in (done.folder / "runs/a").iterdir()} == names


def test_files_of_other_formats_are_no_part_of_a_saved_model(tmp_path):
    (tmp_path / "variables").mkdir()
    for name in ("saved_model.pb", "variables/variables.index", "model.onnx", "model.tflite"):
        (tmp_path / name).write_bytes(b"12")
    assert compacted._size(tmp_path) == 4


@pytest.mark.slow
def test_the_saved_model_is_the_small_one(done):
    version = done.result.saved_model
    assert version == done.folder / "saved_models/a/1"
    assert tf_reg.verify_saved_model(version, done.small).weight_bytes == 4 * done.small.count_params()
    sizes = [done.metrics["saved_model_bytes"], done.metrics["compact_saved_model_bytes"]]
    assert sizes[1] == sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    assert sizes[0] - sizes[1] == pytest.approx(4 * (done.model.count_params() - done.small.count_params()), rel=0.05)
    assert [f"{size:,}" for size in sizes] == cells(done.result.compaction, "SavedModel (bytes)")[:2]
    assert set(done.metrics["latency"]) == {f"{where}_batch_{n}" for where in ("keras", "saved_model") for n in (1, 64)}
    assert all(number > 0 for one in done.metrics["latency"].values() for number in one.values())
    said = json.loads((version / "assets.extra/tf_reg.json").read_text())["metrics"]
    measured = ("latency", "saved_model_bytes", "compact_saved_model_bytes")  # of the version with its manifest
    assert said == {name: value for name, value in done.metrics.items() if name not in measured}


@pytest.mark.slow
def test_a_training(trained, finished):
    code, out, err = trained()
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert cells(out, "run  ") == ["runs/a"]
    assert cells(out, "SavedModel  ") == ["saved_models/a/1"]
    metrics = metrics_of("runs/a")
    assert metrics["compact_test_accuracy"] == metrics["test_accuracy"] == finished.metrics["test_accuracy"]
    dense, small = (keras.models.load_model(f"runs/a/{name}.keras") for name in ("model", "compact"))
    assert small.count_params() == metrics["compact_parameters"] < dense.count_params() == metrics["parameters"]
    x = next(image_data.load("digits").test.as_numpy_iterator())[0]
    for model in (dense, small):
        assert model.optimizer.iterations == 600 // 32 + 1
        model.fit(x, np.eye(10)[np.zeros(len(x), int)], verbose=0)
    again = configured({}, Path("runs/a/config.json"))
    assert again.compact


@pytest.mark.slow
def test_an_export(command, finished, hasty):
    shutil.copytree(finished.run, "runs/a")
    code, out, err = command("export", "runs/a", "--compact", "--class-id")
    assert (code, err) == (0, "")
    assert filecmp.cmpfiles("runs/a", finished.run, SAME, shallow=False)[0] == SAME
    assert {path.name for path in Path("runs/a").iterdir()} == {path.name for path in finished.run.iterdir()}
    dense = keras.models.load_model(finished.run / "model.keras")
    small = tf_reg.compact(dense)
    said = json.loads(Path("saved_models/a/1/assets.extra/tf_reg.json").read_text())
    assert said["metrics"] == finished.metrics | {
        "multiply_adds": said["metrics"]["multiply_adds"],
        "compact_parameters": small.count_params(),
        "compact_multiply_adds": said["metrics"]["compact_multiply_adds"],
        "compact_changed_predictions": 0,
    }
    assert said["sparsity"]["total"]["parameters"] == small.count_params()
    assert cells(out, "parameters  ")[:2] == [f"{dense.count_params():,}", f"{small.count_params():,}"]
    assert cells(out, "SavedModel  ") == ["saved_models/a/1"]


def test_where_nothing_can_be_removed(command, hasty):
    model = classifier()
    model.save("a.keras")
    code, out, err = command("export", "a.keras", "--compact")
    assert (code, err) == (0, "")
    assert "\nNothing can be removed. The SavedModel has the whole model.\n" in out
    assert tf_reg.verify_saved_model("saved_models/a/1", model).difference < 1e-5


def test_a_model_that_can_not_be_compacted_is_refused(command, hasty):
    from tests.models_under_test import TwoKernels

    model = TwoKernels()
    model(np.ones((2, 6)))
    model.save("a.keras")
    code, out, err = command("export", "a.keras", "--compact", "--custom", "tests.models_under_test:TwoKernels")
    assert (code, out) == (2, "")
    assert err.startswith("tf-reg export: The model can't be compacted: Compaction takes a functional or sequential")
    assert err.count("\n") == 1
    assert not Path("saved_models").exists()


def test_examples_that_do_not_fit_are_refused(command, hasty):
    classifier().save("a.keras")
    np.save("x.npy", np.ones((2, 5)))
    code, _, err = command("export", "a.keras", "--compact", "--examples", "x.npy")
    assert code == 2
    assert "an array of the shape (2, 5) for an input of the shape (None, 8, 8, 1)" in err
    assert not Path("saved_models").exists()


@pytest.fixture
def unfinished(finished, hasty, tmp_path, monkeypatch):
    """Copy the finished run to `runs/a` of an empty folder: a function that does the rest of `--compact`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.run, "runs/a")
    model, images = keras.models.load_model("runs/a/model.keras"), image_data.load("digits")
    result = run.Result(finished.metrics, Path("runs/a"), Path())
    return functools.partial(run._compact, model, images, Path("saved_models/a"), result, {})


def raising(error):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "name"), [(compacted, "compact"), (compacted.latency, "latency"), (versions, "publish")]
)
def test_ctrl_c_publishes_nothing_and_keeps_what_there_is(unfinished, finished, monkeypatch, place, name):
    monkeypatch.setattr(place, name, raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        unfinished()
    assert not Path("saved_models/a").exists() or published(Path("saved_models/a")) == []
    names = {path.name for path in finished.run.iterdir()} | ({"compact.keras"} if name != "compact" else set())
    assert {path.name for path in Path("runs/a").iterdir()} == names
    assert filecmp.cmpfiles("runs/a", finished.run, SAME[:1], shallow=False)[0] == SAME[:1]
    assert metrics_of("runs/a").items() >= finished.metrics.items()


@pytest.mark.slow
def test_ctrl_c_in_an_export(command, finished, hasty, monkeypatch):
    monkeypatch.setattr(compacted.latency, "latency", raising(KeyboardInterrupt))
    assert command("export", finished.run, "--compact") == (130, "", "\nInterrupted. Nothing was published.\n")


def test_a_fault_is_said_and_nothing_is_published(unfinished, monkeypatch):
    monkeypatch.setattr(compacted, "compact", raising(RuntimeError("It computes something else.")))
    with pytest.raises(UserError) as caught:
        unfinished()
    assert str(caught.value) == (
        "The model can't be compacted: It computes something else. No SavedModel was made; what was trained lies in "
        "runs/a."
    )
    assert Path("runs/a/model.keras").exists()
    assert not Path("saved_models/a").exists()


@pytest.mark.slow
def test_a_convolutional_network(train, apart):
    """As users run it, with the C API in a process of its own."""
    flags = ("--model", "cnn", "--reg", "group", "--group-lasso", 0.001, "--epochs", 6, *SPARSE)
    code, out, err = train(*flags, "--compact", "--name", "a")
    assert (code, err) == (0, "")
    metrics = metrics_of("runs/a")
    assert metrics["compact_parameters"] == metrics["live_parameters"] < 0.9 * metrics["parameters"]
    assert metrics["compact_multiply_adds"] < 0.9 * metrics["multiply_adds"]
    assert metrics["compact_test_accuracy"] == metrics["test_accuracy"]
    assert set(cells(out, "SavedModel, batch 64 (ms)")) < set(out.split())
