"""What a run leaves behind and prints, most of it from one shared run."""

import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.recipes.conftest import SPARSE, metrics_of
from tf_reg.recipes import gain, notes, run, run_folder
from tf_reg.recipes.data import image_data
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import warmup
from tf_reg_cli.config import Config
from tf_reg_cli.config_file import configured


def table(out):
    """The table and the paths at the end of what a run prints, as `{label: value}`."""
    lines = [line.rsplit("  ", 1) for line in out.rstrip().splitlines()[-18:] if "  " in line]
    return {label.strip(): value.strip() for label, value in lines}


def test_the_files(finished):
    assert (finished.code, finished.err) == (0, "")
    assert {path.name for path in finished.run.iterdir()} == {
        "config.json", "history.csv", "metrics.json", "tensorboard", "curves.png", "regularization.png", "report.html",
        "weights.png",
        "model.keras",
    }  # fmt: skip


def test_what_is_printed(finished):
    first, *progress = finished.out.splitlines()[:14]
    assert first == "600 training images: --refit-epochs 4"
    assert progress[0].split()[:3] == ["epoch", "loss", "accuracy"]
    assert [line.split()[0] for line in progress[1:]] == [f"{epoch}/12" for epoch in range(1, 13)]
    assert "\x1b" not in finished.out
    assert "\r" not in finished.out
    assert max(map(len, finished.out.splitlines())) <= 80
    shown = table(finished.out)
    assert (shown["run"], shown["SavedModel"]) == ("runs/digits-mlp-group", "saved_models/digits-mlp-group/1")
    assert shown["test accuracy"] == f"{finished.metrics['test_accuracy']:.4f}"
    assert shown["exact zeros"] == f"{finished.metrics['sparsity']:.2%}"
    assert shown["test accuracy, no penalty"] == f"{finished.metrics['baseline_test_accuracy']:.4f}"
    assert finished.out.splitlines()[-1] == gain.words(finished.metrics, Config(reg="group"))


@pytest.mark.slow
def test_the_baseline_is_the_same_training_without_the_penalty(finished, train):
    settings = (*SPARSE, "--epochs", 12, "--name", "a")
    assert train(*settings)[0] == 0
    assert metrics_of("runs/a")["test_accuracy"] == finished.metrics["baseline_test_accuracy"]
    assert "baseline_test_accuracy" not in metrics_of("runs/a")


def test_the_history(finished):
    columns = finished.columns
    assert all(len(column) == 12 for column in columns.values())
    keys = {"penalty", "penalty/hidden_1", "sparsity/logits", "val_data_loss", "data_loss", "strength", "dead_groups"}
    assert keys < set(columns)


def test_the_saved_model_of_keras(finished):
    model, metrics = keras.models.load_model(finished.run / "model.keras"), finished.metrics
    losses = model.evaluate(image_data.load("digits").test, verbose=0, return_dict=True)
    assert losses["accuracy"] == metrics["test_accuracy"] > 0.7
    assert losses["loss"] == pytest.approx(metrics["test_loss"], rel=1e-6)
    assert metrics["test_loss"] == pytest.approx(metrics["test_data_loss"] + metrics["penalty"], rel=1e-5)


def test_the_version_for_the_server_gives_the_printed_accuracy(finished):
    serve = tf.saved_model.load(str(finished.version)).signatures["serving_default"]
    right = [
        np.argmax(serve(inputs=tf.cast(x, "float32"))["probabilities"], axis=1) == np.argmax(y, axis=1)
        for x, y in image_data.load("digits").test
    ]
    assert np.mean(np.concatenate(right)) == pytest.approx(finished.metrics["test_accuracy"], abs=1e-6)


def test_dead_units(finished):
    hidden, logits = finished.kernels
    dead = (hidden == 0).all(axis=0).sum() + (logits == 0).all(axis=1).sum()
    assert dead > 10
    assert finished.columns["dead_groups"][-1] == dead
    assert finished.metrics["sparsity"] == pytest.approx(
        ((hidden == 0).sum() + (logits == 0).sum()) / (64 * 128 + 1280)
    )
    assert finished.metrics["live_parameters"] < finished.metrics["parameters"]


def test_the_configuration_is_read_again(finished):
    again = configured({}, finished.run / "config.json")
    assert (again.reg, again.group_lasso, again.epochs) == ("group", 0.01, 12)


@pytest.mark.slow
def test_tensorboard_has_each_number_once_and_the_settings(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = {}
    for name in ("train", "validation"):
        events = EventAccumulator(str(finished.run / "tensorboard" / name), size_guidance={"tensors": 0})
        found[name] = events.Reload()
    tags = {name: events.Tags()["tensors"] for name, events in found.items()}
    assert {path.name for path in (finished.run / "tensorboard").iterdir()} == {"train", "validation"}
    assert {"penalty/model", "penalty/hidden_1", "sparsity/model", "strength/model", "training/loss"} < {*tags["train"]}
    assert {*tags["validation"]} == {"training/loss", "training/accuracy", "training/data_loss"}
    groups = sorted({tag.partition("/")[0] for tag in tags["train"]} - {"_hparams_"})
    assert groups == ["penalty", "sparsity", "strength", "training", "weights"]
    for tag, column in (("penalty/model", "penalty"), ("training/data_loss", "data_loss")):
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in found["train"].Tensors(tag)]
        assert values == pytest.approx(finished.columns[column], rel=1e-6)
    settings = HParamsPluginData.FromString(
        found["train"].summary_metadata["_hparams_/session_start_info"].plugin_data.content
    ).session_start_info.hparams
    assert settings["reg"].string_value == "group"
    assert settings["group_lasso"].number_value == 0.01


@pytest.mark.slow
def test_a_saved_configuration_trains_again(train, finished):
    assert train("--config", finished.run / "config.json", "--name", "b")[0] == 0
    assert Path("runs/b/history.csv").read_text() == (finished.run / "history.csv").read_text()


@pytest.mark.slow
def test_a_run_goes_on_from_the_weights_of_another(train, finished):
    start = finished.run / "model.keras"
    _, _, err = train("--weights", start, "--reg", "l1", "--no-proximal", "--epochs", 1, "--learning-rate", 1e-9)
    assert err == ""
    after = metrics_of("runs/digits-mlp-l1")
    assert after["test_accuracy"] == finished.metrics["test_accuracy"]
    assert after["penalty"] > 0
    for model, message in (("cnn", "expected conv_1"), ("linear", "no weights for this one")):
        code, _, err = train("--weights", start, "--model", model)
        assert code == 2
        assert message in err


def test_no_name_is_taken_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("saved_models/digits-linear").mkdir(parents=True)
    Path("runs/digits-linear-2").mkdir(parents=True)
    names = [run_folder.made_folder(Config(model="linear")).name for _ in range(2)]
    assert names == ["digits-linear-3", "digits-linear-4"]


def test_a_folder_is_named_after_its_last_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_folder._free_names(Config(dataset="folder:../photos/..", image_size=(8, 8)))
    assert next(names) == f"{tmp_path.parent.name}-mlp"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), VerificationError("No, it differs.")])
def test_a_run_that_can_not_be_written_is_one_sentence(train, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(run, "_train_and_write", fail)
    code, _, err = train("--model", "linear", "--name", "a")
    assert code == 2
    assert err.count("\n") == 1
    assert str(error) in err
    assert "runs/a" in err


@pytest.mark.slow
def test_an_export_that_fails_keeps_the_model(train, monkeypatch):
    """The run has no penalty, so that it has no sparsity to report either."""

    def fail(model, folder, examples, details):
        assert details["metrics"]["penalty"] == 0
        assert "sparsity" not in details["metrics"]
        raise VerificationError("No, it differs.")

    monkeypatch.setattr(run, "export", fail)
    code, out, err = train("--epochs", 1, "--model", "linear", "--train-size", 50, "--name", "a")
    assert code == 2
    assert "nan" not in out
    assert "No, it differs. It lies in runs/a." in err
    assert Path("runs/a/model.keras").exists()
    assert metrics_of("runs/a")["epochs"] == 1


def test_nobody_reads_what_training_prints(train, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        code, _, err = train("--model", "linear", "--train-size", 50, "--batch-size", 50, "--epochs", 2)
    assert (code, err) == (141, "")
    assert not Path("runs/digits-linear/metrics.json").exists()


@pytest.mark.slow
def test_an_export_of_a_finished_run(command, finished):
    shutil.copytree(finished.run, "runs/a")
    code, out, err = command(
        "export", "runs/a", "--signatures", "uint8", "bytes", "--class-id", "--top-k", 3, "--logits"
    )
    assert (code, err) == (0, "")
    assert "saved_models/a/1" in out
    said, first = (
        json.loads((at / "assets.extra/tf_reg.json").read_text()) for at in (Path("saved_models/a/1"), finished.version)
    )
    assert said["classes"] == first["classes"] == [str(digit) for digit in range(10)]
    assert said["config"] == first["config"]
    assert said["metrics"] == first["metrics"] == finished.metrics
    assert set(said["signatures"]) == {"serving_default", "serving_uint8", "serving_bytes"}
    test_images = next(image_data.load("digits").test.as_numpy_iterator())[0]
    records = list(warmup.read(Path("saved_models/a/1") / warmup.FILE))
    np.testing.assert_array_equal(records[1].inputs["inputs"], test_images[:8])


def test_what_the_library_warns_of_is_a_note(capsys):
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with notes.warnings_as_notes():
            warnings.warn("TargetSparsity(0.5) did not reach it.", stacklevel=1)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("after", stacklevel=1)
    assert capsys.readouterr().err == "Note: TargetSparsity(0.5) did not reach it.\n"
    assert [str(other.message) for other in others] == ["old", "after"]
