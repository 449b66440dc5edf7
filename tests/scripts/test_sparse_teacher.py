"""`benchmark.py sparse`: a dense network that teaches the sparse one, or is its start; and the table of latencies."""

from __future__ import annotations

import argparse
import dataclasses

import keras
import numpy as np
import pytest

from benchmarks import sparse, sparse_latency, sparse_training
from benchmarks.sparse_recipes import NETWORKS, RECIPES, Recipe
from benchmarks.sparse_teacher import answers, loss
from benchmarks.sparse_training import Images
from tf_reg_cli.errors import UserError

RANDOM = np.random.default_rng(0)
IMAGES = Images(
    *[(RANDOM.integers(0, 256, (n, 28, 28, 1)).astype("uint8"), RANDOM.integers(0, 10, n)) for n in (64, 20)]
)
PLAIN = Recipe(
    "A short one", "mnist", "lenet-300-100", "inputs", 1e-3, search=1, refit=1, compacted=1, batch_size=32, rate=0.01
)
TAUGHT = dataclasses.replace(PLAIN, teacher=0.9, temperature=3.0)


def network(seed=0):
    keras.utils.set_random_seed(seed)
    return NETWORKS["lenet-300-100"]()


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("shift", [0, 1])
def test_the_answers_are_those_to_the_shifted_images(shift):
    recipe, teacher = dataclasses.replace(TAUGHT, shift=shift), network()
    taught = answers(teacher, recipe, IMAGES.train[0])
    assert taught.shape == ((2 * shift + 1) ** 2, 64, 10)
    batches = sparse_training._batches(recipe, IMAGES, 0, taught)
    plain = sparse_training._batches(recipe, IMAGES, 0)
    for (images, targets), (same, labels) in zip(batches, plain, strict=True):
        assert np.asarray(images).tobytes() == np.asarray(same).tobytes()  # the dense network sees the same
        assert np.asarray(targets)[:, :10].tobytes() == np.asarray(labels).tobytes()
        expected = softmax(np.asarray(teacher(images)) / 3)
        assert np.asarray(targets)[:, 10:] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("taught", "refit", "share"), [("refit", False, 0.0), ("refit", True, 0.9), ("all", False, 0.9), ("all", True, 0.9)]
)
def test_the_teacher_is_in_the_loss_of_the_epochs_that_it_teaches(taught, refit, share):
    logits = RANDOM.normal(size=(4, 10)).astype("float32")
    labels, soft = np.eye(10)[[1, 5, 0, 9]], softmax(RANDOM.normal(size=(4, 10)))
    targets = np.concatenate([labels, soft], -1).astype("float32")
    found = np.asarray(loss(dataclasses.replace(TAUGHT, taught=taught), refit)(targets, logits))
    hard, of_teacher = -(labels * np.log(softmax(logits))).sum(-1), -(soft * np.log(softmax(logits / 3))).sum(-1)
    assert found == pytest.approx((1 - share) * hard + share * 9 * of_teacher, rel=1e-4)


@pytest.mark.parametrize(("recipe", "name"), [(PLAIN, "x-e03c021782fd"), (PLAIN.dense(), "x-21a6e3c774b3")])
def test_the_folders_of_trainings_before_there_was_a_teacher_are_found_again(recipe, name):
    flags = argparse.Namespace(runs="runs", validation=True)
    assert sparse._folder(flags, "x", recipe).name == name


def test_the_settings_of_a_teacher_make_another_folder_and_the_dense_network_stays():
    assert TAUGHT.settings == {**PLAIN.settings, "teacher": 0.9, "temperature": 3.0}
    assert TAUGHT.dense() == PLAIN.dense()
    assert (TAUGHT.follows, PLAIN.follows, dataclasses.replace(PLAIN, start="dense").follows) == (True, False, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["smoothing=0.1", "teacher=0.5"], r"--set teacher takes labels as they are: smoothing=0. Received: 0.1"),
        (["compacted=0", "refit_rate=0.1"], "--set refit_rate takes compacted=40: .* Received: compacted=0"),
        (["compacted=0", "teacher=0.5"], "--set teacher takes compacted=40, or taught=all.* Received: compacted=0"),
    ],
)
def test_settings_that_do_not_go_together_are_one_sentence(changes, message):
    with pytest.raises(UserError, match=message):
        sparse._changed(RECIPES["fashion-eighth"], changes)
    sparse._changed(RECIPES["fashion-eighth"], ["compacted=0", "teacher=0.5", "taught=all"])


@pytest.mark.slow
def test_the_weights_of_the_dense_network_are_the_start():
    still = dataclasses.replace(PLAIN, penalty=None, start="dense", rate=0.0, compacted=0)
    dense = network(7)
    found = sparse_training.train(still, IMAGES, 0, dense=dense).model
    for one, other in zip(found.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("taught", ["refit", "all"])
def test_a_teacher_changes_the_epochs_that_it_teaches_and_no_other(taught):
    for refit in (0, 1):
        recipe = dataclasses.replace(TAUGHT, taught=taught, refit=refit)
        one, other = (sparse_training.train(recipe, IMAGES, 0, dense=network(seed)).model for seed in (1, 2))
        same = all((a == b).all() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
        assert same == (taught == "refit" and not refit)


@pytest.mark.parametrize("recipe", [PLAIN, PLAIN.dense()])
def test_the_rate_of_the_refit_is_another_one_for_both_networks(recipe):
    changed = dataclasses.replace(recipe, refit_rate=0.004)
    search, rest = sparse_training._rate(changed, 10, refit=False), dataclasses.replace(changed.dense(), search=0)
    assert search == 0.01
    rates = [float(sparse_training._rate(rest, 10, refit=True)(step)) for step in (0, 5, 10)]
    assert rates == pytest.approx([0.004, 0.002, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [PLAIN, PLAIN.dense()])
def test_a_refit_at_the_rate_of_zero_changes_nothing(recipe):
    one, other = (
        sparse_training.train(dataclasses.replace(recipe, refit=refit, refit_rate=0.0), IMAGES, 0).model
        for refit in (0, 1)
    )
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_dense_network_is_kept_and_one_without_a_file_is_trained_again(tmp_path):
    found = sparse_training.result(TAUGHT, IMAGES, 0, tmp_path / "0", tmp_path / "dense")
    dense = tmp_path / "dense" / "0.keras"
    wrong = keras.saving.load_model(dense).predict(IMAGES.test[0] / 255, verbose=0).argmax(-1) != IMAGES.test[1]
    assert found["dense_error"] == pytest.approx(100 * wrong.mean())
    assert found["dense_multiply_adds"] == 266_200
    small = keras.saving.load_model(tmp_path / "0" / "model.keras", compile=False)
    assert small.count_params() == found["parameters"]
    cells = [sparse._cell(column(found)) for column in sparse.COLUMNS.values()]
    assert f"{100 * found['multiply_adds'] / 266_200:.2f}" in cells
    dense.unlink()
    sparse_training.result(TAUGHT, IMAGES, 0, tmp_path / "another", tmp_path / "dense")
    assert dense.exists()


@pytest.mark.long
def test_latencies_of_the_networks_that_were_kept(tmp_path):
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.save(tmp_path / "model.keras")
    rows = list(sparse_latency.table("lenet-300-100", {"3": tmp_path / "model.keras"}, 2))
    cells = [cell.strip() for cell in rows[2].strip("|").split("|")]
    assert cells[0] == "3"
    assert len(cells) == 5
    assert all(float(cell.partition(" ")[0]) > 0 for cell in cells[1:])


def test_a_network_that_was_not_kept_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"--latency takes compacted networks that were kept.* Received: no .*0\.keras"):
        list(sparse_latency.table("lenet-300-100", {"0": tmp_path / "0.keras"}, 1))


def test_the_report_says_how_long_the_dense_network_is_trained():
    flags = argparse.Namespace(recipe="fashion-eighth", set=["search=30"], validation=True, runs="runs")
    lines = sparse.run(flags)
    assert "The dense network has the same 70 epochs, learning rates and images." in [next(lines) for _ in range(5)]
