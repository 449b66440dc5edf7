"""Where a training runs: finds the devices and the processes that the flags ask for."""

from __future__ import annotations

import signal
import socket
import sys
import time

import keras
import tensorflow as tf

from tf_reg.recipes.interrupt import handled_by
from tf_reg.recipes.mirrored import Mirrored
from tf_reg.recipes.one_device import OneDevice
from tf_reg.recipes.parallel import Parallel
from tf_reg_cli.devices import Placement
from tf_reg_cli.errors import UserError

PATIENCE = 300.0  # seconds until a process gives up to find number 0


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
    number, address = placement.process_id, placement.coordinator
    print(f"Process {number} waits for the others at {address} ...", file=sys.stderr, flush=True)
    if number:
        _reach(str(address))
    try:
        with handled_by(signal.SIG_DFL):  # JAX doesn't return to Python, which would answer Ctrl-C
            keras.distribution.initialize(address, placement.num_processes, number)
    except RuntimeError as error:
        raise UserError(
            f"--coordinator {address}: the processes didn't find each other: {error}. Process 0 must be on that "
            "machine, with a free port, and all others come within five minutes."
        ) from error


def _reach(address: str, patience: float = PATIENCE) -> None:
    """Wait until process 0 listens: JAX would wait as long, and abort.

    Args:
        address: Where it does.
        patience: For how many seconds to wait.

    Raises:
        UserError: It doesn't.
    """
    host, _, port = address.rpartition(":")
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=patience).close()
            return
        except OSError as error:
            if time.monotonic() >= end:
                raise UserError(
                    f"--coordinator {address}: process 0 isn't there: {error.strerror or error}. Start process 0 on "
                    "that machine, and all others, within five minutes."
                ) from error
        time.sleep(min(1.0, patience))


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
