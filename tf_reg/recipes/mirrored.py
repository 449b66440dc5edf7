"""The devices of one machine on TensorFlow: a part of each batch for each of them, and the steps of one device."""

from __future__ import annotations

import functools
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_reg import _keras
from tf_reg.recipes.one_device import OneDevice
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError


class Mirrored(OneDevice):
    """Several devices of this machine on TensorFlow: each has a part of every batch, and the gradients are added up.

    Keras takes the mean of each device's part, and then the mean of these. Where the parts aren't equally large, which
    the last ones hardly ever are, that isn't the mean of the batch: examples of a small part would count more. Here
    the loss of each device is multiplied by its share of the batch.

    Args:
        devices: Their names.
    """

    def __init__(self, devices: list[str]) -> None:
        self._strategy = tf.distribute.MirroredStrategy(devices)
        self._count = len(devices)

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which the model is made and trained."""
        return self._strategy.scope()

    def check(self, config: Config, size: int, batch: int) -> None:
        """Check that every device has a part of each batch: an empty part is no batch to many layers."""
        if config.jit or config.steps_per_execution not in ("auto", 1):
            what = "--jit" if config.jit else f"--steps-per-execution {config.steps_per_execution}"
            raise UserError(f"{what} is for one device on TensorFlow. Leave it out, or take KERAS_BACKEND=jax.")
        last = size - (size - 1) // batch * batch
        for number in (min(batch, size), last):
            if (self._count - 1) * -(-number // self._count) >= number:
                raise UserError(
                    f"--devices {self._count} can't share a batch of {number} examples, as {size} training examples "
                    f"in batches of {batch} have one: a device would have none. Take another --batch-size or fewer "
                    "--devices."
                )

    def prepare(self, model: keras.Model, batches: tf.data.Dataset) -> None:
        """Build the model's state, for which Keras would read data, and weigh the parts of a batch."""
        one = tf.nest.map_structure(lambda spec: tf.zeros([1, *spec.shape[1:]], spec.dtype), batches.element_spec)
        with self._strategy.scope():
            _keras.build_state(model, one)
        step, scaled, share = model.train_step, model.optimizer.scale_loss, threading.local()

        @functools.wraps(step)
        def train_step(data: Any) -> Any:
            replica = tf.distribute.get_replica_context()
            own = tf.cast(tf.shape(keras.tree.flatten(data)[0])[0], "float32")
            total = replica.all_reduce(tf.distribute.ReduceOp.SUM, own)
            share.factor = own * replica.num_replicas_in_sync / total
            return step(data)

        def scale_loss(loss: Any) -> Any:
            return scaled(loss) * tf.cast(share.factor, loss.dtype)  # each replica is traced by a thread of its own

        model.train_step, model.optimizer.scale_loss = train_step, scale_loss
        model.steps_per_execution = 1  # Keras fails with more
        model.make_train_function(force=True)

    def share(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the same batches in a form whose parts are about even: TensorFlow fills those of a known size."""
        return batches.map(lambda *batch: batch)

    def alone(self, model: keras.Model, file: Path) -> keras.Model:
        """Return the model that was saved, on one device."""
        return keras.saving.load_model(file)
