"""`benchmark.py sparse`: a training of a few steps, its numbers, and that it isn't done twice."""

from __future__ import annotations

import argparse
import dataclasses
import json

import numpy as np
import pytest

import tf_reg
from benchmarks import sparse, sparse_training
from benchmarks.sparse_recipes import NETWORKS, PENALTIES, RECIPES
from benchmarks.sparse_training import Images
from tf_reg_cli.errors import UserError

RANDOM = np.random.default_rng(0)
IMAGES = Images(
    *[(RANDOM.integers(0, 256, (n, 28, 28, 1)).astype("uint8"), RANDOM.integers(0, 10, n)) for n in (128, 50)]
)
SHORT = dataclasses.replace(
    RECIPES["fashion-eighth"],
    search=2,
    refit=1,
    warmup=0,
    compacted=0,
    penalty="inputs",
    strength=1.5e-2,
    batch_size=32,
    rate=0.1,
    reweight={"scale": 0.05},
)


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [0, 1])
def test_a_seed_is_trained_once_and_the_numbers_are_those_of_the_export(compacted, tmp_path, monkeypatch):
    recipe, dense = dataclasses.replace(SHORT, compacted=compacted), tmp_path / "dense"
    found = sparse_training.result(recipe, IMAGES, 0, tmp_path / "0", dense)
    assert found == json.loads((tmp_path / "0" / "result.json").read_text())
    assert 0 < found["parameters"] < 266_610
    assert 0 < found["nonzero"] < found["parameters"]
    assert found["weights"] == 266_200
    assert found["multiply_adds"] < 266_200
    assert found["widths"][0] < 784
    assert (tmp_path / "0" / "saved_model" / "1" / "saved_model.pb").exists()
    monkeypatch.setattr(sparse_training, "train", None)
    assert sparse_training.result(recipe, IMAGES, 0, tmp_path / "0", dense) == found
    assert json.loads((dense / "0.json").read_text())["error"] == found["dense_error"]


@pytest.mark.slow
def test_a_network_that_is_not_paired_has_no_dense_one(tmp_path):
    recipe = dataclasses.replace(SHORT, paired=False)
    found = sparse_training.result(recipe, IMAGES, 0, tmp_path / "0", tmp_path / "dense")
    assert found["dense_error"] is None
    assert not (tmp_path / "dense").exists()
    cells = [sparse._cell(column(found)) for column in sparse.COLUMNS.values()]
    assert cells[0] == cells[2] == ""
    assert sparse._mean([None, None]) == ""


def test_images_are_shifted_and_each_epoch_has_all():
    recipe = dataclasses.replace(SHORT, shift=1, batch_size=128)
    batches, again = (sparse_training._batches(recipe, IMAGES, 0) for _ in range(2))
    [(first, labels)], [(second, _)], [(same, _)] = list(batches), list(batches), list(again)
    assert first.shape == (128, 28, 28, 1)
    assert labels.shape == (128, 10)
    assert 0 <= float(np.min(first)) < float(np.max(first)) <= 1
    wide = np.pad(IMAGES.train[0], ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = {wide[:, a : a + 28, b : b + 28][i].tobytes() for a in range(3) for b in range(3) for i in range(128)}
    assert {np.rint(one * 255).astype("uint8").tobytes() for one in np.asarray(first)} <= shifted
    assert sorted(np.asarray(labels).argmax(1)) == sorted(IMAGES.train[1])
    assert np.asarray(first).tobytes() != np.asarray(second).tobytes()
    assert np.asarray(first).tobytes() == np.asarray(same).tobytes()  # the dense network sees the same


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("strenght=1", r"--set takes NAME=VALUE, of .*strength.* Received: strenght=1"),
        ("strength", "--set takes NAME=VALUE"),
        ("summary='x'", "--set takes NAME=VALUE"),
        ("search=many", "--set search: Input should be a valid integer.* Received: 'many'"),
        ("of=units", "--set of: Input should be 'weights'.* Received: 'units'"),
        ("network=lenet", "--set network takes lenet-300-100, .* Received: lenet"),
        ("penalty=l3", "--set penalty takes l1, .* Received: l3"),
        ("teacher=2", "--set teacher takes a share from 0 to 1. Received: 2.0"),
        ("temperature=0", "--set temperature takes a number above 0. Received: 0.0"),
        ("taught=never", "--set taught: Input should be 'refit' or 'all'.* Received: 'never'"),
        ("teacher=0.9", "--set teacher and start=dense need the dense network"),
        ("start=dense", "--set teacher and start=dense need the dense network"),
        ("target=0.5", "--set compacted takes 0, or the 150 epochs of the search or more.* Received: 10"),
    ],
)
def test_a_wrong_setting_is_one_sentence(change, message):
    with pytest.raises(UserError, match=message):
        list(sparse.run(argparse.Namespace(recipe="lenet-300-100-groups", set=[change], validation=False)))


@pytest.mark.slow
def test_every_network_has_channels_that_can_go_and_every_penalty_fits():
    for name, network in NETWORKS.items():
        model = network()
        assert tf_reg.channels(model).free, name
        for penalty in PENALTIES.values():
            model = network()
            tf_reg.regularize(model, penalty(model, 1e-4))
