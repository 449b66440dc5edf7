"""A training that nothing useful came out of is said, ends with code 1 and isn't published."""

import re
from pathlib import Path

import numpy as np
import pytest

from tf_reg.recipes import usefulness
from tf_reg_cli.config import Config

EVEN, SKEWED = np.full(10, 0.1), np.array([0.9, 0.1])
KNOWN = float(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)))


def found(accuracy, loss):
    return {"validation_accuracy": accuracy, "validation_data_loss": loss}


@pytest.mark.parametrize(
    ("accuracy", "loss", "shares", "words"),
    [
        (0.1, np.log(10), EVEN, "Nothing useful came out: 10.0% of the validation examples are right, and 10.0% are"),
        (0.097, 2.31, EVEN, "Nothing useful"),
        (0.3, 4e11, EVEN, "Training diverged: the validation loss is 4e+11, where 2.3 needs no training"),
        (0.9, KNOWN, SKEWED, "Nothing useful"),
        (0.9, 0.9 * KNOWN, SKEWED, None),  # it tells the classes apart, though the rare one never comes first
        (0.95, 5.0, SKEWED, None),  # right, and too sure of itself
        (0.2, 2.2, EVEN, None),
    ],
)
def test_what_is_of_no_use(accuracy, loss, shares, words):
    said = usefulness.useless(found(accuracy, loss), shares, 0.0)
    assert said is None if words is None else words in said


def test_label_smoothing_is_part_of_both_losses():
    smoothed = 0.8 * SKEWED + 0.1
    loss = float(-(smoothed * np.log(smoothed)).sum())
    assert usefulness.useless(found(0.9, loss), SKEWED, 0.2) is not None
    assert usefulness.useless(found(0.9, 0.99 * loss), SKEWED, 0.2) is None


def test_what_is_said_of_a_poor_model():
    config = Config(reg="l1", target_sparsity=0.9)
    history = {"val_accuracy": [0.5, 0.9, 0.4], "zero_share": [0.1, 0.2, 0.27]}
    assert list(usefulness.notes(found(0.4, 2.0), history, EVEN, config)) == [
        "The validation accuracy fell from 90.0% in epoch 2 to 40.0% at the end.",
        "--target-sparsity 0.9 was missed: the share of zero weights is 27.0%. Give it more --epochs.",
    ]
    [said] = usefulness.notes(found(0.17, 2.0), {}, EVEN, Config())
    assert said == "The validation accuracy, 17.0%, is little above the 10.0% of the commonest class."
    good = {"val_accuracy": [0.5, 0.9], "zero_share": [0.5, 0.9]}
    assert list(usefulness.notes(found(0.9, 0.3), good, EVEN, config)) == []


def test_the_advice_names_flags():
    assert usefulness.advice(Config()) == "Lower --learning-rate."
    assert usefulness.advice(Config(reg="l1")) == "Lower --learning-rate or --l1."
    assert usefulness.advice(Config(reg="log-sum")) == "Lower --learning-rate or --log-sum."
    assert usefulness.advice(Config(reg="channels")) == "Lower --learning-rate or --channel-lasso."
    assert "--target-sparsity, or give it more --epochs." in usefulness.advice(Config(reg="l1", target_sparsity=0.9))


@pytest.mark.parametrize(
    "flags",
    [
        ("--learning-rate", 1000, "--model", "linear", "--epochs", 2),
        pytest.param(("--reg", "l1", "--l1", 1000, "--epochs", 12), marks=pytest.mark.slow),
        pytest.param(
            (
                "--reg",
                "group",
                "--target-sparsity",
                0.99,
                "--target-of",
                "groups",
                "--learning-rate",
                1e-3,
                "--epochs",
                20,
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_nothing_useful_is_not_published(train, flags):
    code, _, err = train("--batch-size", 100, "--name", "a", *flags)
    assert code == 1
    *notes, problem = err.splitlines()
    said = (
        r"Note: (After epoch \d+: The output doesn't depend on the input any more|In epoch 1 the penalty is .* hardly)"
    )
    assert all(re.match(said, note) for note in notes)
    assert sum("The network is dead" in note for note in notes) <= 1
    assert ("--l1" in flags) <= any("The network is dead" in note for note in notes)
    assert problem.startswith(("tf-reg train: Nothing useful came out", "tf-reg train: Training diverged"))
    assert "No SavedModel was made; what was trained lies in runs/a." in err
    assert list(Path("saved_models").iterdir()) == []
    assert {"config.json", "history.csv", "metrics.json", "model.keras"} <= {
        path.name for path in Path("runs/a").iterdir()
    }
