"""The process in which an engine is timed, with no other engine beside it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks import timing
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api
from tf_reg.serving.verify.engines import ENGINES
from tf_reg.serving.write.formats import FORMATS

Call = Callable[[], object]


def times(engine: str, versions: Mapping[str, Path], shape: tuple[int, ...], repeats: int) -> timing.Times:
    """Return the seconds that versions of a model take for random numbers, and the first of them once more.

    Args:
        engine: `"savedmodel"`, or a key of `ENGINES`.
        versions: The versions' folders, by name.
        shape: The shape of the input `inputs`; the output is `probabilities`.
        repeats: How many rounds.
    """
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    calls = {name: _loaded(engine, version, x) for name, version in versions.items()}
    arms = calls | {"again": next(iter(calls.values()))}
    return timing.interleave({name: functools.partial(_timed, call) for name, call in arms.items()}, repeats)


def _loaded(engine: str, version: Path, x: np.ndarray) -> Call:
    if engine == "savedmodel":
        signature = saved_graph.signatures(saved_graph.load(version))["serving_default"]
        job = c_api.Run({signature.inputs["inputs"].name: x}, [signature.outputs["probabilities"].name])
        return functools.partial(c_api.Session(version).run, job)
    path = version / FORMATS[engine].file if engine in FORMATS else version
    return functools.partial(ENGINES[engine].load(str(path)), {"inputs": x}, ["probabilities"])


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
