"""Paths on the command line and in a configuration, and files that are whole or not there."""

import contextlib
import dataclasses
import json
import os
import subprocess
from pathlib import Path

import keras
import pytest

from tf_reg.recipes import run
from tf_reg_cli.config import Config
from tf_reg_cli.config_file import configured
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import sweep, whole, write_whole
from tf_reg_cli.main import parse

FLAGS = [
    ("train", "--runs-dir"), ("train", "--saved-models-dir"), ("train", "--data-dir"), ("train", "--weights"),
    ("train", "--config"), ("compare", "--results"), ("compare", "--config"), ("export", "--saved-models-dir"),
    ("export", "--examples"), ("predict", "--classes"),
]  # fmt: skip
BEFORE = {"export": ["model.keras"], "predict": ["x.npy", "--model", "m"]}


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_no_path_is_empty(name, flag):
    with pytest.raises(UserError, match=rf"{flag} must be the path of a file or folder.* Received: ''\.$"):
        parse([name, *BEFORE.get(name, []), flag, ""])


@pytest.mark.parametrize(
    ("words", "name"),
    [(["export", ""], "SOURCE"), (["verify", ""], "VERSIONS"), (["predict", "", "--model", "m"], "FILES")],
)
def test_no_argument_is_empty(words, name):
    with pytest.raises(UserError, match=f"{name} must be the path"):
        parse(words)


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("data_dir", "weights", "runs_dir", "saved_models_dir")
    made = Config(**dict.fromkeys(names, "~/x"), dataset="folder:~/photos")
    assert {getattr(made, name) for name in names} == {str(tmp_path / "x")}
    assert made.dataset == f"folder:{tmp_path}/photos"
    (tmp_path / "c.json").write_text(json.dumps({"runs_dir": "~/y"}))
    _, bound = parse(["train", "--config", "~/c.json"])
    assert configured({}, bound.kwargs["config"]).runs_dir == str(tmp_path / "y")
    _, bound = parse(["verify", "~/m/1", "here/~"])
    assert bound.args == ((tmp_path / "m/1", Path("here/~")),)
    with pytest.raises(UserError, match="~NAME that of a user who exists"):
        parse(["train", "--runs-dir", "~nobody-of-this-name/x"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--lr", "1"], "There is no flag --lr. Did you mean --learning-rate?"),
        (["--wd", "1"], "Did you mean --weight-decay?"),
        (["--model", "CNN"], "Received: 'CNN'. Did you mean cnn?"),
        (["--model", "resnet50"], "Did you mean ResNet50?"),
        (["--reg", "L1"], "Received: 'L1'. Did you mean l1?"),
    ],
)
def test_near_names(words, hint):
    with pytest.raises(UserError) as caught:
        parse(["train", *words])
    assert str(caught.value).endswith(hint)


def test_near_names_in_a_file(tmp_path):
    file = tmp_path / "config.json"
    for content, words in (
        ({"lr": 1, "modell": "cnn"}, "lr: Did you mean learning_rate? modell: Did you mean model?"),
        ({"model": "Mlp"}, "Received: 'Mlp'. Did you mean mlp?"),
        ({"hidden": [0]}, "Received: 0."),
        ({"hidden": [8, 0]}, "Received: 8 0."),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(UserError) as caught:
            configured({}, file)
        assert words in str(caught.value)


def test_a_file_is_whole_or_not_there(tmp_path):
    with contextlib.suppress(RuntimeError), whole(tmp_path / "a") as unfinished:
        unfinished.write_text("half")
        assert not (tmp_path / "a").exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    write_whole(tmp_path / "a", "all")
    with contextlib.suppress(OSError), whole(tmp_path / "a") as unfinished:
        unfinished.write_text("half")
        raise OSError(28, "No space left on device")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["all"]


def test_a_model_that_is_cut_off_has_not_its_name(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def killed(path):
        Path(path).write_bytes(b"half of it")
        assert not (tmp_path / "model.keras").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run._keep(model, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    run._keep(model, {}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert keras.models.load_model(tmp_path / "model.keras").count_params() == 3


def test_every_path_of_a_configuration_is_checked():
    """A new field that is a path has the type of the others."""
    named = {
        field.name for field in dataclasses.fields(Config) if field.name.endswith("_dir") or field.name == "weights"
    }
    for name in named:
        with pytest.raises(UserError, match="must be the path of a file or folder"):
            Config(**{name: " "})


def test_what_killed_processes_left_is_swept(tmp_path):
    with subprocess.Popen(["true"]) as ended:
        pass
    left, written, mine = (tmp_path / f".writing-{who}-a.json" for who in (ended.pid, os.getpid(), "me"))
    for path in (left, written, mine):
        path.touch()
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([written, mine])
    sweep(tmp_path / "nowhere")
