"""Models with layers of a user's own: named, and found by `--custom`."""

import functools
import sys

import keras
import pytest
from keras import layers

MODULE = """
import keras

number = 3

class Doubling(keras.layers.Layer):
    def call(self, x):
        return 2 * x

def halved(x):
    return x / 2
"""


@pytest.fixture
def export(command, tmp_path, monkeypatch):
    """`tf-reg export` in a folder with the module `mine_for_tests`, and a model of what is in it."""
    (tmp_path / "mine_for_tests.py").write_text(MODULE)
    (tmp_path / "broken_for_tests.py").write_text("1 / 0")
    (tmp_path / "needy_for_tests.py").write_text("import nothing_of_this_name")
    space: dict = {}
    exec(MODULE, space)
    monkeypatch.setattr(sys, "path", list(sys.path))
    ends = [layers.Dense(3, activation=space["halved"]), layers.Softmax()]
    keras.Sequential([keras.Input((4,)), space["Doubling"](), *ends]).save(tmp_path / "own.keras")
    keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: 2 * x), layers.Softmax()]).save(
        tmp_path / "code.keras"
    )
    yield functools.partial(command, "export")
    for name in ("mine_for_tests", "broken_for_tests", "needy_for_tests"):
        sys.modules.pop(name, None)


def test_own_classes_and_functions(export):
    code, out, err = export("own.keras", "--custom", "mine_for_tests:Doubling", "mine_for_tests:halved")
    assert (code, err) == (0, "")
    assert "saved_models/own/1" in out


def test_code_in_the_file_runs_only_if_it_may(export, tmp_path):
    code, _, err = export("code.keras")
    assert code == 2
    assert "Pass --unsafe-lambda if you trust whoever made the file." in err
    assert not (tmp_path / "saved_models").exists()
    assert export("code.keras", "--unsafe-lambda")[0] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "Doubling is neither of Keras nor of tf_reg. Say where it is by --custom MODULE:Doubling"),
        (["--custom", "mine_for_tests:Doubling"], "halved is neither of Keras nor of tf_reg"),
        (["--custom", "nothing_of_this_name:A"], "there is no module nothing_of_this_name in the folder"),
        (["--custom", "mine_for_tests:Dubling"], "has no Dubling. Did you mean Doubling?"),
        (["--custom", "mine_for_tests:number"], "expected a class, such as one of keras.Layer, or a function."),
        (["--custom", "broken_for_tests:A"], "importing broken_for_tests fails: ZeroDivisionError: division by zero."),
        (["--custom", "needy_for_tests:A"], "importing needy_for_tests fails: No module named 'nothing_of_this_name'."),
        (["--custom", "mine_for_tests.py"], "--custom must be MODULE:CLASS, such as layers:MyLayer"),
    ],
)
def test_what_is_not_found_is_named(export, flags, words):
    code, out, err = export("own.keras", *flags)
    assert (code, out) == (2, "")
    [said] = err.splitlines()
    assert words in said


def test_other_formats_have_a_hint(export, tmp_path):
    (tmp_path / "old.h5").write_bytes(b"")
    (tmp_path / "m.weights.h5").write_bytes(b"")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "saved_model.pb").write_bytes(b"")
    for source, words in (
        ("old.h5", 'keras.models.load_model("old.h5").save("old.keras")'),
        ("m.weights.h5", "It has weights alone: build the model, call `load_weights`"),
        ("served", "It is a SavedModel already"),
    ):
        assert words in export(source)[2]


def test_flags_are_named_as_flags(export):
    flags = ["--custom", "mine_for_tests:Doubling", "mine_for_tests:halved", "--top-k", 9]
    assert (
        "tf-reg export: --top-k must be from 1 to the model's 3 classes. Received: 9." in export("own.keras", *flags)[2]
    )
