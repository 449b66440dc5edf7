"""A table of the networks of `keras.applications`: what goes when channels die, and what holds the rest."""

from __future__ import annotations

import argparse
import inspect
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import keras

import tf_reg
from benchmarks import dying, latency, report, timing
from tf_reg.compaction.check import compare

NETWORKS = tuple(name for name in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, name)))
LARGE = ("ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetV2L", "NASNetLarge")  # gigabytes, or minutes to compile
BATCH, SHARE, SIZE = 8, 0.3, 96


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    share, size = flags.share or SHARE, flags.size or SIZE
    yield (
        f"{share:.0%} of the channels of each group that nothing holds are killed at random (seed {flags.seed}): all "
        "weights that read them are zero. `built so` are the parameters of the network without these channels. The "
        "time is that of `tf_reg.compact` with its check. The latency is for "
        f"{BATCH} images of {size} pixels: the compacted network beside the first one, and the first one beside "
        f"itself; medians of {flags.repeats} [quartiles]."
    )
    yield ""
    yield from report.header(
        "network",
        "parameters",
        "compacted",
        "compacted / built so",
        "channels",
        "held",
        "largest difference",
        "time (s)",
        "latency / first",
        "control",
        "held by",
    )
    spawn = multiprocessing.get_context("spawn")
    for name in flags.networks or [name for name in NETWORKS if name not in LARGE]:
        with ProcessPoolExecutor(1, mp_context=spawn) as process:  # one process a network: its memory is given back
            yield process.submit(line, name, size, share, flags.seed, flags.repeats).result()


def line(name: str, size: int, share: float, seed: int, repeats: int) -> str:
    """Return the table's row for a network.

    Args:
        name: Its name in `keras.applications`.
        size: The pixels of a side of its images.
        share: Which share of its channels dies.
        seed: Which ones.
        repeats: How often each latency is taken.
    """
    keras.utils.set_random_seed(seed)
    model = dying.network(name, size)
    channels, dead = dying.kill(model, share, seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a check that could tell nothing would be no check
        small = tf_reg.compact(model)
    seconds, found = time.perf_counter() - start, compare(model, small)
    times = latency.table({"first": model, "compacted": small, "again": model}, BATCH, repeats)
    held = Counter[str]()
    for group in channels.groups:
        if group.held is not None:
            held[group.held.rpartition("(")[2].rstrip(")")] += group.size
    built = dying.parameters_at(model, channels.free, dead)
    return report.row(
        name,
        f"{model.count_params():,}",
        f"{small.count_params():,}",
        f"{small.count_params() / built:.3f}",
        f"{sum(group.size for group in channels.groups):,}",
        f"{sum(held.values()):,}",
        f"{found.largest:.0e}",
        f"{seconds:.1f}",
        timing.ratio(times, "compacted", "first").show("{:.2f}"),
        timing.ratio(times, "again", "first").show("{:.2f}"),
        ", ".join(held),
    )
