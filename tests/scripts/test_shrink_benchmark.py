"""`scripts/benchmark.py shrink`: the report, and what `tf_reg.shrink` must reach on real images."""

import pytest

from benchmarks import shrinking
from tests.tools import mostly_long


@pytest.fixture(scope="module")
def fashion_mnist(fashion_mnist_dir):
    """The images, which take longer to read than the rest of the report to make."""
    return shrinking.load("fashion_mnist", fashion_mnist_dir, validation=False)


@pytest.mark.parametrize("network", mostly_long(shrinking.NETWORKS, "cnn"))
def test_the_report(network, fashion_mnist, script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shrinking, "load", lambda *given, **more: fashion_mnist)
    for name, value in (("TRAIN", 300), ("VALIDATION", 1500), ("EPOCHS", 1)):
        monkeypatch.setattr(shrinking, name, value)
    monkeypatch.setitem(shrinking.SETTINGS, network, {"refit_epochs": 1})
    words = ("--networks", network, "--seeds", "3", "--folder", str(tmp_path))
    assert script("benchmark").main(["shrink", *words]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == f"{network}, 3"
    assert 0 < float(cells[3]) <= 1
    assert cells[-3] == "1"
    assert [path.name for path in tmp_path.iterdir()] == [f"{network}-3.keras"]


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("network", shrinking.NETWORKS)
def test_a_quarter_of_the_multiply_adds_at_nearly_the_same_accuracy(network, seed, fashion_mnist_dir, tmp_path):
    data = shrinking.images(fashion_mnist_dir)
    row = shrinking.shrunk(network, shrinking.start(network, seed, data.train, tmp_path), data, seed, candidates=1)
    before, after = row.test
    assert row.found.found
    assert row.share <= 0.25
    assert before - after <= 0.007
