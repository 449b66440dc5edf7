"""`scripts/benchmark.py inference` on the CPU, with small networks."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.scripts.test_benchmark import tables

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="the benchmark is for JAX"),
]


def _small():
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, kernel_initializer="ones")(inputs)))
    return keras.Model(inputs, layers.Dense(4, kernel_initializer="ones")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture
def inference(script, monkeypatch):
    script("benchmark")
    from benchmarks import inference

    monkeypatch.setattr(inference, "NETWORKS", {"CNN": _small})
    monkeypatch.setattr(inference, "SECONDS", 0.001)
    return inference


def test_before_and_after_compaction(inference, script, capsys):
    flags = ["--networks", "CNN", "--batch-sizes", "1", "3", "--repeats", "1"]
    assert script("benchmark").main(["inference", *flags]) == 0
    [[_, *rows]] = tables(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["CNN, 1", "CNN, 3"]
    for row in rows:
        assert all(float(cell.partition(" ")[0]) > 0 for cell in row[1:5])
        assert float(row[5]) <= 1e-4


def test_another_answer_than_the_cpus_is_no_result(inference, script, capsys, monkeypatch):
    right = inference.calls

    def wrong(network, device):
        call = right(network, device)
        made.append(network)
        return (lambda images: lambda: 1.001 * call(images)()) if len(made) < 3 else call

    made = []
    monkeypatch.setattr(inference, "calls", wrong)
    assert script("benchmark").main(["inference", "--networks", "CNN", "--batch-sizes", "2", "--repeats", "1"]) == 2
    assert "CNN, 2: the device is 1.0e-03 from the CPU, more than 1e-04." in capsys.readouterr().err


def test_the_difference_is_beside_the_largest_output(inference):
    assert inference.far(np.array([10.0, 0.0]), np.array([10.0, 0.1])) == pytest.approx(0.01)


def test_wrong_batch_sizes(script, capsys):
    assert script("benchmark").main(["inference", "--batch-sizes", "0"]) == 2
    assert "--batch-sizes must be 1 or more. Received: 0." in capsys.readouterr().err
