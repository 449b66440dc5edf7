"""`tf-reg export`, run as a user does, in this process."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import classifier, pixels, published
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import verification
from tf_reg.serving.write import versions
from tf_reg_cli.commands import export as export_command


@pytest.fixture
def export(command):
    """Run `tf-reg export` in an empty folder: returns exit code, stdout and stderr."""
    return functools.partial(command, "export")


def test_a_file(export, tmp_path):
    model = classifier()
    model.save(tmp_path / "flowers.keras")
    np.save(tmp_path / "x.npy", pixels(5))
    code, out, _ = export("flowers.keras", "--version", 4, "--examples", "x.npy", "--saved-models-dir", "models")
    assert code == 0
    assert "models/flowers/4" in out
    assert tf_reg.verify_saved_model("models/flowers/4", model).difference < 1e-5
    assert export("flowers.keras", "--name", "other", "--output-name", "scores")[0] == 0
    found = saved_graph.signatures(saved_graph.load(Path("saved_models/other/1")))
    assert list(found["serving_default"].outputs) == ["scores"]


def interrupt(*args, **options):
    raise KeyboardInterrupt


def test_the_verification_of_the_export_is_printed(export, tmp_path, monkeypatch):
    monkeypatch.setattr(tf_reg, "verify_saved_model", lambda *args, **options: pytest.fail("a second time"))
    classifier().save(tmp_path / "a.keras")
    np.save(tmp_path / "x.npy", pixels(5))
    code, out, err = export("a.keras", "--examples", "x.npy")
    assert (code, err) == (0, "")
    assert "saved_models/a/1" in out
    assert "11, difference at most" in out  # the examples, and warm-up requests of 1 and 5 of them


def test_ctrl_c(export, tmp_path, monkeypatch):
    classifier().save(tmp_path / "a.keras")
    monkeypatch.setattr(versions, "sync", lambda path: path.name == "a" and interrupt())
    assert export("a.keras") == (130, "", f"\nInterrupted. {Path('saved_models/a')} has the new version 1.\n")
    monkeypatch.setattr(verification, "verify", interrupt)
    assert export("a.keras") == (130, "", "\nInterrupted. Nothing was published.\n")
    monkeypatch.setattr(export_command, "quiet_start", interrupt)
    assert export("a.keras") == (130, "", "\nInterrupted. Nothing was published.\n")
    assert published(tmp_path / "saved_models" / "a") == ["1"]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "/a", "a/"])
def test_names_are_those_of_folders(export, name):
    message = f"tf-reg export: --name must be the name of a folder, such as flowers. Received: {name!r}.\n"
    assert export("a.keras", "--name", name) == (2, "", message)


def test_models_that_can_not_be_loaded(export, tmp_path, monkeypatch):
    classifier().save(tmp_path / "a.keras")
    for error, words in ((ValueError(), "ValueError."), (TypeError("\n\x1b[1mno such\x1b[0m\nmore"), "no such.")):
        monkeypatch.setattr(keras.saving, "load_model", lambda *args, error=error, **options: _raise(error))
        assert export("a.keras") == (2, "", f"tf-reg export: a.keras can't be loaded as a Keras model: {words}\n")


def _raise(error):
    raise error


def test_mistakes_are_one_sentence(export, tmp_path):
    classifier().save(tmp_path / "a.keras")
    (tmp_path / "b.keras").write_bytes(b"no model")
    (tmp_path / "x.npy").write_bytes(b"no array")
    (tmp_path / "run").mkdir()
    classifier().save(tmp_path / "run" / "model.keras")
    (tmp_path / "run" / "config.json").write_text(json.dumps({"dataset": "folder:nowhere", "image_size": [8, 8]}))
    keras.Sequential([keras.Input((2,)), layers.Dense(2)]).save(tmp_path / "logits.keras")
    assert export("a.keras", "--version", 1)[0] == 0
    for flags, words in (
        (["nowhere"], "is neither the folder of a run"),
        (["b.keras"], "b.keras can't be loaded as a Keras model"),
        (["a.keras", "--examples", "x.npy"], "x.npy can't be read as an array"),
        (["a.keras", "--version", 1], "Version 1 exists"),
        (["a.keras", "--version", 0], "positive integer"),
        (["a.keras", "--top-k", 9], "from 1 to the model's 3 classes"),
        (["logits.keras"], "aren't probabilities"),
        (["run"], "give --examples FILE.npy"),
    ):
        code, out, err = export(*flags)
        assert (code, out) == (2, "")
        [message] = err.splitlines()
        assert message.startswith("tf-reg export: ")
        assert words in message
