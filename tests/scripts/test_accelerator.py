"""`scripts/benchmark.py accelerator`, with a small network in the place of ResNet50."""

import keras
import pytest
from keras import layers

from tests.scripts.test_benchmark import tables

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="the benchmark is for JAX"),
]


def _small(input_shape, classes, **_):
    inputs = keras.Input(input_shape)
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(layers.ReLU()(x)))
    return keras.Model(inputs, layers.Dense(classes)(x))


def test_all_penalties_in_a_row(script, capsys, monkeypatch):
    monkeypatch.setattr(keras.applications, "ResNet50", _small)
    flags = ["--image-size", "8", "--batch-sizes", "2", "--repeats", "1"]
    assert script("benchmark").main(["accelerator", *flags]) == 0
    [[head, row]] = tables(capsys.readouterr().out)
    assert row[0] == "adam, float32, 2"
    assert all(float(cell.partition(" ")[0]) > 0 for cell in row[1:-1])
    assert {"`Proximal`, `L1`", "`Proximal`, `GroupLasso`", "`Proximal`, `ChannelLasso`"} < set(head)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--network", "ResNet5"], "--network must be a network of keras.applications. Received: ResNet5."),
        (["--batch-sizes", "4", "0"], "--batch-sizes must be 1 or more. Received: 0."),
        (["--image-size", "-1"], "--image-size must be 1 or more. Received: -1."),
    ],
)
def test_wrong_flags(flags, said, script, capsys):
    assert script("benchmark").main(["accelerator", *flags]) == 2
    assert capsys.readouterr().err == f"benchmark.py: {said}\n"
