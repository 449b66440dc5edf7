"""Every shell command of the pages has flags that exist and files that exist."""

import functools
import itertools
import os
import re
import runpy
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, commands, outside_code
from tests.tools import ROOT
from tf_reg.recipes import comparison, run
from tf_reg_cli.main import main

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = {"optuna-dashboard", "pytest", "ruff", "mypy", "lint-imports", "sphinx-build"}
VERBS = {"train", "tune", "shrink", "compare", "export", "predict", "verify", "serving-config"}
SUFFIXES = {".png", ".npy", ".h5", ".json", ".keras", ".py"}
ALL = [(page, words) for page in PAGES for words in commands(page)]


def program(words):
    """The program that a command starts, and its arguments; None for a command that isn't ours."""
    words = list(itertools.dropwhile(re.compile(r"[A-Z_]+=").match, words))  # variables of the environment
    match words:
        case ["python", "-m", module, *arguments]:
            return ("module", module), arguments
        case ["python", path, *arguments]:
            return ("path", path), arguments
        case ["tf-reg", verb, *arguments]:
            return ("verb", verb), arguments
    return None, words[1:]


def identified(pairs):
    return [pytest.param(page, words, id=f"{page.name}: {' '.join(words)}") for page, words in pairs]


OURS = [(page, words) for page, words in ALL if program(words)[0]]
OTHERS = [(page, words) for page, words in ALL if not program(words)[0]]


def start(words, monkeypatch):
    """Run one of our programs in this process, as `__main__`."""
    (kind, name), arguments = program(words)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    if kind == "verb":
        sys.exit(main([name, *arguments]))
    if kind == "module":
        monkeypatch.delitem(sys.modules, name, raising=False)  # another test has imported it
        runpy.run_module(name, run_name="__main__")
    else:
        runpy.run_path(str(ROOT / name), run_name="__main__")


@pytest.mark.parametrize(("page", "words"), identified(OURS))
def test_our_programs_have_these_flags(page, words, monkeypatch, capsys):
    (kind, name), arguments = program(words)
    assert kind != "verb" or name in VERBS
    assert kind != "module" or find_spec(name)
    assert kind != "path" or (ROOT / name).is_file()
    flags = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    if flags:
        subcommand = arguments[:1] if name == "scripts/benchmark.py" else []
        with pytest.raises(SystemExit):
            start([*words[: len(words) - len(arguments)], *subcommand, "--help"], monkeypatch)
        known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        assert flags <= known


def paths(arguments):
    """Which of a command's arguments are the paths of files, or the folders of data sets."""
    values = [word for word in arguments if not word.startswith("-") and "://" not in word]
    named = [word for word in values if "/" in word or Path(word).suffix in SUFFIXES or word.startswith("folder:")]
    return [word.removeprefix("folder:") for word in named]


class Stop(SystemExit):
    """Raised in the place of a training, with its configuration."""


@functools.cache
def configuration(*words):
    """The configuration that a command of train.py or compare.py asks for."""

    def stop(config, *_):
        raise Stop(config)

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(run, "run", stop)
        patch.setattr(comparison, "compare", stop)
        patch.chdir(folder)
        for name in paths(words[2:]):  # what the training would read
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text('{"reg": "l1l2"}' if name.endswith(".json") else "")
        with pytest.raises(Stop) as stopped:
            start(list(words), patch)
    return stopped.value.code


TRAINING = [
    (page, words)
    for page, words in OURS
    if program(words)[0][1] in ("scripts/train.py", "scripts/compare.py", "train", "compare")
    and "linear" not in words[:3]
    and "--resume" not in words
]
RESUMED = [(page, words) for page, words in OURS if "--resume" in words]


@pytest.mark.parametrize(("page", "words"), identified(TRAINING))
def test_trainings_are_possible(page, words):
    """All values are allowed, and no flag is without effect."""
    config = configuration(*words)
    assert config.name == (words[words.index("--name") + 1] if "--name" in words else None)


@pytest.mark.parametrize(("page", "words"), identified(RESUMED))
def test_a_run_that_goes_on_was_begun_before(page, words):
    assert words[words.index("--resume") + 1] in written_before(page, words)


def written_before(page, words):
    """The folders that the trainings of a page write before a command."""
    made = set()
    for other in commands(page):
        if other == words:
            return made
        if (page, other) in TRAINING:
            config = configuration(*other)
            made |= {f"{parent}/{name}" for name in run_names(config) for parent in ("runs", "saved_models")}
    return made


def run_names(config):
    return [config.name] if config.name else ["-".join([config.dataset, config.model, *config.methods])]


@pytest.mark.parametrize(("page", "words"), identified(OURS))
def test_files_exist_or_are_written_before_or_are_the_readers(page, words):
    _, arguments = program(words)
    sentences = re.findall(r"[^.\n]*`[^\n]*(?:your files|Keras publishes)", outside_code(page))
    readers = set(re.findall(r"`([\w./-]+)`", " ".join(sentences)))
    made = written_before(page, words)
    for name in set(paths(arguments)) - readers:
        assert (ROOT / name).exists() or "/".join(Path(name).parts[:2]) in made, f"{name} doesn't exist"


@pytest.mark.parametrize(("page", "words"), identified(OTHERS))
def test_other_commands_name_what_exists(page, words):
    match words:
        case ["pip", "install", "-e", target]:
            extras = re.fullmatch(r"\.(?:\[(.*)\])?", target)[1]
            assert set(extras.split(",") if extras else []) <= set(PROJECT["optional-dependencies"])
        case ["pip", "install", *_, "-r", file]:
            assert (ROOT / file).is_file()
        case ["cd", folder]:
            assert (ROOT / folder).is_dir()
        case [setting, "docker", "compose", "--profile", profile, "up"]:
            assert setting.startswith("MODEL=")
            assert f"profiles: [{profile}]" in (ROOT / "saved_models/compose.yaml").read_text()
        case [".ci/run" | ".ci/lock" | ".ci/audit" as path]:
            assert os.access(ROOT / path, os.X_OK)
        case ["KERAS_BACKEND=jax", "pytest", *_]:
            pass
        case [tool, *_]:
            assert tool in TOOLS


def test_every_script_is_shown():
    shown = " ".join(" ".join(words) for _, words in ALL)
    for script in (ROOT / "scripts").glob("*.py"):
        assert f"scripts/{script.name}" in shown
