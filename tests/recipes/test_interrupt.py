"""Ctrl-C in training stops it once: one that goes on isn't stopped again."""

from __future__ import annotations

import keras
import pytest

import tf_reg
from tf_reg.recipes.interrupt import StopAfterBatch


class PressAtEpochEnd(keras.callbacks.Callback):
    """Presses Ctrl-C after the last batch of an epoch, before its checkpoint."""

    def __init__(self, stop):
        super().__init__()
        self.stop = stop

    def on_epoch_end(self, epoch, logs=None):
        self.stop._ask(2, None)


def test_a_training_that_was_interrupted_before_a_checkpoint_goes_on(tmp_path):
    def train(*presses):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        x = keras.random.normal((8, 3), seed=1)
        stop = StopAfterBatch()
        callbacks = [*(press(stop) for press in presses), stop, tf_reg.Resume(tmp_path / "checkpoints")]
        model.fit(x, x[:, :1], batch_size=4, epochs=3, verbose=0, callbacks=callbacks)
        return model.history.epoch

    with pytest.raises(KeyboardInterrupt):
        train(PressAtEpochEnd)
    assert list((tmp_path / "checkpoints").glob("epoch-000001*"))
    assert train() == [0, 1, 2]
