"""What compaction takes: seconds, and memory beside that of a network that was built and called."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np

import tf_reg
from benchmarks import dying, report

NETWORKS, SIZE, SHARE, BATCH = ("ResNet50",), 224, 0.3, 3


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    size = SIZE if flags.size is None else flags.size
    share = SHARE if flags.share is None else flags.share
    yield (
        f"`tf_reg.compact` with its check, for images of {size} pixels, {share:.0%} of the channels dead (seed "
        f"{flags.seed}). The memory is the peak of a process of its own: when the network was built and called on "
        f"{BATCH} images, and when its channels were killed and it was compacted."
    )
    yield ""
    yield from report.header(
        "network", "time (s)", "weights (MiB)", "peak before (MiB)", "peak after (MiB)", "more / weights"
    )
    for name in flags.networks or NETWORKS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            yield process.submit(line, name, size, share, flags.seed).result()


def line(name: str, size: int, share: float, seed: int) -> str:
    """Return the table's row for a network.

    Args:
        name: Its name in `keras.applications`.
        size: The pixels of a side of its images.
        share: Which share of its channels dies.
        seed: Which ones.
    """
    keras.utils.set_random_seed(seed)
    model = dying.network(name, size)
    model(np.zeros((BATCH, size, size, 3), "float32"), training=False)
    called = _peak()
    dying.kill(model, share, seed)
    start = time.perf_counter()
    tf_reg.compact(model)
    seconds = time.perf_counter() - start
    weights = sum(keras.ops.convert_to_numpy(weight.value).nbytes for weight in model.weights) / 2**20
    numbers = (weights, called, _peak())
    return report.row(
        name, f"{seconds:.1f}", *(f"{number:,.0f}" for number in numbers), f"{(numbers[2] - called) / weights:.2f}"
    )


def _peak() -> float:
    """The largest memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
