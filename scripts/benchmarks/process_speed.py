"""How long a step takes on two processes of JAX beside one, each with one core and one thread."""

from __future__ import annotations

import argparse
import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import report, timing
from tf_reg_cli.errors import UserError

REPEATS = 5
NETWORKS = {"lenet-300-100": (784, 300, 100, 10), "mlp-1024": (784, 1024, 1024, 10)}
ONE, AGAIN, TWO = "1 process", "1 process, again", "2 processes"
PROCESSES = {ONE: 1, AGAIN: 1, TWO: 2}
WAIT = 600  # seconds
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="(default: both)")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="an even number (default: 256)")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="how many are timed (default: 200)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong, the machine has one core, or a process failed.
    """
    if flags.steps < 1:
        raise UserError(f"--steps must be 1 or more. Received: {flags.steps}.")
    if flags.batch_size < 2 or flags.batch_size % 2:
        raise UserError(f"--batch-size must be an even number from 2 on. Received: {flags.batch_size}.")
    if len(os.sched_getaffinity(0)) < 2:
        raise UserError("processes needs two cores. This process has one.")
    yield f"A step of `fit` with SGD, momentum and `Proximal` L1; random inputs, batches of {flags.batch_size} in all,"
    yield f"the mean of {flags.steps} steps after 20. Median and quartiles of {flags.repeats} rounds; each process has"
    yield "one core and one thread."
    yield ""
    yield from report.header("network", "ms, 1 process", "ms, 2 processes", "2 : 1", "control, 1 : 1")
    for network in flags.networks:
        arms = {
            name: functools.partial(seconds, network, count, flags.batch_size, flags.steps)
            for name, count in PROCESSES.items()
        }
        times = timing.interleave(arms, flags.repeats)
        one, two = (timing.Spread.of(times[name]).show("{:.2f}", 1000) for name in (ONE, TWO))
        ratios = (timing.ratio(times, name, ONE).show("{:.2f}") for name in (TWO, AGAIN))
        yield report.row(network, one, two, *ratios)


def seconds(network: str, processes: int, batch_size: int, steps: int) -> float:
    """Return the seconds of a step, as process 0 sees it.

    Args:
        network: A key of `NETWORKS`.
        processes: How many processes share the step.
        batch_size: Of all processes together.
        steps: How many are timed.

    Raises:
        UserError: A process failed.
    """
    with socket.socket() as one:
        one.bind(("localhost", 0))
        address = f"localhost:{one.getsockname()[1]}"
    cores = sorted(os.sched_getaffinity(0))
    words = [json.dumps(NETWORKS[network]), str(processes), address, str(batch_size), str(steps)]
    started = [_start([*words, str(number), str(cores[number])]) for number in range(processes)]
    try:
        answers = [one.communicate(timeout=WAIT) for one in started]
    finally:
        for process in started:
            process.kill()
    for process, (_, errors) in zip(started, answers, strict=True):
        if process.returncode:
            raise UserError(f"A process failed: {errors.strip().splitlines()[-1]}")
    return float(answers[0][0].split()[-1])


def _start(words: list[str]) -> subprocess.Popen[str]:
    root = Path(__file__).parents[1]
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {ONE_THREAD}".strip(),
        "PYTHONPATH": os.pathsep.join([str(root), str(root.parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "benchmarks.process_worker", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
