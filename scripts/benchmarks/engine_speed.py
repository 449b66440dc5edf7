"""How large a network is and how long it takes in four engines: dense, and with its dead channels cut out."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import keras
import numpy as np

import tf_reg
from benchmarks import dying, engine_times, report, timing
from tf_reg.serving.verify.engines import ENGINES, is_installed
from tf_reg.serving.write.formats import FORMATS
from tf_reg_cli.errors import UserError

REPEATS, BATCHES, SHARE = 15, (1, 64), 0.5
TITLES = {"savedmodel": "TensorFlow's C API", **{name: engine.title for name, engine in ENGINES.items()}}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument(
        "--network", default="ResNet50", metavar="NAME", help="in keras.applications (default: ResNet50)"
    )
    parser.add_argument("--size", type=int, default=96, metavar="N", help="pixels of a side (default: 96)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong, or an engine isn't installed.
    """
    lacks = [f'pip install -e ".[{engine.extra}]"' for name, engine in ENGINES.items() if not is_installed(name)]
    if lacks:
        raise UserError(f"All engines have to be installed: {', '.join(lacks)}.")
    if not hasattr(keras.applications, flags.network) or flags.size < 32:
        raise UserError(
            f"Give a name in keras.applications and 32 pixels or more. Received: {flags.network}, {flags.size}."
        )
    with tempfile.TemporaryDirectory() as folder:
        versions = {name: _exported(model, Path(folder) / name) for name, model in _models(flags).items()}
        yield from _sizes(versions)
        yield ""
        yield (
            "Milliseconds of a call, in float32 on the CPU, and how many times as long the dense network took; medians "
            f"of {flags.repeats} [quartiles], in turn within an engine. The control is the dense network once more. "
            "Each engine has a process of its own and as many threads as it takes by itself."
        )
        yield ""
        yield from report.header("engine", "batch", "dense (ms)", "compacted (ms)", "dense / compacted", "control")
        for engine in TITLES:
            yield from _rows(engine, versions, (flags.size, flags.size, 3), flags.repeats)


def _models(flags: argparse.Namespace) -> dict[str, keras.Model]:
    keras.utils.set_random_seed(flags.seed)
    dense = dying.network(flags.network, flags.size)
    dying.kill(dense, SHARE, flags.seed)
    return {"dense": dense, "compacted": tf_reg.compact(dense)}


def _exported(model: keras.Model, folder: Path) -> Path:
    """Export a network with all formats; the classes' probabilities are far below the tolerance, so compare logits."""
    examples = np.random.default_rng(0).normal(size=(2, *model.inputs[0].shape[1:])).astype("float32")
    return tf_reg.export(model, folder, logits=True, examples=examples, formats=list(FORMATS))


def _sizes(versions: Mapping[str, Path]) -> Iterator[str]:
    yield from report.header("file", *(f"{name} (MB)" for name in versions))
    files = {"SavedModel: variables and graph": None, **{one.title: one.file for one in FORMATS.values()}}
    for title, file in files.items():
        yield report.row(title, *(f"{_bytes(version, file) / 1e6:.1f}" for version in versions.values()))


def _bytes(version: Path, file: str | None) -> int:
    if file is not None:
        return (version / file).stat().st_size
    parts = [version / "saved_model.pb", *(version / "variables").iterdir()]
    return sum(part.stat().st_size for part in parts)


def _rows(engine: str, versions: Mapping[str, Path], shape: tuple[int, ...], repeats: int) -> Iterator[str]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        for batch in BATCHES:
            times = process.submit(engine_times.times, engine, versions, (batch, *shape), repeats).result()
            yield report.row(
                TITLES[engine],
                f"{batch}",
                *(timing.Spread.of(times[name]).show("{:.1f}", 1e3) for name in versions),
                timing.ratio(times, "dense", "compacted").show("{:.2f}"),
                timing.ratio(times, "again", "dense").show("{:.2f}"),
            )
