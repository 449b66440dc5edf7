"""What the README tells people to do works."""

import re
import shlex

import keras
import pytest

import tf_reg
from tests.tools import ROOT
from tf_reg_cli.config import Config
from tf_reg_cli.config_file import configured
from tf_reg_cli.main import parse

README = (ROOT / "README.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)).replace("\\\n", " ")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = sorted(set(re.findall(r"(?:python scripts/(?!benchmark)\w+\.py|(?<!\S)tf-reg) [^\n&]*", SHELL)))


def test_the_two_commands_install_and_go_on():
    commands = re.findall(r"^pip install -e .* && .*$", README, flags=re.MULTILINE)
    assert commands == [
        "pip install -e . && python scripts/train.py --reg l1l2",
        'pip install -e ".[test]" && pytest',
    ]


@pytest.mark.slow
def test_python_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    """And they show what the text around them says."""
    monkeypatch.chdir(tmp_path)
    names, printed = {}, []
    for number, code in enumerate(PYTHON):
        exec(compile(code, f"README.md, Python block {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    (report,) = [text for text in printed if "live parameters" in text]
    assert "dense " in report
    assert " 0 (0.0%)" not in report.splitlines()[2], "no zeros"
    assert "32\n" in printed, "half of 64 units are dead"
    sgd = keras.optimizers.SGD(0.01)
    plain, proximal = names["program"](keras.optimizers.SGD(0.01)), names["program"](tf_reg.Proximal(sgd))
    assert (plain != 0).all()
    assert (proximal == 0).sum() == 2
    assert (tmp_path / "saved_models").is_dir()
    check_models_that_exist(names)
    (table,) = [text for text in printed if text.startswith("variable ")]
    shown = README.partition("\nvariable ")[2].partition("\n```")[0].splitlines()[1:]
    assert [line for line in shown if line != "..." and line not in table] == []


def check_models_that_exist(names):
    """The penalties that the models of that section have."""
    found = {name: tf_reg.regularizers_of(names[name]).weights for name in ("network", "net", "vae", "twins")}
    assert {name: len(rows) for name, rows in found.items()} == {"network": 15, "net": 2, "vae": 2, "twins": 2}
    assert [row.saved for row in found["net"]] == [False, False]
    assert len(names["vae"].losses) == 3, "the layer's own and two penalties"
    assert len(names["twins"].losses) == 2, "one of the shared kernel and one of its bias"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_flags_that_exist(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/digits-mlp-l1l2").mkdir(parents=True)
    Config().save(tmp_path / "runs/digits-mlp-l1l2/config.json")
    script = re.match(r"python scripts/(\w+)\.py ", command)
    words = [script[1], *shlex.split(command[script.end() :])] if script else shlex.split(command)[1:]
    called, bound = parse(words)
    assert called.__module__ == f"tf_reg_cli.commands.{words[0].replace('-', '_')}"
    if words[0] in ("train", "compare"):
        assert configured(bound.kwargs.get("flags") or {}, bound.kwargs.get("config"))


def test_every_script_is_shown():
    for script in (ROOT / "scripts").glob("*.py"):
        assert f"scripts/{script.name}" in README
