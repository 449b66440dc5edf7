"""How many batches of an epoch are done, whatever number Keras gives."""

import keras
import numpy as np
import pytest

from tests.tools import BatchesDone
from tf_reg.callbacks.batches import batches_done

pytestmark = pytest.mark.contract


def test_a_last_execution_with_fewer_steps():
    at_once = 1 if keras.backend.backend() == "torch" else 3  # keras on torch has no steps_per_execution
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=at_once)
    done = BatchesDone()
    model.fit(np.ones((13, 2)), np.ones((13, 1)), batch_size=2, epochs=2, verbose=0, callbacks=[done])
    assert done.seen == (list(range(1, 8)) if at_once == 1 else [3, 6, 7]) * 2


def test_batches_that_nobody_counted():
    assert batches_done(13, {"steps": None}, at_once=7) == 14
    assert batches_done(7, {"steps": None}, at_once=7) == 14  # as Keras 3.10 counts
