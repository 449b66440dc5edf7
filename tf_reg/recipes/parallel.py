"""Devices on JAX, of one process or several: the rows that each has of a batch, and the steps of one device."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_reg import _processes
from tf_reg.recipes.one_device import OneDevice
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError, exit_code


class Parallel(OneDevice):
    """Devices on JAX, of one process or several: one program computes a batch whose rows lie on all of them.

    So all of Keras works as on one device: batch normalisation sees the whole batch, dropout draws one mask for it.
    JAX takes only numbers of rows that the devices can share. The last devices have rows of padding, which the step
    cuts off: they are in no loss, in no metric and in no statistic.

    Args:
        devices: Their names, those of all processes.
    """

    def __init__(self, devices: list[str]) -> None:
        self._count, self._processes, self._number = len(devices), _processes.count(), _processes.number()
        self.leads = self._number == 0
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)  # `share` does
        )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """In this context, an exception that ends this process ends the others too.

        JAX lets a process wait minutes for the others before it ends. One that fails doesn't: what the others wait for
        then breaks off.
        """
        try:
            yield
        except BaseException as error:
            if self._processes > 1:
                atexit.register(_leave, error)  # comes before what JAX has registered
            raise

    def check(self, config: Config, size: int, batch: int) -> None:
        """Check that no setting needs a pass over the data beside `fit`, which several processes don't share."""
        if self._processes > 1 and (config.ema or config.swa):
            raise UserError(
                "--ema and --swa are for one process. Leave them out, or take --devices all on one machine."
            )

    def prepare(self, model: keras.Model, batches: tf.data.Dataset) -> None:
        """Let the steps cut off the padding."""
        model.train_step = _without_padding(model.train_step)
        model.test_step = _without_padding(model.test_step)

    def share(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the rows of this process, with a marker in the place of weights whose second axis has the padded rows.

        Before it trains, Keras multiplies the shapes of losses and weights. The marker's takes part in that.
        """
        rows_of_all, processes = self._count, self._processes

        def mine(*batch: Any) -> Any:
            size = tf.shape(tf.nest.flatten(batch)[0])[0]
            rows = -(-size // rows_of_all) * (rows_of_all // processes)
            start = self._number * rows

            def cut(tensor: Any) -> Any:
                own = tensor[start : start + rows]
                return tf.concat([own, tf.repeat(tensor[:1], rows - tf.shape(own)[0], axis=0)], axis=0)

            marker = tf.zeros([rows, rows * processes - size, 1], "uint8")
            return (*tf.nest.map_structure(cut, batch), marker)

        return batches.map(mine, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    def alone(self, model: keras.Model, file: Path) -> keras.Model:
        """Return the model that was saved, on one device of this process."""
        self.part()
        return keras.saving.load_model(file)

    def leave(self) -> None:
        """Make variables for this process alone: Keras makes some while it saves, which would wait for the others."""
        keras.distribution.set_distribution(None)

    def part(self) -> None:
        """Let the other processes go, which wait for each other once more."""
        self.leave()
        if self._processes > 1:
            import jax

            jax.distributed.shutdown()
            self._processes = 1

    def tell(self, folder: Path | None) -> None:
        """Tell the other processes the folder of the run; None if there won't be one."""
        if self._processes > 1:
            _processes.told(None if folder is None else str(folder))


def _leave(error: BaseException) -> None:
    """End this process. Until then the error holds the arrays, whose removal would wait for other processes too."""
    os._exit(exit_code(error))


def _without_padding(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def whole(state: Any, data: Any) -> Any:
        *parts, marker = data
        rows, padding, _ = marker.shape
        return step(state, keras.tree.map_structure(lambda tensor: tensor[: rows - padding], tuple(parts)))

    return whole
