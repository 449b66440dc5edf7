"""What a penalty costs per training step: in the loss, and as the proximal operator of `tf_reg.Proximal`."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

import tf_reg
from benchmarks import report, stepping, timing
from benchmarks.step_networks import DEEP, NETWORKS
from tf_reg_cli.errors import UserError

REPEATS = 25

INPUTS, CLASSES = 784, 10
STRENGTH = 1e-6  # so low that no group dies: a dead group is cheaper
RATE = 1e-6  # so low that the constant batch isn't learned, and the gradients stay
SECONDS = 0.3  # that what is timed at once should take
UNTIMED = 2
LAYERS, UNITS, ROWS, STEPS = 30, 16, 32, 50  # of the deep and narrow network, whose steps are mostly Python on torch

NONE, CONTROL, IN_LOSS = "none", "none, again", "`L1L2` in the loss"
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "adam": lambda: keras.optimizers.Adam(RATE),
    "sgd": lambda: keras.optimizers.SGD(RATE, momentum=0.9),
    "plain_sgd": lambda: keras.optimizers.SGD(RATE),
    "rmsprop": lambda: keras.optimizers.RMSprop(RATE),
    "adagrad": lambda: keras.optimizers.Adagrad(RATE),
}
OPTIMIZER_NAMES = {
    "adam": "Adam",
    "sgd": "SGD with momentum",
    "plain_sgd": "plain SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
}


def _l1l2() -> keras.Regularizer:
    return keras.regularizers.L1L2(STRENGTH, STRENGTH)


def _group() -> keras.Regularizer:
    return tf_reg.GroupLasso(STRENGTH)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A penalty and who pays it.

    Args:
        penalty: Makes the regularizer.
        proximal: Whether there is a `tf_reg.Proximal` around the optimizer; without one the penalty is in the loss.
    """

    penalty: Callable[[], keras.Regularizer | None]
    proximal: bool = False


PLAIN = {NONE: Arm(lambda: None), CONTROL: Arm(lambda: None), IN_LOSS: Arm(_l1l2)}
FUSED = {"`Proximal`, no penalty": Arm(lambda: None, proximal=True)}  # what the kernels alone change
ELEMENTWISE = {"`Proximal`, `L1L2`": Arm(_l1l2, proximal=True)}
GROUPED = {"`Proximal`, `GroupLasso`": Arm(_group, proximal=True)}
ARMS = {**PLAIN, **FUSED, **ELEMENTWISE, **GROUPED}
LOST, CHANNELS = "`GroupLasso` in the loss", "`ChannelLasso`"
# An epsilon and a gamma at which the weights of the network are in the curved part.
OTHERS: dict[str, Callable[[], Any]] = {
    CHANNELS: lambda: tf_reg.ChannelLasso(STRENGTH),
    "`MCP` of groups": lambda: tf_reg.MCP(STRENGTH, 1e5, groups="outputs"),
    "`SCAD` of groups": lambda: tf_reg.SCAD(STRENGTH, 1e5, groups="outputs"),
    "`LogSum` of groups": lambda: tf_reg.LogSum(STRENGTH, groups="outputs"),
    "`MCP`": lambda: tf_reg.MCP(STRENGTH, 1e5),
    "`LogSum`": lambda: tf_reg.LogSum(STRENGTH),
    "`Lq(1/2)`": lambda: tf_reg.Lq(STRENGTH**2, 0.5),
}
CONCAVE = {NONE: PLAIN[NONE], CONTROL: PLAIN[CONTROL], **GROUPED}
CONCAVE |= {name: Arm(penalty, proximal=True) for name, penalty in OTHERS.items()}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(default: all)")
    parser.add_argument(
        "--optimizers", nargs="+", choices=OPTIMIZERS, metavar="NAME", help="(default: adam sgd; adam for sizes)"
    )
    parser.add_argument(
        "--jit", nargs="+", choices=("off", "on"), metavar="WORD", help="jit_compile (default: off on; off for sizes)"
    )
    parser.add_argument(
        "--widths", type=int, nargs="+", metavar="N", help="units (default: 1024; 128 512 1024 2048 for sizes)"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="+", metavar="N", help="(default: 128; 32 128 512 for sizes)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong.
    """
    for name in ("widths", "batch_sizes"):
        if any(size < 1 for size in getattr(flags, name) or ()):
            given = " ".join(map(str, getattr(flags, name)))
            raise UserError(f"--{name.replace('_', '-')} must be 1 or more each. Received: {given}.")
    yield (
        f"Time of a training step of the MLP {INPUTS}-width-width-{CLASSES} on the compiled train function and one "
        "constant batch of random numbers, as a ratio to the step without a regulariser; the penalty is on all three "
        "kernels, `ChannelLasso` on the hidden units. All of a row in turn, several steps at once; medians of "
        f"{flags.repeats} [quartiles]."
    )
    for part in flags.parts:
        yield ""
        yield f"### {part}"
        yield ""
        yield from PARTS[part](flags)


def _penalties(flags: argparse.Namespace) -> Iterator[str]:
    """Every penalty: one column a setting."""
    yield from _table(ARMS, flags, ("adam", "sgd"), ("off", "on"), (1024,), (128,))


def _concave(flags: argparse.Namespace) -> Iterator[str]:
    """Penalties of channels, and those that aren't convex, beside the group lasso."""
    yield from _table(CONCAVE, flags, ("adam", "sgd"), ("off",), (1024,), (128,))


def _sizes(flags: argparse.Namespace) -> Iterator[str]:
    """Where a penalty matters at all: widths and batch sizes."""
    arms = {**ARMS, LOST: Arm(_group)}
    yield from _table(arms, flags, ("adam",), ("off",), (128, 512, 1024, 2048), (32, 128, 512))


def _networks(flags: argparse.Namespace) -> Iterator[str]:
    """Networks of images."""
    arms = {**ARMS, LOST: Arm(_group)}
    others = [name for name in arms if name != NONE]
    yield from report.header("network, optimizer, batch", "none (ms)", *others)
    for name, network in NETWORKS.items():
        for optimizer in flags.optimizers or ("adam", "sgd"):
            models = {arm: compiled(network.make(), one, optimizer) for arm, one in arms.items()}
            times, length = _times(models, network.batch(), flags.repeats)
            yield report.row(
                f"{name}, {OPTIMIZER_NAMES[optimizer]}, {network.batch_size}",
                timing.Spread.of(times[NONE]).show("{:.2f}", 1000 / length),
                *(timing.ratio(times, arm, NONE).show("{:.2f}") for arm in others),
            )


def _first(flags: argparse.Namespace) -> Iterator[str]:
    """What tracing and compiling cost: the first `fit`, of one batch."""
    arms = {**ARMS, CHANNELS: CONCAVE[CHANNELS]}
    yield "Processor seconds of the first `fit` of a network, of one batch, once each."
    yield ""
    yield from report.header("network, optimizer", *arms)
    for name, network in DEEP.items():
        for optimizer in flags.optimizers or ("adam", "sgd"):
            seconds = [_first_fit(compiled(network.make(), arm, optimizer), network.batch()) for arm in arms.values()]
            yield report.row(f"{name}, {OPTIMIZER_NAMES[optimizer]}", *(f"{one:.1f}" for one in seconds))


def _first_fit(made: keras.Model, data: tuple[Any, Any]) -> float:
    start = time.process_time()
    made.fit(*data, batch_size=len(data[1]), verbose=0)
    return time.process_time() - start


def _layers(flags: argparse.Namespace) -> Iterator[str]:
    """What Python costs: many small layers, on any backend."""
    yield (
        f"{LAYERS} layers of {UNITS} units, each with a penalty, `train_on_batch` of {ROWS} rows, on "
        f"{keras.backend.backend()}."
    )
    yield ""
    others = [name for name in ARMS if name != NONE]
    yield from report.header("optimizer", "none (ms)", *others)
    for optimizer in flags.optimizers or ("adam", "sgd"):
        timed = {name: functools.partial(_train_on_batch, deep(arm, optimizer), STEPS) for name, arm in ARMS.items()}
        times = timing.interleave(timed, flags.repeats)
        yield report.row(
            OPTIMIZER_NAMES[optimizer],
            timing.Spread.of(times[NONE]).show("{:.2f}", 1000 / STEPS),
            *(timing.ratio(times, name, NONE).show("{:.2f}") for name in others),
        )


def _train_on_batch(made: keras.Model, steps: int) -> float:
    rows = np.random.default_rng(0).normal(size=(ROWS, UNITS)).astype("float32")
    for _ in range(UNTIMED):
        made.train_on_batch(rows, rows)
    start = time.perf_counter()
    for _ in range(steps):
        made.train_on_batch(rows, rows)
    return time.perf_counter() - start


PARTS = {
    "penalties": _penalties,
    "concave": _concave,
    "sizes": _sizes,
    "networks": _networks,
    "first": _first,
    "layers": _layers,
}


def _table(
    arms: Mapping[str, Arm],
    flags: argparse.Namespace,
    optimizers: Sequence[str],
    jit: Sequence[str],
    widths: Sequence[int],
    batch_sizes: Sequence[int],
) -> Iterator[str]:
    others = [name for name in arms if name != NONE]
    yield from report.header("optimizer, `jit_compile`, width, batch", "none (ms)", *others)
    for optimizer in flags.optimizers or optimizers:
        for word in flags.jit or jit:
            for width in flags.widths or widths:
                for batch_size in flags.batch_sizes or batch_sizes:
                    models = {name: model(arm, optimizer, word == "on", width) for name, arm in arms.items()}
                    times, length = _times(models, batch(batch_size), flags.repeats)
                    yield report.row(
                        f"{OPTIMIZER_NAMES[optimizer]}, {word}, {width}, {batch_size}",
                        timing.Spread.of(times[NONE]).show("{:.2f}", 1000 / length),
                        *(timing.ratio(times, name, NONE).show("{:.2f}") for name in others),
                    )


def _times(models: Mapping[str, keras.Model], data: Any, repeats: int) -> tuple[timing.Times, int]:
    """Return the seconds of each model's rounds, and how many steps they are for."""
    feeds = {name: stepping.constant(data) for name in models}
    length = max(1, round(SECONDS / stepping.seconds(models[NONE], feeds[NONE], 8) * 8))
    measure = functools.partial(stepping.seconds, length=length, untimed=UNTIMED)
    timed = {name: functools.partial(measure, models[name], feeds[name]) for name in models}
    return timing.interleave(timed, repeats), length


def model(arm: Arm, optimizer: str, jit: bool, width: int) -> keras.Model:
    """Return the network of dense layers, compiled, with the arm's penalty on all its kernels.

    Args:
        arm: Whose network it is.
        optimizer: A name among `OPTIMIZERS`.
        jit: Keras' `jit_compile`.
        width: The units of both hidden layers.
    """
    hidden = [keras.layers.Dense(width, activation="relu") for _ in range(2)]
    return compiled(
        keras.Sequential([keras.Input((INPUTS,)), *hidden, keras.layers.Dense(CLASSES)]), arm, optimizer, jit
    )


def compiled(made: keras.Model, arm: Arm, optimizer: str, jit: bool = False) -> keras.Model:
    """Compile a network of logits, with the arm's penalty on all its kernels.

    Args:
        made: The network.
        arm: Whose network it is.
        optimizer: A name among `OPTIMIZERS`.
        jit: Keras' `jit_compile`.
    """
    penalty, inner = arm.penalty(), OPTIMIZERS[optimizer]()
    if penalty is not None:
        tf_reg.regularize(made, penalty)
    made.compile(
        tf_reg.Proximal(inner) if arm.proximal else inner,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=jit,
    )
    made.make_train_function()
    return made


def deep(arm: Arm, optimizer: str) -> keras.Model:
    """Return a compiled network of many small layers, with the arm's penalty on all of their kernels.

    Args:
        arm: Whose network it is.
        optimizer: A name among `OPTIMIZERS`.
    """
    penalty, inner = arm.penalty(), OPTIMIZERS[optimizer]()
    layers = [keras.layers.Dense(UNITS, kernel_regularizer=penalty) for _ in range(LAYERS)]
    made = keras.Sequential([keras.Input((UNITS,)), *layers])
    made.compile(tf_reg.Proximal(inner) if arm.proximal else inner, "mse")
    return made


def batch(size: int) -> tuple[Any, Any]:
    """Return random images, `(size, INPUTS)`, and labels, `(size,)`."""
    random = np.random.default_rng(0)
    return random.normal(size=(size, INPUTS)).astype("float32"), random.integers(0, CLASSES, size)
