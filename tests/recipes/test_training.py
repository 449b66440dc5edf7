"""Each option of training does what it says."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest

import tf_reg
from tests.recipes.conftest import columns_of, metrics_of
from tf_reg.recipes import training, usefulness
from tf_reg_cli.config import Config


def test_weight_decay_shrinks_kernels_alone():
    model, _ = training.prepare(Config(weight_decay=0.5, learning_rate=0.1, batch_norm=True))
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    model.optimizer.apply([0.0 * variable.value for variable in model.trainable_variables], model.trainable_variables)
    for variable in model.trainable_variables:
        expected = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("decay_epochs", [None, 1])
def test_the_cosine_schedule_falls_in_the_last_epochs_and_ends_at_zero(decay_epochs):
    config = Config(schedule="cosine", epochs=3, decay_epochs=decay_epochs, batch_size=50, learning_rate=1e-3)
    model, steps = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), 26
    training.compile_model(model, config, train_size=50 * steps - 7)
    schedule = model.optimizer._learning_rate
    start = 0 if decay_epochs is None else 2 * steps
    for step in (0, start / 2, start, (start + 3 * steps) / 2, 3 * steps - 1, 3 * steps):
        share = max(0.0, step - start) / (3 * steps - start)
        assert float(schedule(step)) == pytest.approx(1e-3 * (1 + math.cos(math.pi * share)) / 2, abs=1e-9)


def test_label_smoothing_is_in_the_loss_and_in_data_loss():
    model, images = training.prepare(Config(label_smoothing=0.2))
    losses = model.evaluate(images.test, verbose=0, return_dict=True)
    assert losses["loss"] == pytest.approx(losses["data_loss"], rel=1e-6)
    labels = np.concatenate([y for _, y in images.test]) * 0.8 + 0.02
    expected = -np.mean(np.sum(labels * np.log(model.predict(images.test, verbose=0)), axis=1))
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.long
def test_a_network_of_keras_applications_is_trained_and_exported(train, monkeypatch):
    """Two steps make no use of it; here they are enough to export it."""
    monkeypatch.setattr(usefulness, "useless", lambda *args: None)
    monkeypatch.setattr(usefulness, "notes", lambda *args: ())
    flags = ("--image-size", 32, "--train-size", 64, "--batch-size", 32, "--reg", "l1l2", "--epochs", 1)
    code, _, err = train("--model", "MobileNetV2", *flags)
    assert (code, err) == (0, "")
    assert Path("saved_models/digits-MobileNetV2-l1l2/1").is_dir()
    table = tf_reg.regularizers_of(keras.models.load_model("runs/digits-MobileNetV2-l1l2/model.keras"))
    assert len(table.weights) == 53
    assert all(row.saved for row in table.weights)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(train):
    flags = ("--model", "cnn", "--dropout", 0.5, "--augment", "--epochs", 2, "--train-size", 200)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(*flags, "--name", name, "--seed", seed)[0] == 0
    a, b, c = (Path(f"runs/{name}/history.csv").read_text() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.slow
def test_all_methods_combine(train):
    code, out, _ = train(
        "--model", "cnn", "--reg", "l1l2", "--dropout", 0.3, "--batch-norm", "--augment", "--weight-decay", 0.01,
        "--early-stopping", 1, "--label-smoothing", 0.1, "--schedule", "cosine", "--precision", "mixed_bfloat16",
        "--steps-per-execution", 4, "--train-size", 200, "--epochs", 3,
    )  # fmt: skip
    assert code == 0
    assert "runs/digits-cnn-l1l2-dropout-bn-augment-wd-es-ls\n" in out


@pytest.mark.slow
def test_float16_trains(train):
    assert train("--epochs", 1, "--train-size", 200, "--precision", "mixed_float16")[0] == 0


@pytest.mark.slow
def test_early_stopping_restores_the_best_weights(train):
    flags = ("--train-size", 100, "--epochs", 30, "--learning-rate", 0.05, "--early-stopping", 2)
    assert train(*flags, "--name", "a")[0] == 0
    losses = columns_of("runs/a")["val_data_loss"]
    assert len(losses) < 30
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    assert metrics_of("runs/a")["validation_data_loss"] == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.slow
def test_many_passes_are_compared_with_one(train):
    code, out, err = train("--dropout", 0.5, "--mc-samples", 20, "--epochs", 2, "--train-size", 300)
    assert (code, err) == (0, "")
    metrics = metrics_of("runs/digits-mlp-dropout")
    assert metrics["test_nll_one_pass"] == pytest.approx(metrics["test_data_loss"], rel=1e-4)
    assert metrics["test_accuracy_one_pass"] == pytest.approx(metrics["test_accuracy"], rel=1e-6)
    assert 0 < metrics["test_nll_mc"] != metrics["test_nll_one_pass"]
    (line,) = [line for line in out.splitlines() if line.startswith("test log-loss, many passes")]
    assert line.split()[-1] == f"{metrics['test_nll_mc']:.4f}"


def test_a_training_with_data_that_another_one_has_read_is_the_same():
    config = Config(epochs=1, train_size=100)
    images = training.load_data(config)

    def order():
        _, data = training.prepare(config, images)
        return [np.concatenate([labels for _, labels in data.train.as_numpy_iterator()]).argmax(1) for _ in range(2)]

    (first, second), (again, _) = order(), order()
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()  # another epoch has another order
