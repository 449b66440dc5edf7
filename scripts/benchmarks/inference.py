"""How fast a network answers on JAX and its device, before and after compaction, and how far from the CPU it is."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import layers

import tf_reg
from benchmarks import dying, report, timing
from tf_reg_cli.errors import UserError

REPEATS = 15
SHARE = 0.5
SECONDS = 0.1  # that what is timed at once should take
TOLERANCE = 1e-4  # of an output, beside the largest one
DENSE, COMPACTED, AGAIN = "dense", "compacted", "again"
Call = Callable[[np.ndarray], Callable[[], object]]


def cnn() -> keras.Model:
    """Return four convolutions with batch normalisation for images of 32 pixels, to ten logits."""
    x = inputs = keras.Input((32, 32, 3))
    for filters in (32, 64, 128, 128):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same")(x)))
        x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))


def resnet50() -> keras.Model:
    """Return ResNet50 for images of 224 pixels, to a thousand logits."""
    return dying.network("ResNet50", 224, classifier_activation=None)


NETWORKS = {"CNN": cnn, "ResNet50": resnet50}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="(default: both)")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[1, 64, 256], metavar="N", help="(default: 1 64 256)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong, or the device computes something else than the CPU.
    """
    import jax

    if min(flags.batch_sizes) < 1:
        raise UserError(f"--batch-sizes must be 1 or more. Received: {min(flags.batch_sizes)}.")
    device = jax.devices()[0]
    yield (
        f"Time of an answer on {device.device_kind} ({device.platform}), float32 in full precision, inputs and weights "
        f"on the device, {SHARE:.0%} of the free channels dead (seed {flags.seed}): the network as it is, and "
        f"compacted, in turn; medians of {flags.repeats} [quartiles]. `control` is the dense network once more. The "
        "last column is the biggest difference to the CPU, dense or compacted, beside the largest output."
    )
    yield ""
    yield from report.header("network, batch", "dense (ms)", "compacted (ms)", "times as fast", "control", "difference")
    with jax.default_matmul_precision("float32"):
        for name in flags.networks:
            yield from _rows(name, flags)


def _rows(name: str, flags: argparse.Namespace) -> Iterator[str]:
    import jax

    keras.utils.set_random_seed(flags.seed)
    dense = NETWORKS[name]()
    dying.kill(dense, SHARE, flags.seed)
    networks = {DENSE: dense, COMPACTED: tf_reg.compact(dense)}
    here = {arm: calls(network, jax.devices()[0]) for arm, network in networks.items()}
    cpu = {arm: calls(network, jax.devices("cpu")[0]) for arm, network in networks.items()}
    for size in flags.batch_sizes:
        images = np.random.default_rng(flags.seed).normal(size=(size, *dense.inputs[0].shape[1:])).astype("float32")
        difference = max(far(here[arm](images)(), cpu[arm](images)()) for arm in networks)
        if not difference <= TOLERANCE:
            raise UserError(f"{name}, {size}: the device is {difference:.1e} from the CPU, more than {TOLERANCE:.0e}.")
        arms = {arm: here[arm](images) for arm in networks} | {AGAIN: here[DENSE](images)}
        times, length = _times(arms, flags.repeats)
        yield report.row(
            f"{name}, {size}",
            *(timing.Spread.of(times[arm]).show("{:.3f}", 1000 / length) for arm in networks),
            timing.ratio(times, DENSE, COMPACTED).show("{:.2f}"),
            timing.ratio(times, DENSE, AGAIN).show("{:.2f}"),
            f"{difference:.1e}",
        )


def calls(network: keras.Model, device: object) -> Call:
    """Return a function of images that returns one without arguments: it answers them, compiled, on a device.

    Args:
        network: The network.
        device: The device, one of JAX'.
    """
    import jax

    parts = (network.trainable_variables, network.non_trainable_variables)
    weights = jax.device_put(tuple([one.value for one in part] for part in parts), device)
    answer = jax.jit(lambda weights, images: network.stateless_call(*weights, images, training=False)[0])
    return lambda images: functools.partial(answer, weights, jax.device_put(images, device))


def far(one: object, other: object) -> float:
    """Return the biggest difference of two arrays, beside the largest number in the second one."""
    first, second = np.asarray(one), np.asarray(other)
    return float(np.abs(first - second).max() / np.abs(second).max())


def _times(arms: dict[str, Callable[[], object]], repeats: int) -> tuple[timing.Times, int]:
    """Return the seconds of each arm's rounds, and how many answers a round has."""
    _timed(arms[DENSE], 1)  # compiles
    length = max(1, round(SECONDS / _timed(arms[DENSE], 3) * 3))
    return timing.interleave(
        {name: functools.partial(_timed, arm, length) for name, arm in arms.items()}, repeats
    ), length


def _timed(answer: Callable[[], object], length: int) -> float:
    import jax

    start = time.perf_counter()
    for _ in range(length):
        last = answer()
    jax.block_until_ready(last)  # the device works in their order
    return time.perf_counter() - start
