"""`tf-reg tune`: what it searches, and what it refuses before TensorFlow is imported."""

import dataclasses
import sys

import pytest

from tf_reg_cli import search_space
from tf_reg_cli.commands import tune
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.search_space import Choices, Range

SPACE = """
dropout = {low = 0, high = 0.5}
l1 = {low = 1e-6, high = 1e-3, log = false}
hidden = {choices = [[16], [32, 16]]}
[layer_factors]
hidden_1 = {low = 0.1, high = 10.0}
"""


def test_words():
    words = ["dropout=0:0.5", "l1=1e-6:1e-3", "early-stopping=3:9", "reg=l1,group", "batch-norm=true,false"]
    assert search_space.from_words(
        [*words, "hidden=16,32", "layer-factors.conv_1=0.1:10", "learning_rate=0.1:0.5"]
    ) == {
        "dropout": Range(0.0, 0.5, False),
        "l1": Range(1e-6, 1e-3, True),
        "early_stopping": Range(3, 9, False),
        "reg": Choices(("l1", "group")),
        "batch_norm": Choices((True, False)),
        "hidden": Choices(([16], [32])),
        "layer_factors.conv_1": Range(0.1, 10, True),
        "learning_rate": Range(0.1, 0.5, False),
    }


def test_a_file(tmp_path):
    (tmp_path / "space.toml").write_text(SPACE)
    found = search_space.from_file(tmp_path / "space.toml")
    assert found == {
        "dropout": Range(0.0, 0.5, False),
        "l1": Range(1e-6, 1e-3, False),
        "hidden": Choices(([16], [32, 16])),
        "layer_factors.hidden_1": Range(0.1, 10, True),
    }
    (tmp_path / "space.json").write_text(search_space.json.dumps(search_space.as_data(found)))
    assert search_space.from_file(tmp_path / "space.json") == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dropout = ", r"can't be read as TOML: "),
        ("", r"must hold settings, such as dropout = \{low = 0.0, high = 0.5\}"),
        ("dropout = 0.5", r"dropout must have low, high and maybe log, or choices, a list. Received: 0.5"),
        ("dropout = {low = 0}", r"dropout must have low, high and maybe log"),
        ("dropout = {choices = []}", r"dropout must have low, high and maybe log"),
        ("dropout = {choices = 3}", r"dropout must have low, high and maybe log"),
        ("dropout = {low = 0, high = 'x'}", r"dropout: a range goes from a number to a larger one. Received: 0 and x"),
        ("dropout = {low = 0, high = 0.5, log = true}", r"log is true or false, and true takes a low end above 0"),
        ("dropuot = {low = 0, high = 0.5}", r"there is no setting dropuot. Did you mean dropout"),
        ("layer_factors = 3", r"layer_factors is the same for all trials"),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, sentence):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(UserError, match=r"^--space \S*space.toml.*" + sentence):
        search_space.from_file(tmp_path / "space.toml")


def test_what_is_searched_by_default():
    found = search_space.default(Config(reg="l1l2"), (), 10_000)
    assert found == {
        "l1": Range(1.4e-6, 1.4e-3, True),
        "l2": Range(1.1e-6, 1.1e-3, True),
        "dropout": Range(0.0, 0.6, False),
        "weight_decay": Range(1e-4, 0.1, True),
        "learning_rate": Range(1e-4, 1e-2, True),
    }
    given = Config(reg="l1l2", l2=1e-4, dropout=0.5)
    assert set(search_space.default(given, {"l2", "dropout"}, 900)) == {"l1", "weight_decay", "learning_rate"}
    assert set(search_space.default(Config(), (), 900)) == {"dropout", "weight_decay", "learning_rate"}


def test_what_others_depend_on_is_drawn_first():
    space = search_space.from_words(["l1=1e-6:1e-3", "momentum=0:0.9", "optimizer=adam,sgd", "reg=l1,group"])
    assert list(search_space.checked(space, Config(), ())) == ["optimizer", "reg", "l1", "momentum"]


def test_drawn_values_as_fields():
    values = {"l1": 1e-4, "early_stopping": 3.0, "layer_factors.a": 0.5, "layer_factors.b/c": 2.0, "hidden": [8]}
    fields = search_space.as_fields(values)
    assert fields == {"l1": 1e-4, "early_stopping": 3, "layer_factors": ("a=0.5", "b/c=2.0"), "hidden": [8]}
    assert type(fields["early_stopping"]) is int
    assert dataclasses.replace(Config(reg="l1"), **fields).hidden == (8,)


def test_every_setting_of_a_training_is_searched_or_fixed():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert set(search_space.FIXED) <= fields
    assert {"l1", "dropout", "weight_decay", "learning_rate", "reg"} <= fields - set(search_space.FIXED)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--search", "nope=1:2"], "--search: there is no setting nope. "),
        (["--search", "dropout=0:0.5:0.1"], "--search takes NAME=LOW:HIGH, of two numbers."),
        (["--search", "calibrate=true,false"], "--search: calibrate is the same for all trials."),
        (["--search", "seed=1:2"], "--search: seed is the same for all trials. What can be searched: model, "),
        (
            ["--search", "dropout=0.5:0.1"],
            "dropout=0.5:0.1: a range goes from a number to a larger one. Received: 0.5 a",
        ),
        (
            ["--search", "dropout=0:nan"],
            "dropout=0:nan: a range goes from a number to a larger one. Received: 0.0 and ",
        ),
        (["--search", "dropout=0:2"], "--dropout must be at least 0 and below 1. Received: 2.0."),
        (["--search", "dropout"], "--search takes NAME=LOW:HIGH or NAME=A,B, each name once. Received: 'dropout'."),
        (["--search", "=1:2"], "--search takes NAME=LOW:HIGH or NAME=A,B, each name once. Received: '=1:2'."),
        (["--search", "dropout=0:0.1", "dropout=0:0.2"], "--search takes NAME=LOW:HIGH or NAME=A,B, each name once. "),
        (["--search", "l1=1e-5:1e-3"], "l1 does nothing without --reg l1, l1l2 or sparse-group."),
        (["--search", "reg=l1,foo"], "--reg must be one of none, l2, "),
        (["--search", "hidden=16:32"], "hidden=16:32: hidden has no range. Give its choices: hidden=A,B."),
        (["--search", "model=1:2"], "model=1:2: model has no range. Give its choices: model=A,B."),
        (["--search", "hidden=16,32", "--model", "linear"], "hidden does nothing without --model mlp."),
        (["--search", "early-stopping=1.5:3"], "early-stopping=1.5:3: early_stopping takes whole numbers. Received: "),
        (
            ["--search", "layer-factors.a=0:3", "--reg", "l1"],
            "--layer-factors must be LAYER=FACTOR with a factor above 0",
        ),
        (["--search", "layer-factors.a=0.1:3"], "layer_factors.a does nothing without --reg l1, l2, "),
        (["--dropout", "0.2", "--search", "dropout=0:0.5"], "--dropout is given and searched. Leave one out."),
        (["--space", "nowhere.toml"], "--space nowhere.toml can't be read as TOML: "),
        (["--trials", "0"], "--trials must be 1 or more. Received: 0."),
        (["--heartbeat", "0"], "--heartbeat must be from 1 to 3600. Received: 0."),
        (["--retries", "-1"], "--retries must be from 0 to 100. Received: -1."),
        (["--objectives", "speed"], "--objectives must be one of accuracy, data-loss, live-parameters. Received: 's"),
        (["--objectives", "accuracy", "accuracy"], "--objectives has a word twice. Leave one out."),
        (["--compact", "--reg", "l1"], "--compact does nothing in a search, which exports no models. Leave it out."),
        (["--reg", "mcp", "--layer-factors", "a=2"], "--layer-factors takes --reg l1, l2, "),
        (["--layer-factors", "a=2"], "--layer-factors does nothing without --reg l1, l2, "),
        (
            ["--reg", "l1", "--layer-factors", "a"],
            "--layer-factors must be LAYER=FACTOR with a factor above 0, such as ",
        ),
        (["--reg", "l1", "--layer-factors", "a=1", "a=2"], "--layer-factors must be LAYER=FACTOR with a factor above "),
    ],
)
def test_mistakes(command, monkeypatch, words, sentence):
    monkeypatch.setitem(sys.modules, "tf_reg.recipes.tuning", None)  # no mistake gets so far
    code, printed, said = command("tune", *words)
    assert (code, printed) == (2, "")
    assert said.startswith(f"tf-reg tune: {sentence}")
    assert len(said.splitlines()) == 1


def test_without_the_extra(command, monkeypatch):
    monkeypatch.setattr(tune, "find_spec", lambda name: None)
    sentence = 'tf-reg tune: Optuna is not installed: pip install -e ".[tune]".\n'
    assert command("tune") == (2, "", sentence)


def test_help_names_every_flag(command):
    code, printed, said = command("tune", "--help")
    assert (code, said) == (0, "")
    own = ("search", "space", "per-layer", "objectives", "trials", "no-prune", "storage", "heartbeat", "retries")
    for flag in own:
        assert f"  --{flag} " in printed
    assert printed.index("Search:") < printed.index("Data:")
