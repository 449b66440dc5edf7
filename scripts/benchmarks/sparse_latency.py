"""How many times as fast the compacted networks of `benchmark.py sparse` are, as SavedModels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import keras

from benchmarks import latency, report, timing
from benchmarks.sparse_recipes import NETWORKS
from tf_reg_cli.errors import UserError

BATCHES = (1, 64)


def table(network: str, kept: Mapping[str, Path], rounds: int) -> Iterator[str]:
    """Yield the lines of a table: the time of the dense network, divided by that of each compacted one.

    The control is the dense network, exported once more, beside itself.

    Args:
        network: The name of the network in `NETWORKS`.
        kept: The `.keras` file of the compacted network of each seed.
        rounds: How often each network is called.

    Raises:
        UserError: If a file isn't there.
    """
    missing = [str(file) for file in kept.values() if not file.is_file()]
    if missing:
        raise UserError(
            f"--latency takes compacted networks that were kept. Received: no {missing[0]}, of an older training. "
            "Train again with another --runs."
        )
    dense = NETWORKS[network]()
    yield from report.header(
        "dense time / time, seed", *(f"batch {b}{what}" for b in BATCHES for what in ("", ", control"))
    )
    for seed, file in kept.items():
        models = {"dense": dense, "control": dense, "compacted": keras.saving.load_model(file, compile=False)}
        times = [latency.served(models, batch, rounds) for batch in BATCHES]
        ratios = [timing.ratio(one, "dense", arm).show("{:.2f}") for one in times for arm in ("compacted", "control")]
        yield report.row(seed, *ratios)
