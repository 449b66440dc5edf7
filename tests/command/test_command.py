"""The command `tf-reg`: its help, how it ends, and that it answers before TensorFlow is imported."""

import dataclasses
import subprocess
import sys

import pytest

import tf_reg
from tests.tools import ROOT
from tf_reg_cli import main as main_module
from tf_reg_cli.commands import compare, train
from tf_reg_cli.config import Config

COMMANDS = ("train", "tune", "shrink", "compare", "export", "verify", "predict", "serving-config")


def test_help_lists_the_commands(command):
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert command() == (code, out, err)


def test_the_version(command):
    assert command("--version") == (0, f"tf-reg {tf_reg.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_into_80_columns(command, name):
    code, out, err = command(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: tf-reg {name} ")
    assert "For example:\n\n  tf-reg " in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert out.isascii()


def test_help_names_every_flag_and_its_default(command):
    shown = " ".join(command("train", "--help")[1].split())
    assert all("--" + field.name.replace("_", "-") in shown for field in dataclasses.fields(Config))
    assert "(default: 0.014 / root of training images; of tables 0.07 / root of rows)" in shown
    assert "(default: 0.011 / root of training images)" in shown
    assert "(default: 60 with fewer than 10,000 training images, else 20)" in shown
    assert "(default: 128)" in shown
    assert "zero_share" in shown
    assert "refit (1 while" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tarin"], "tf-reg: There is no command tarin. Did you mean train?"),
        (["--nope"], "tf-reg: There is no command --nope. The commands are train, tune, shrink, compare, "),
        (["train", "--epoch", "3"], "tf-reg train: There is no flag --epoch. Did you mean --epochs"),
        (["train", "--weights", "nowhere.keras"], "tf-reg train: --weights nowhere.keras is no file."),
        (["compare", "--seeds", "0"], "tf-reg compare: --seeds must be 1 or more. Received: 0."),
        (
            ["compare", "x"],
            "tf-reg compare: The plan x can't be read as TOML: [Errno 2] No such file or directory: 'x'.",
        ),
        (["export"], "tf-reg export: SOURCE is missing. --help shows what the command takes."),
        (["export", "nowhere"], "tf-reg export: nowhere is neither the folder of a run, with model.keras in it, "),
        (["verify", "nowhere"], "tf-reg verify: nowhere is no folder of a version, such as saved_models/m/1."),
        (["predict", "x.npy"], "tf-reg predict: Give --model NAME, the model's name on the server, or --onnx FILE."),
        (["predict", "x.npy", "--model", "m"], "tf-reg predict: x.npy can't be read: No such file."),
        (["serving-config", "nowhere"], "tf-reg serving-config: nowhere is no base folder of a model, "),
        (["serving-config", "m", "--label", "a"], "tf-reg serving-config: --label must be LABEL=VERSION, such as "),
    ],
)
def test_mistakes_are_one_sentence(command, words, message):
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["train", "tune", "compare", "export", "predict"])
def test_a_script_does_what_its_command_does(script, name):
    assert script(name).main is main_module.main
    assert f'main(["{name}", *sys.argv[1:]])' in (ROOT / f"scripts/{name}.py").read_text()


def test_a_mistake_is_found_without_tensorflow(tmp_path):
    """In a process of its own, since this one has imported it."""
    code = f"""
import sys
sys.argv = ["train.py", "--nope"]
sys.path.insert(0, {str(ROOT / "scripts")!r})
import runpy
try:
    runpy.run_path({str(ROOT / "scripts/train.py")!r}, run_name="__main__")
finally:
    print(*{{"tensorflow", "keras", "tf_reg"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout == "\n"
    assert done.stderr.startswith("tf-reg train: There is no flag --nope. ")
    assert done.stderr.count("\n") == 1


def interrupt(*args, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (train, ["train"], "Interrupted before anything was written."),
        (compare, ["compare"], "Interrupted. The same command goes on from here."),
    ],
)
def test_ctrl_c_in_the_import_ends_quietly(command, monkeypatch, module, words, message):
    monkeypatch.setattr(module, "quiet_start", interrupt)
    assert command(*words) == (130, "", f"\n{message}\n")
