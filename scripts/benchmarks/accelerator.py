"""What a penalty costs per training step of a large network, on JAX and whatever device JAX has."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

import tf_reg
from benchmarks import report, timing
from tf_reg_cli.errors import UserError

REPEATS = 15
CLASSES = 1000
STRENGTH = 1e-6  # so low that no group dies: a dead group is cheaper
RATE = 1e-6  # so low that the constant batch isn't learned, and the gradients stay
SECONDS = 0.3  # that what is timed at once should take

NONE = "none"
IN_LOSS: dict[str, Callable[[], Any]] = {
    "`L2` in the loss": lambda: keras.regularizers.L2(STRENGTH),
    "`L1` in the loss": lambda: keras.regularizers.L1(STRENGTH),
    "`GroupLasso` in the loss": lambda: tf_reg.GroupLasso(STRENGTH),
}
PROXIMAL: dict[str, Callable[[], Any]] = {
    "`Proximal`, `L1`": lambda: keras.regularizers.L1(STRENGTH),
    "`Proximal`, `GroupLasso`": lambda: tf_reg.GroupLasso(STRENGTH),
    "`Proximal`, `ChannelLasso`": lambda: tf_reg.ChannelLasso(STRENGTH),
}
PLAIN: dict[str, Callable[[], Any]] = {NONE: lambda: None, "none, again": lambda: None}
ARMS = {**PLAIN, **IN_LOSS, **PROXIMAL}
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "adam": lambda: keras.optimizers.Adam(RATE),
    "sgd": lambda: keras.optimizers.SGD(RATE, momentum=0.9),
}
DTYPES = ("float32", "mixed_bfloat16")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument(
        "--network", default="ResNet50", metavar="NAME", help="of keras.applications (default: ResNet50)"
    )
    parser.add_argument("--image-size", type=int, default=224, metavar="N", help="pixels a side (default: 224)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64], metavar="N", help="(default: 64)")
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=["adam"], help="(default: adam)")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"], help="(default: float32)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong.
    """
    make = getattr(keras.applications, flags.network, None)
    if not callable(make) or flags.network.startswith("_"):
        raise UserError(f"--network must be a network of keras.applications. Received: {flags.network}.")
    for flag, sizes in (("--batch-sizes", flags.batch_sizes), ("--image-size", [flags.image_size])):
        if min(sizes) < 1:
            raise UserError(f"{flag} must be 1 or more. Received: {min(sizes)}.")
    image = (flags.image_size, flags.image_size, 3)
    settings = {"input_shape": image, "weights": None, "classes": CLASSES, "classifier_activation": None}
    yield (
        f"Time of a training step of {flags.network} on one constant batch of random images of {image[0]} x "
        f"{image[1]}, as a ratio to the step without a regulariser: what `fit` compiles, without the loading of data. "
        "The penalty is on all kernels, `ChannelLasso` on the free channels. All of a row in turn; medians of "
        f"{flags.repeats} [quartiles]."
    )
    yield ""
    others = [name for name in ARMS if name != NONE]
    yield from report.header("optimizer, dtype, batch", "none (ms)", *others, "compiling none (s)")
    for optimizer in flags.optimizers:
        for dtype in flags.dtypes:
            keras.config.set_dtype_policy(dtype)
            for size in flags.batch_sizes:
                times, steps, seconds = _times(functools.partial(make, **settings), optimizer, image, size, flags)
                yield report.row(
                    f"{optimizer}, {dtype}, {size}",
                    timing.Spread.of(times[NONE]).show("{:.2f}", 1000 / steps),
                    *(timing.ratio(times, name, NONE).show("{:.3f}") for name in others),
                    f"{seconds:.0f}",
                )


def _times(
    make: Callable[[], keras.Model], optimizer: str, image: tuple[int, int, int], size: int, flags: argparse.Namespace
) -> tuple[timing.Times, int, float]:
    """Return the seconds of each arm's rounds, how many steps they are for, and what compiling the first one took."""
    import jax

    random = np.random.default_rng(0)
    data = jax.device_put(
        (random.normal(size=(size, *image)).astype("float32"), random.integers(0, CLASSES, size).astype("int32"))
    )
    steps = {name: Steps(compiled(make(), name, optimizer), data) for name in ARMS}
    began = time.perf_counter()
    steps[NONE].compile()  # alone: what it finds out about its kernels serves the others
    seconds = time.perf_counter() - began
    with ThreadPoolExecutor() as pool:
        list(pool.map(Steps.compile, [one for name, one in steps.items() if name != NONE]))
    steps[NONE](2)
    length = max(1, round(SECONDS / steps[NONE](3) * 3))
    times = timing.interleave({name: functools.partial(one, length) for name, one in steps.items()}, flags.repeats)
    return times, length, seconds


def compiled(model: keras.Model, arm: str, optimizer: str) -> keras.Model:
    """Compile a network of logits for training, with the arm's penalty on all its kernels.

    Args:
        model: The network.
        arm: A name among `ARMS`.
        optimizer: A name among `OPTIMIZERS`.
    """
    penalty, inner = ARMS[arm](), OPTIMIZERS[optimizer]()
    if penalty is not None:
        tf_reg.regularize(model, penalty)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_reg.Proximal(inner) if arm in PROXIMAL else inner, loss)
    model.optimizer.build(model.trainable_variables)
    return model


class Steps:
    """Training steps of a compiled model on one batch; the model's own variables stay as they are.

    Args:
        model: A compiled model, its optimizer built.
        data: The batch, on the device.
    """

    def __init__(self, model: keras.Model, data: Any) -> None:
        import jax

        parts = (
            model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
        )  # fmt: skip
        self._data = data
        self._state = tuple([jax.numpy.array(one.value, copy=True) for one in part] for part in parts)
        self._lowered = jax.jit(model.train_step, donate_argnums=0).lower(self._state, data)
        self._step: Any = None

    def compile(self) -> None:
        """Compile the step. Threads may do so at the same time."""
        self._step = self._lowered.compile()

    def __call__(self, length: int) -> float:
        """Return the seconds that a number of steps take."""
        import jax

        start = time.perf_counter()
        for _ in range(length):
            _, self._state = self._step(self._state, self._data)
        jax.block_until_ready(self._state)
        return time.perf_counter() - start
