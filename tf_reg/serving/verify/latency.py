"""How long two models take for an answer: called in turn, beside a control.

`latency_apart` has a process of its own import this file, without TensorFlow's Python package.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

SECONDS = 1.0  # that the rounds of a comparison take, but for those of slow models
FEWEST, MOST = 3, 100  # rounds

Call = Callable[[], object]
Job = tuple[Mapping[str, np.ndarray], Sequence[str]]  # what is fed to a SavedModel, and the tensors to return


@dataclasses.dataclass(frozen=True)
class Latency:
    """Medians over the rounds.

    Args:
        dense_ms: Milliseconds of a call of the dense model.
        compact_ms: Milliseconds of a call of the compacted one.
        ratio: How many times as long the dense one took as the compacted one in the same round.
        control: How many times as long the dense one took as the dense one again in the same round.
    """

    dense_ms: float
    compact_ms: float
    ratio: float
    control: float


def latency(dense: Call, compact: Call) -> Latency:
    """Time two calls in turn: dense, compact, and dense again as the control; every second round backwards.

    Each is called once before, since a first call compiles. What slows the machine for longer than a round slows all
    three alike, so the ratios are taken within the rounds.

    Args:
        dense: Calls the dense model.
        compact: Calls the compacted one on the same inputs.
    """
    calls = [dense, compact, dense]
    for call in calls[:2]:
        call()
    trial = sum(_timed(call) for call in calls)
    rounds = int(min(MOST, max(FEWEST, SECONDS / trial)))
    first, small, again = np.transpose([_round(calls, backwards=bool(number % 2)) for number in range(rounds)])
    medians = np.median([1e3 * first, 1e3 * small, first / small, first / again], axis=1)
    return Latency(*medians.tolist())


def latency_apart(
    dense: str | os.PathLike[str], compact: str | os.PathLike[str], jobs: Sequence[tuple[Job, Job]]
) -> list[Latency]:
    """Time two SavedModels by TensorFlow's C API, in a process of its own and on the CPU.

    Args:
        dense: The folder of a version of the dense model.
        compact: The folder of a version of the compacted one.
        jobs: What to call the two with; each pair is timed on its own.

    Raises:
        ProcessError: If one can't be loaded or run, or it takes longer than `apart.TIMEOUT` seconds.
    """
    from tf_reg.serving.verify import apart

    job = (os.fspath(dense), os.fspath(compact), [tuple(pair) for pair in jobs])
    return [Latency(*numbers) for numbers in apart.answered(__file__, job)]


def _round(calls: Sequence[Call], backwards: bool) -> list[float]:
    times = [_timed(call) for call in (reversed(calls) if backwards else calls)]
    return times[::-1] if backwards else times


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def answer(job: Sequence[Any]) -> list[tuple[float, ...]]:
    """Answer a job of `latency_apart` with the numbers of each `Latency`."""
    c_api = importlib.import_module("c_api")  # that of the process, without the package around it
    dense, compact, jobs = job
    with c_api.Session(dense) as one, c_api.Session(compact) as other:
        runs = [[c_api.Run(*job) for job in pair] for pair in jobs]
        found = [latency(partial(one.run, run), partial(other.run, other_run)) for run, other_run in runs]
    return [dataclasses.astuple(numbers) for numbers in found]
