"""The devices of a training: what they share of the data, and what makes their steps those of one device."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_reg import _keras, _processes
from tf_reg_cli.config import Config
from tf_reg_cli.devices import Placement
from tf_reg_cli.errors import UserError


class OneDevice:
    """The one device that Keras takes."""

    leads = True  # whether this process writes, exports and prints

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context in which the model is made and trained."""
        return contextlib.nullcontext()

    def check(self, config: Config, size: int, batch: int) -> None:
        """Check the settings of a training, and the sizes of its batches.

        Args:
            config: The configuration.
            size: How many training examples there are.
            batch: How many a batch has, but for the last one.

        Raises:
            UserError: The devices can't train so.
        """

    def prepare(self, model: keras.Model, batches: tf.data.Dataset) -> None:
        """Make the steps of a compiled model those of these devices.

        Args:
            model: The model.
            batches: Its training data.
        """

    def share(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Return the batches that this process gives to its devices.

        Args:
            batches: The batches of all devices: inputs and targets.
        """
        return batches

    def alone(self, model: keras.Model, file: Path) -> keras.Model:
        """Return a model of one device, for what comes after training; the other processes aren't needed any more.

        Args:
            model: The model that was trained.
            file: Where it is saved.
        """
        return model

    def leave(self) -> None:
        """Make variables for this process alone from now on."""

    def part(self) -> None:
        """Let the other processes go, which wait for each other once more."""

    def tell(self, folder: Path | None) -> None:
        """Tell the other processes the folder of the run; None if there won't be one."""


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

    def tell(self, folder: Path | None) -> None:
        """Tell the other processes the folder of the run; None if there won't be one."""
        if self._processes > 1:
            _processes.told(None if folder is None else str(folder))


def _without_padding(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def whole(state: Any, data: Any) -> Any:
        *parts, marker = data
        rows, padding, _ = marker.shape
        return step(state, keras.tree.map_structure(lambda tensor: tensor[: rows - padding], tuple(parts)))

    return whole


def placed(placement: Placement) -> OneDevice:
    """Return the devices of a training. On several processes, they wait for each other here.

    Args:
        placement: Where it runs.

    Raises:
        UserError: The backend can't train there, there aren't as many devices, or process 0 isn't found.
    """
    backend = keras.backend.backend()
    if placement.several_processes:
        _connect(placement, backend)
    elif placement.devices is None:
        return OneDevice()
    if backend == "jax":
        return Parallel(_of_jax(placement))
    if backend == "tensorflow":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        found = [device.name for device in tf.config.list_logical_devices(kind)]
        return Mirrored(_some(found, placement.devices, kind))
    raise UserError("--devices needs KERAS_BACKEND=tensorflow or jax: on torch, Keras trains on one device.")


def _connect(placement: Placement, backend: str) -> None:
    if backend != "jax":
        why = {"tensorflow": " (keras issue 20585)"}.get(backend, "")
        raise UserError(
            f"--num-processes {placement.num_processes} needs KERAS_BACKEND=jax: on {backend}, Keras 3 doesn't train "
            f"on several processes{why}."
        )
    keras.utils.set_random_seed(0)  # a seed that all have, for the time until the configuration's is set
    try:
        keras.distribution.initialize(placement.coordinator, placement.num_processes, placement.process_id)
    except RuntimeError as error:
        raise UserError(
            f"--coordinator {placement.coordinator}: the processes didn't find each other: {error}. Start process 0 "
            "on that machine, and all others, within five minutes."
        ) from error


def _of_jax(placement: Placement) -> list[str]:
    import jax

    tf.config.set_visible_devices([], "GPU")  # TensorFlow reads the data alone, and would take the memory
    if placement.devices is None:
        chosen = jax.devices()
    else:
        kind = jax.devices()[0].platform.upper()
        own = len(_some([str(one) for one in jax.local_devices()], placement.devices, kind))
        by_process = [jax.local_devices(process_index=one) for one in range(jax.process_count())]
        if any(len(one) < own for one in by_process):
            raise UserError(
                f"--devices {placement.devices} must be as many on each machine. Give a number that all have."
            )
        chosen = [one for devices in by_process for one in devices[:own]]
    return [f"{one.platform}:{one.id}" for one in chosen]


def _some(found: list[str], wanted: int | str | None, kind: str) -> list[str]:
    """Return the first of the devices that there are."""
    if isinstance(wanted, int) and wanted > len(found):
        raise UserError(
            f"--devices {wanted} is more than there are on this machine: {len(found)} {kind}. Take {len(found)} or all."
        )
    return found[:wanted] if isinstance(wanted, int) else found
