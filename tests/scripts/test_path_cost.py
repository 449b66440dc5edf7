"""The benchmark of a warm path beside cold fits: fewer epochs, and losses that are no worse."""

import numpy as np
import pytest

from benchmarks import path_cost


@pytest.mark.long
def test_the_path_costs_less_than_cold_fits_and_is_as_good():
    train, validation = path_cost.split(0)
    path = path_cost.warm(0, train, validation)
    assert len(path) == 20
    epochs = path.dense.epochs + sum(record.epochs for record in path.records)
    assert epochs <= 0.4 * path_cost.EPOCHS * len(path)
    losses = [record.validation_loss for record in path.records]
    others = path_cost.cold(0, train, validation)
    assert np.mean(losses) <= 1.02 * np.mean(others)
    assert np.min(losses) <= 1.1 * np.min(others)
