"""Every shell command of the pages has flags that exist and files that exist."""

import re
import runpy
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, commands, outside_code
from tests.tools import ROOT
from tf_reg.recipes import comparison, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = {"pytest", "ruff", "mypy", "lint-imports", "sphinx-build"}
VERBS = {"train", "compare", "export", "predict", "verify"}
ALL = [(page, words) for page in PAGES for words in commands(page)]


def program(words):
    """The program that a command starts, and its arguments; None for a command that isn't ours."""
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
    if kind == "module":
        runpy.run_module(name, run_name="__main__")
    else:
        runpy.run_path(str(ROOT / (name if kind == "path" else f"scripts/{name}.py")), run_name="__main__")


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
        assert flags <= known | {flag.replace("--no-", "--") for flag in known}


class Stop(SystemExit):
    """Raised in the place of a training, with its configuration."""


def configuration(words, monkeypatch, folder):
    """The configuration that a command of train.py or compare.py asks for."""

    def stop(config, *_):
        raise Stop(config)

    monkeypatch.setattr(run, "run", stop)
    monkeypatch.setattr(comparison, "compare", stop)
    monkeypatch.chdir(folder)
    with pytest.raises(Stop) as stopped:
        start(words, monkeypatch)
    return stopped.value.code


TRAINING = [
    (page, words)
    for page, words in OURS
    if program(words)[0][1] in ("scripts/train.py", "scripts/compare.py", "train", "compare")
]


@pytest.mark.parametrize(("page", "words"), identified(TRAINING))
def test_trainings_are_possible(page, words, monkeypatch, tmp_path):
    """All values are allowed, and no flag is without effect."""
    (tmp_path / "runs/digits-mlp-l1l2").mkdir(parents=True)
    (tmp_path / "runs/digits-mlp-l1l2/config.json").write_text('{"reg": "l1l2"}')
    config = configuration(words, monkeypatch, tmp_path)
    assert config.name == (words[words.index("--name") + 1] if "--name" in words else None)


FILE = re.compile(r"(?:folder:)?([\w./-]+(?:\.(?:png|npy|h5|json|keras|py|toml|cff|md)|/[\w.-]+|photos))$")


def written_before(page, words, monkeypatch, folder):
    """The folders that the trainings of a page write before a command."""
    made = set()
    for other in commands(page):
        if other == words:
            return made
        if (page, other) in TRAINING:
            config = configuration(other, monkeypatch, folder)
            made |= {f"{parent}/{name}" for name in run_names(config) for parent in ("runs", "saved_models")}
    return made


def run_names(config):
    return [config.name] if config.name else ["-".join([config.dataset, config.model, *config.methods])]


@pytest.mark.parametrize(("page", "words"), identified(OURS))
def test_files_exist_or_are_written_before_or_are_the_readers(page, words, monkeypatch, tmp_path):
    (_, _), arguments = program(words)
    named = {match[1] for word in arguments if (match := FILE.match(word)) and not word.startswith("-")}
    sentences = re.findall(r"[^.\n]*`[^\n]*(?:your files|Keras publishes)", outside_code(page))
    readers = set(re.findall(r"`([\w./-]+)`", " ".join(sentences)))
    (tmp_path / "runs/digits-mlp-l1l2").mkdir(parents=True)
    (tmp_path / "runs/digits-mlp-l1l2/config.json").write_text('{"reg": "l1l2"}')
    made = written_before(page, words, monkeypatch, tmp_path)
    for name in named - readers:
        assert (ROOT / name).exists() or "/".join(Path(name).parts[:2]) in made, f"{name} doesn't exist"


@pytest.mark.parametrize(("page", "words"), identified(OTHERS))
def test_other_commands_name_what_exists(page, words):
    match words:
        case ["pip", "install", "-e", target]:
            extras = re.fullmatch(r"\.(?:\[(.*)\])?", target)[1]
            assert set(extras.split(",") if extras else []) <= set(PROJECT["optional-dependencies"])
        case ["cd", folder]:
            assert (ROOT / folder).is_dir()
        case [setting, "docker", "compose", "--profile", profile, "up"]:
            assert setting.startswith("MODEL=")
            assert f"profiles: [{profile}]" in (ROOT / "saved_models/compose.yaml").read_text()
        case [".ci/run"]:
            assert (ROOT / ".ci/run").is_file()
        case ["KERAS_BACKEND=jax", "pytest", *_]:
            pass
        case [tool, *_]:
            assert tool in TOOLS


def test_every_script_is_shown():
    shown = " ".join(" ".join(words) for _, words in ALL)
    for script in (ROOT / "scripts").glob("*.py"):
        assert f"scripts/{script.name}" in shown
