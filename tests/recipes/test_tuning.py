"""`tf-reg tune` with real trainings, in one process."""

import gc
import json
import logging
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.recipes.conftest import metrics_of
from tests.tools import ROOT, imported
from tf_reg_cli.config import Config

optuna = imported("optuna", "tune")

from tests.recipes import studies  # noqa: E402
from tf_reg.recipes import training  # noqa: E402
from tf_reg.recipes.forgetting import forgotten  # noqa: E402

SMALL = ("--hidden", 8, "--train-size", 200, "--epochs", 4, "--name", "s")
FEW = (*SMALL, "--trials", 4)


def study(folder="runs/s"):
    return studies.read(f"sqlite:///{folder}/study.db")


def pictures(folder):
    """The pictures of a folder, each with more than one colour."""
    found = {path.name: path for path in Path(folder).glob("*.png")}
    for path in found.values():
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors()) > 10
    return set(found)


@pytest.fixture
def tune(command):
    """Run `tf-reg tune` in an empty folder, where it must succeed: returns the lines it prints."""

    def run(*words):
        code, printed, said = command("tune", *words)
        assert (code, said) == (0, "")
        return printed.splitlines()

    return run


@pytest.mark.slow
def test_a_search_and_the_training_of_its_best(tune, command):
    lines = tune("--reg", "l1", *FEW)
    assert lines[:2] == ["runs/s: 0 of 4 trials are done.", "  l1: 9.9e-06 to 0.0099 (log)"]
    assert [line.partition(":")[0] for line in lines if line.startswith("trial ")] == [f"trial {n}" for n in range(4)]
    assert lines[-1] == "optuna-dashboard sqlite:///runs/s/study.db"
    assert "train it    tf-reg train --config runs/s/best.json" in lines
    files = {path.name for path in Path("runs/s").iterdir()}
    assert files - {"importances.png"} == {"study.db", "tune.json", "best.json", "history.png", "report.html"}
    assert "history.png" in pictures("runs/s")
    assert {trial.user_attrs["epochs"] for trial in study().trials if trial.state.name == "PRUNED"} <= {1, 2}
    assert {trial.user_attrs["epochs"] for trial in study().trials if trial.state.name == "COMPLETE"} == {4}
    best = study().best_trial
    assert f"Trial {best.number} is the best, by validation examples: accuracy {best.value:.4g}." in lines
    kept = json.loads(Path("runs/s/best.json").read_text())
    assert {name: kept[name] for name in best.params} == best.params
    assert not Path("saved_models").exists()

    assert command("train", "--config", "runs/s/best.json", "--no-baseline")[0] == 0  # as the last lines say
    [trained] = Path("saved_models").iterdir()
    metrics = metrics_of(f"runs/{trained.name}")
    assert metrics["validation_accuracy"] == best.value  # the very same training
    assert metrics["live_parameters"] == best.user_attrs["live_parameters"]


@pytest.mark.slow
def test_the_same_command_goes_on_and_a_second_time_trains_nothing(tune, command, monkeypatch):
    tune("--reg", "l1", *SMALL, "--trials", 2)
    assert len(study().trials) == 2
    lines = tune("--reg", "l1", *FEW)
    assert lines[0] == "runs/s: 2 of 4 trials are done."
    assert sum(line.startswith("trial ") for line in lines) == 2
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = tune("--reg", "l1", *FEW)
    assert again[0] == "runs/s: 4 of 4 trials are done."
    assert again[again.index("") :] == lines[lines.index("") :]
    for other in (["--reg", "l2"], ["--reg", "l1", "--objectives", "data-loss"], ["--reg", "l1", "--heartbeat", "5"]):
        code, printed, said = command("tune", *other, *FEW)
        assert (code, printed) == (2, "")
        assert said.startswith("tf-reg tune: The study runs/s exists with other settings (")
    Path("runs/taken").mkdir()
    code, _, said = command("tune", *FEW[:-4], "--name", "taken")
    assert (code, said) == (
        2, "tf-reg tune: runs/taken exists and is no folder of tf-reg tune. Choose another --name.\n",
    )  # fmt: skip


def test_a_wrong_address_leaves_nothing_behind(command):
    code, _, said = command("tune", "--storage", "mysql://me:secret@host/studies")
    assert code == 2
    assert said.startswith("tf-reg tune: --storage takes PostgreSQL")
    assert "secret" not in said
    assert not Path("runs").exists()


@pytest.mark.slow
def test_test_examples_have_no_say(tune, monkeypatch):
    load = training.load_data

    def without_a_test_set(config):
        images = load(config)
        object.__setattr__(images, "test", None)
        return images

    monkeypatch.setattr(training, "load_data", without_a_test_set)
    tune("--reg", "l1", *SMALL, "--trials", 2)


@pytest.mark.long
def test_several_objectives_have_a_front(tune):
    goals = ("--objectives", "accuracy", "live-parameters")
    lines = tune("--reg", "group", *goals, *SMALL, "--trials", 6, "--per-layer", "--search", "group-lasso=1e-3:1")
    assert "Several objectives: no trial ends early, and the result is the Pareto front." in lines
    found = study()
    assert {trial.state.name for trial in found.trials} == {"COMPLETE"}
    assert {name for trial in found.trials for name in trial.params} == {
        "group_lasso", "layer_factors.hidden_1", "layer_factors.logits",
    }  # fmt: skip
    front = {f"front-{trial.number}.json" for trial in found.best_trials}
    assert {path.name for path in Path("runs/s").glob("front-*.json")} == front
    assert all(any(name in line for line in lines) for name in front)
    assert {"history.png", "front.png"} <= pictures("runs/s")
    trial = found.best_trials[0]
    kept = json.loads(Path(f"runs/s/front-{trial.number}.json").read_text())
    assert kept["layer_factors"] == [
        f"{name}={trial.params[f'layer_factors.{name}']!r}" for name in ("hidden_1", "logits")
    ]
    counts = {trial.user_attrs["live_parameters"] for trial in found.trials}
    assert {trial.values[1] for trial in found.trials} == counts
    assert len(counts) > 1


@pytest.mark.slow
def test_choices_with_settings_of_their_own(tune, tmp_path):
    (tmp_path / "space.toml").write_text('reg = {choices = ["l1", "none"]}\nhidden = {choices = [[4], [8, 4]]}\n')
    tune(*FEW[2:], "--no-prune", "--space", "space.toml", "--search", "l1=1e-5:1e-2", "--seed", 1)
    found = study().trials
    assert all(("l1" in trial.params) == (trial.params["reg"] == "l1") for trial in found)
    assert {trial.params["reg"] for trial in found} == {"l1", "none"}
    assert all(trial.user_attrs["settings"]["hidden"] in ([4], [8, 4]) for trial in found)
    best = study().best_trial
    assert json.loads(Path("runs/s/best.json").read_text())["hidden"] == best.user_attrs["settings"]["hidden"]


@pytest.mark.slow
def test_trials_that_diverge_and_trials_without_memory_fail(command, monkeypatch):
    code, _, said = command("tune", *SMALL, "--trials", 2, "--optimizer", "sgd", "--search", "learning-rate=1e30:1e31")
    assert code == 1
    sentence = (
        "tf-reg tune: No trial was completed. The last one failed: the loss is no finite number. optuna-dashboard"
    )
    assert said.startswith(sentence)
    assert [trial.state.name for trial in study().trials] == ["FAIL", "FAIL"]

    def no_memory(*_, **__):
        raise MemoryError("too large\nfor us")

    monkeypatch.setattr(training, "fit", no_memory)
    code, printed, said = command("tune", *FEW[:-4], "--name", "m", "--trials", 2)
    assert code == 1
    assert printed.count("failed: no memory: too large,") == 2


@pytest.mark.long
def test_a_trial_whose_settings_contradict_each_other_fails_and_the_search_goes_on(command):
    words = ["--search", "reg=l1,lq", "proximal=true,false"]
    code, printed, said = command("tune", *SMALL, "--trials", 8, "--no-prune", *words)
    assert (code, said) == (0, "")
    trials = study().trials
    wrong = [one for one in trials if one.params == {"reg": "lq", "proximal": False}]
    assert wrong
    assert len(wrong) < len(trials) == 8
    assert {one.state.name for one in wrong} == {"FAIL"}
    assert all(one.user_attrs["reason"].startswith("--reg lq has no gradient at zero") for one in wrong)
    assert {one.state.name for one in trials if one not in wrong} == {"COMPLETE"}
    assert "failed: --reg lq has no gradient at zero that could be followed." in printed


@pytest.mark.slow
def test_ctrl_c_gives_the_trial_back(tmp_path, tune):
    words = ["--reg", "l1", *map(str, SMALL[:4]), "--epochs", "60", "--name", "s", "--trials", "2", "--no-prune"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts/tune.py", *words], cwd=tmp_path, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while not (found := study()) or not any(trial.intermediate_values for trial in found.trials):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    sentence = "Interrupted. Trial 0 has failed and is in the queue again. The same command goes on from here."
    assert said.strip().splitlines()[-1] == sentence
    assert "Traceback" not in said
    assert [trial.state.name for trial in study().trials] == ["FAIL", "WAITING"]
    lines = tune(*words)
    assert lines[0] == "runs/s: 0 of 2 trials are done."
    assert any(line.startswith("trial 1, which repeats 0: accuracy ") for line in lines)
    failed, again, other = study().trials
    assert (failed.params, again.system_attrs["failed_trial"]) == (again.params, 0)
    assert (again.state.name, other.state.name) == ("COMPLETE", "COMPLETE")


@pytest.mark.slow
def test_the_last_line_works(tune, tmp_path):
    imported("optuna_dashboard", "tune")
    tool, url = tune("--reg", "l1", *SMALL, "--trials", 1)[-1].split()
    dashboard = Path(sys.executable).with_name(tool)
    server = subprocess.Popen(
        [dashboard, url, "--port", "38471"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert '"study_name": "s"' in asked("http://127.0.0.1:38471/api/studies", server)
    finally:
        server.kill()
        server.communicate()


def asked(url, server):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            assert server.poll() is None, server.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.long
def test_memory_does_not_grow_with_the_trainings(monkeypatch):
    from tensorflow.python.framework.func_graph import FuncGraph

    monkeypatch.setattr(logging.getLogger("tensorflow"), "disabled", True)
    config = Config(reg="l1", l1=1e-4, hidden=(4,), epochs=1, train_size=100)
    images, counts = training.load_data(config), []
    for _ in range(3):
        with forgotten():
            model, data = training.prepare(config, images)
            training.fit(model, config, data, silent=True)
        del model, data
        gc.collect()
        counts.append(sum(issubclass(type(one), FuncGraph) for one in gc.get_objects()))
    assert counts[0] == counts[1] == counts[2]
