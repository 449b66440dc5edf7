"""`scripts/train.py`, run as a user does, in this process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import tf_reg
from tests.tools import ROOT, require_module
from tf_reg.recipes import run as runs
from tf_reg.recipes import training
from tf_reg.recipes.data import image_data as data
from tf_reg.serving.verify.verification import VerificationError
from tf_reg_cli.config import Config


@pytest.fixture
def train(script, tmp_path, monkeypatch, capsys):
    """Run the script with some flags in an empty folder: returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*flags):
        code = script("train").main([str(flag) for flag in flags])
        return code, *capsys.readouterr()

    return run


def last_lines(out):
    """The table and the paths at the end of what a run prints, as `{label: value}`."""
    lines = [line.rsplit("  ", 1) for line in out.rstrip().splitlines()[-14:] if "  " in line]
    return {label.strip(): value.strip() for label, value in lines}


def test_a_run_leaves_everything_it_promises(train):
    code, out, err = train("--reg", "l1l2", "--epochs", 3, "--quiet")
    assert (code, err) == (0, "")
    run, exported = Path("runs/digits-mlp-l1l2"), Path("saved_models/digits-mlp-l1l2/1")
    table = last_lines(out)
    assert (table["run"], table["SavedModel"]) == (str(run), str(exported))
    assert {path.name for path in run.iterdir()} == {
        "config.json", "history.csv", "metrics.json", "tensorboard", "curves.png", "regularization.png", "model.keras",
    }  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    assert table["test accuracy"] == f"{metrics['test_accuracy']:.4f}"
    assert metrics["test_loss"] == pytest.approx(metrics["test_data_loss"] + metrics["penalty"], rel=1e-5)
    with (run / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert {"penalty", "penalty/hidden_1", "sparsity/logits", "val_data_loss", "data_loss"} < set(rows[0])
    model, images = keras.models.load_model(run / "model.keras"), data.load("digits")
    losses = model.evaluate(images.test, verbose=0, return_dict=True)
    assert losses["accuracy"] == metrics["test_accuracy"]
    assert losses["loss"] == pytest.approx(metrics["test_loss"], rel=1e-6)


@pytest.mark.slow
def test_tensorboard_has_the_penalty(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train("--reg", "l2", "--epochs", 2, "--quiet", "--name", "a")
    events = EventAccumulator("runs/a/tensorboard/train", size_guidance={"tensors": 0})
    events.Reload()
    assert {"epoch_penalty", "epoch_penalty/hidden_1", "epoch_sparsity"} < set(events.Tags()["tensors"])


@pytest.mark.slow
def test_the_saved_model_gives_the_printed_accuracy_in_a_new_process(train):
    _, out, _ = train("--reg", "l1l2", "--epochs", 2, "--quiet")
    images = [(x.numpy(), y.numpy()) for x, y in data.load("digits").test]
    np.savez("test.npz", x=np.concatenate([x for x, _ in images]), y=np.concatenate([y for _, y in images]))
    code = """
import numpy as np, tensorflow as tf
test = np.load("test.npz")
serve = tf.saved_model.load("saved_models/digits-mlp-l1l2/1").signatures["serving_default"]
guessed = serve(inputs=tf.constant(test["x"].astype("float32")))["probabilities"].numpy().argmax(axis=1)
print(f"{np.mean(guessed == test['y'].argmax(axis=1)):.4f}")
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == last_lines(out)["test accuracy"]


@pytest.mark.slow
def test_a_run_goes_on_from_the_weights_of_another(train):
    train("--epochs", 3, "--quiet", "--name", "first")
    _, _, err = train("--weights", "runs/first/model.keras", "--reg", "l1", "--epochs", 1, "--learning-rate", 1e-9)
    assert err == ""
    before, after = (json.loads(Path(f"runs/{name}/metrics.json").read_text()) for name in ("first", "digits-mlp-l1"))
    assert after["test_accuracy"] == before["test_accuracy"] > 0.8
    assert after["penalty"] > 0
    for model, message in (("cnn", "expected conv_1"), ("linear", "no weights for this one")):
        code, _, err = train("--weights", "runs/first/model.keras", "--model", model)
        assert code == 2
        assert message in err


@pytest.mark.slow
def test_a_network_of_keras_applications_is_trained_and_exported(train):
    flags = (
        "--model",
        "MobileNetV2",
        "--image-size",
        32,
        "--train-size",
        64,
        "--reg",
        "l1l2",
        "--epochs",
        1,
        "--quiet",
    )
    code, out, err = train(*flags)
    assert (code, err) == (0, "")
    assert Path(last_lines(out)["SavedModel"]).is_dir()
    table = tf_reg.regularizers_of(keras.models.load_model("runs/digits-MobileNetV2-l1l2/model.keras"))
    assert len(table.weights) == 53
    assert all(row.saved for row in table.weights)


SPARSE = ("--epochs", 12, "--learning-rate", 0.005, "--batch-size", 32, "--train-size", 600, "--quiet", "--name", "a")


def sparse_run(train, *flags):
    """Metrics, the columns of the history, and the kernels of the model."""
    code, _, err = train(*SPARSE, *flags)
    assert (code, err) == (0, "")
    with Path("runs/a/history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    columns = {key: [float(row[key]) for row in rows] for key in rows[0]}
    model = keras.models.load_model("runs/a/model.keras")
    kernels = [np.array(model.get_layer(name).kernel) for name in ("hidden_1", "logits")]
    return json.loads(Path("runs/a/metrics.json").read_text()), columns, kernels


@pytest.mark.slow
def test_a_penalty_of_groups_makes_dead_units(train):
    metrics, columns, (hidden, logits) = sparse_run(train, "--reg", "group", "--group-lasso", 0.01)
    dead = (hidden == 0).all(axis=0).sum() + (logits == 0).all(axis=1).sum()
    assert dead > 10
    assert columns["dead_groups"][-1] == dead
    assert metrics["sparsity"] == pytest.approx(((hidden == 0).sum() + (logits == 0).sum()) / (64 * 128 + 1280))
    assert metrics["live_parameters"] < metrics["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "zeros"), [("--proximal", True), ("--no-proximal", False)], ids=["proximal", "in the loss"]
)
def test_l1_gives_zeros_by_proximal_alone(train, flag, zeros):
    metrics, columns, kernels = sparse_run(train, "--reg", "l1", "--l1", 0.001, flag)
    share = np.mean(np.concatenate([kernel.ravel() for kernel in kernels]) == 0)
    assert metrics["sparsity"] == pytest.approx(share)
    assert bool(share > 0.1) is zeros
    assert ("strength" in columns) is zeros


@pytest.mark.slow
def test_a_target_of_groups_is_reached_and_refitted(train):
    flags = ("--reg", "sparse-group", "--groups", "inputs", "--target-sparsity", 0.5, "--target-of", "groups")
    _, columns, (hidden, logits) = sparse_run(train, *flags, "--refit-epochs", 3)
    dead = np.concatenate([(hidden == 0).all(axis=1), (logits == 0).all(axis=1)])
    assert dead.mean() == pytest.approx(0.5, abs=0.01)
    assert columns["refit"][-3:] == [1, 1, 1]
    assert columns["strength"][-3:] == [0, 0, 0]


@pytest.mark.slow
def test_a_refit_keeps_the_zeros(train):
    _, columns, _ = sparse_run(train, "--reg", "l1", "--l1", 0.002, "--refit-epochs", 4)
    assert columns["strength"] == [1.0] * 8 + [0.0] * 4
    assert columns["refit"] == [0.0] * 8 + [1.0] * 4
    assert columns["sparsity"][-1] >= columns["sparsity"][7] > 0.1
    assert columns["data_loss"][-1] < columns["data_loss"][7]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("rise", [0.5, 1.0, 1.0, 1.0]), ("gap", None)],
)
def test_schedules_of_the_strength(train, schedule, expected):
    flags = ("--reg", "l2", "--proximal", "--strength-schedule", schedule, "--epochs", 4)
    _, columns, _ = sparse_run(train, *flags)
    if expected:
        assert columns["strength"] == pytest.approx(expected, abs=1e-6)
    else:
        assert len(columns["gap"]) == 4
        assert set(columns["strength"]) != {1.0}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(train):
    flags = ("--model", "cnn", "--dropout", 0.5, "--augment", "--epochs", 2, "--train-size", 300, "--quiet")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(*flags, "--name", name, "--seed", seed)[0] == 0
    a, b, c = (Path(f"runs/{name}/history.csv").read_text() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.slow
def test_a_saved_configuration_trains_again(train):
    train("--reg", "l1", "--epochs", 2, "--quiet", "--name", "a")
    assert train("--config", "runs/a/config.json", "--name", "b")[0] == 0
    assert Path("runs/a/history.csv").read_text() == Path("runs/b/history.csv").read_text()


@pytest.mark.slow
def test_runs_never_overwrite(train):
    flags = ("--model", "linear", "--epochs", 1, "--quiet")
    train(*flags)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    _, out, _ = train(*flags)
    assert last_lines(out)["run"] == "runs/digits-linear-2"
    assert last_lines(out)["SavedModel"] == "saved_models/digits-linear-2/1"
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_name_that_only_a_model_has_is_taken_too(train):
    Path("saved_models/digits-linear").mkdir(parents=True)
    assert last_lines(train("--model", "linear", "--epochs", 1, "--quiet")[1])["run"] == "runs/digits-linear-2"


@pytest.mark.slow
def test_all_methods_combine(train):
    code, out, _ = train(
        "--model", "cnn", "--reg", "l1l2", "--dropout", 0.3, "--batch-norm", "--augment", "--weight-decay", 0.01,
        "--early-stopping", 1, "--label-smoothing", 0.1, "--schedule", "cosine", "--precision", "mixed_bfloat16",
        "--steps-per-execution", 4, "--train-size", 200, "--epochs", 3, "--quiet",
    )  # fmt: skip
    assert code == 0
    assert last_lines(out)["run"] == "runs/digits-cnn-l1l2-dropout-bn-augment-wd-es-ls"


@pytest.mark.slow
def test_float16_trains(train):
    assert train("--epochs", 1, "--train-size", 200, "--quiet", "--precision", "mixed_float16")[0] == 0


@pytest.mark.slow
def test_xla_gives_the_same_numbers_twice(tmp_path):
    """In processes of its own: Keras ignores `jit_compile` once a process is set to deterministic ops."""
    for name in "ab":
        command = [sys.executable, ROOT / "scripts/train.py", "--jit", "--epochs", "2", "--quiet", "--name", name]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "doesn't support" not in answer.stderr
    a, b = ((tmp_path / f"runs/{name}/history.csv").read_text() for name in "ab")
    assert a == b


@pytest.mark.slow
def test_early_stopping_restores_the_best_weights(train):
    flags = ("--train-size", 100, "--epochs", 30, "--learning-rate", 0.05, "--early-stopping", 2, "--quiet")
    assert train(*flags, "--name", "a")[0] == 0
    with open("runs/a/history.csv") as stream:
        losses = [float(row["val_data_loss"]) for row in csv.DictReader(stream)]
    assert len(losses) < 30
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    metrics = json.loads(Path("runs/a/metrics.json").read_text())
    assert metrics["validation_data_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_weight_decay_shrinks_kernels_alone():
    config = Config(weight_decay=0.5, learning_rate=0.1, batch_norm=True)
    model, _ = training.prepare(config)
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    model.optimizer.apply([0.0 * variable.value for variable in model.trainable_variables], model.trainable_variables)
    for variable in model.trainable_variables:
        expected = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


def test_the_cosine_schedule_ends_at_zero():
    model, images = training.prepare(Config(schedule="cosine", epochs=3, batch_size=50))
    schedule = model.optimizer._learning_rate
    steps = sum(1 for _ in images.train) * 3
    assert float(schedule(0)) == pytest.approx(1e-3)
    assert float(schedule(steps)) == pytest.approx(0, abs=1e-9)
    assert float(schedule(steps - 1)) > 0


def test_the_cosine_schedule_falls_in_the_last_epochs_only():
    model, images = training.prepare(Config(schedule="cosine", epochs=3, decay_epochs=1, batch_size=50))
    schedule = model.optimizer._learning_rate
    steps = sum(1 for _ in images.train)
    for step, share in ((0, 1), (steps, 1), (2 * steps, 1), (2 * steps + 1, None), (2.5 * steps, 0.5), (3 * steps, 0)):
        rate = float(schedule(step))
        assert rate < 1e-3 if share is None else rate == pytest.approx(share * 1e-3, abs=1e-9)


def test_label_smoothing_is_in_the_loss_and_in_data_loss():
    model, images = training.prepare(Config(label_smoothing=0.2))
    losses = model.evaluate(images.test, verbose=0, return_dict=True)
    assert losses["loss"] == pytest.approx(losses["data_loss"], rel=1e-6)
    labels = np.concatenate([y for _, y in images.test]) * 0.8 + 0.02
    expected = -np.mean(np.sum(labels * np.log(model.predict(images.test, verbose=0)), axis=1))
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_progress_bar_shows_totals_alone(train):
    _, out, _ = train("--reg", "l1", "--epochs", 1, "--model", "linear")
    assert "penalty: " in out
    assert "penalty/" not in out


def touch(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"no picture")


MISTAKES = [
    (["--reg", "l3"], "Argument --reg: invalid choice: 'l3'"),
    (["--epochs", "0"], "--epochs must be from 1 to"),
    (["--epochs", "ten"], "Argument --epochs: invalid int value: 'ten'"),
    (["--dropout", "1.5"], "--dropout must be at least 0 and below 1. Received: 1.5"),
    (["--learning-rate", "-1"], "--learning-rate must be above 0. Received: -1.0"),
    (["--optimizer", "lbfgs"], "Argument --optimizer: invalid choice"),
    (["--model", "transformer"], "--model must be linear, mlp, cnn or a name in keras.applications"),
    (["--lr", "0.1"], "There is no flag --lr"),
    (["--l1", "0.1"], "--l1 does nothing without --reg l1"),
    (["--config", "nowhere.json"], "--config nowhere.json can't be read as JSON"),
    (["--name", "taken"], "A run or model named taken exists"),
    (["--name", "../x"], "--name must be 1 to 100 letters"),
    (["--runs-dir", "file"], "--runs-dir file can't be made or written: File exists"),
    (["--saved-models-dir", "file/x"], "--saved-models-dir file/x can't be made or written: Not a directory"),
    (["--dataset", "fashion_mnits"], "Did you mean fashion_mnist?"),
    (["--dataset", "folder:nowhere", "--image-size", "8"], "'nowhere' does not exist"),
    (["--dataset", "folder:empty", "--image-size", "8"], "empty must hold at least two sub-folders"),
    (["--dataset", "folder:broken", "--image-size", "8"], "can't be read as an image"),
    (["--dataset", "folder:broken"], "image-size"),
    (["--train-size", "100000"], "and 1293 (what is left for training); got 100000"),
    (["--train-size", "2"], "between 10 (the classes of digits)"),
    (["--validation-split", "0.0001"], "another validation_split"),
]


@pytest.mark.parametrize(("flags", "message"), MISTAKES, ids=[" ".join(flags) for flags, _ in MISTAKES])
def test_mistakes_are_one_sentence_and_exit_code_2(train, flags, message):
    touch("file")
    Path("runs/taken").mkdir(parents=True)
    Path("empty").mkdir()
    for name in ("cats", "dogs"):
        for number in range(10):
            touch(f"broken/{name}/{number}.png")
    code, out, err = train("--quiet", *flags)
    assert code == 2
    assert err.startswith("train.py: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert [path.name for path in Path("runs").iterdir()] == ["taken"]


def test_no_network_is_one_sentence_soon(train, monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("unreachable")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    start = time.monotonic()
    code, _, err = train("--dataset", "cifar10", "--data-dir", tmp_path / "sets")
    assert code == 2
    assert time.monotonic() - start < 30
    assert "cifar10" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "sets").exists()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--reg", "l1l2"), ("--reg", "l1", "--l1", 1e38)])
def test_a_run_that_diverges_says_so_and_keeps_its_files(train, flags):
    diverging = ("--optimizer", "sgd", "--learning-rate", 1e30, "--epochs", 3, "--quiet", "--name", "a")
    code, _, err = train(*diverging, *flags)
    assert code == 2
    assert err.count("\n") == 1
    assert "Lower --learning-rate" in err
    assert Path("runs/a/history.csv").exists()
    assert list(Path("saved_models").iterdir()) == []


@pytest.mark.slow
def test_a_run_without_penalty_has_no_sparsity_to_report(train):
    _, out, _ = train("--epochs", 1, "--model", "linear", "--quiet")
    assert "nan" not in out
    assert "exact zeros" not in out
    metrics = json.loads(Path("runs/digits-linear/metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["penalty"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), VerificationError("No, it differs.")])
def test_an_export_that_fails_is_one_sentence(train, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("tf_reg.recipes.run.export", fail)
    code, _, err = train("--epochs", 1, "--model", "linear", "--quiet", "--name", "a")
    assert code == 2
    assert str(error) in err
    assert "runs/a" in err
    assert Path("runs/a/model.keras").exists()


def test_a_folder_is_named_after_its_last_part(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = runs._free_names(Config(dataset="folder:../photos/..", image_size=(8, 8)))
    assert next(names) == f"{tmp_path.parent.name}-mlp"


@pytest.mark.slow
def test_the_articles_network_on_fashion_mnist_becomes_sparse(train, fashion_mnist_dir):
    """The README's command, of which three seeds had 91.5 to 92.0 %; then 80 % zeros, within a point."""
    data = ("--dataset", "fashion_mnist", "--data-dir", fashion_mnist_dir)
    flags = (*data, "--model", "cnn", "--dropout", 0.5, "--quiet")
    penalty = ("--reg", "l2", "--l2", 1e-4)
    fast = ("--batch-size", 64, "--learning-rate", 0.002, "--schedule", "cosine")
    assert train(*flags, *penalty, *fast, "--epochs", 5, "--name", "dense")[0] == 0
    start = ("--weights", "runs/dense/model.keras", "--epochs", 3)
    assert train(*flags, *start, "--reg", "l1", "--target-sparsity", 0.8, "--name", "sparse")[0] == 0
    dense, sparse = (json.loads(Path(f"runs/{name}/metrics.json").read_text()) for name in ("dense", "sparse"))
    assert dense["test_accuracy"] > 0.908
    assert sparse["test_accuracy"] > dense["test_accuracy"] - 0.01
    assert sparse["sparsity"] == pytest.approx(0.8, abs=0.005)
    kernels = [v for v in keras.models.load_model("runs/sparse/model.keras").trainable_variables if v.name == "kernel"]
    assert np.mean(np.concatenate([np.ravel(kernel) for kernel in kernels]) == 0) > 0.795


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_run_on_another_backend_ends_in_a_saved_model(tmp_path, backend):
    require_module(backend)
    flags = [
        "--reg",
        "l1l2",
        "--dropout",
        "0.2",
        "--augment",
        "--batch-norm",
        "--epochs",
        "2",
        "--name",
        "a",
        "--quiet",
    ]
    command = [sys.executable, ROOT / "scripts/train.py", *flags]
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    found = tf_reg.verify_saved_model(
        tmp_path / "saved_models/a/1", keras.models.load_model(tmp_path / "runs/a/model.keras", compile=False)
    )
    assert found.compared > 3
    assert found.difference < 1e-5
    manifest = json.loads((tmp_path / "saved_models/a/1/assets.extra/tf_reg.json").read_text())
    assert manifest["backend"] == backend
    assert manifest["metrics"]["test_accuracy"] > 0.2


@pytest.mark.slow
def test_ctrl_c_keeps_what_there_is(tmp_path, request):
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts/train.py", "--reg", "l1", "--epochs", "100000", "--name", "a", "--quiet"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    request.addfinalizer(process.kill)
    history = tmp_path / "runs/a/history.csv"
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted. What there is lies in runs/a." in err
    assert "Traceback" not in err
    assert keras.models.load_model(tmp_path / "runs/a/model.keras").count_params() > 0
    left = {path.name for path in (tmp_path / "runs/a").iterdir()}
    assert left == {"config.json", "history.csv", "tensorboard", "curves.png", "regularization.png", "model.keras"}
    assert list((tmp_path / "saved_models").iterdir()) == []


@pytest.mark.slow
def test_many_passes_are_compared_with_one(train):
    code, out, err = train("--dropout", 0.5, "--mc-samples", 20, "--epochs", 2, "--quiet")
    assert (code, err) == (0, "")
    metrics = json.loads(Path("runs/digits-mlp-dropout/metrics.json").read_text())
    assert metrics["test_nll_one_pass"] == pytest.approx(metrics["test_data_loss"], rel=1e-4)
    assert metrics["test_accuracy_one_pass"] == pytest.approx(metrics["test_accuracy"], rel=1e-6)
    assert 0 < metrics["test_nll_mc"] != metrics["test_nll_one_pass"]
    assert last_lines(out)["test log-loss, many passes"] == f"{metrics['test_nll_mc']:.4f}"
