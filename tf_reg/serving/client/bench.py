"""How fast a server answers: several connections ask at once, and every answer's time is kept."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tf_reg.serving.client.requests import Request, chunks
from tf_reg.serving.client.server import Client
from tf_reg_cli.errors import UserError


class Latencies(NamedTuple):
    """What a bench measured.

    Args:
        seconds: Of each request that was answered.
        elapsed: From the first request to the last answer, in seconds.
        batch: Examples a request.
        failed: The first error's message, and how many there were.
    """

    seconds: Sequence[float]
    elapsed: float
    batch: int
    failed: tuple[str, int]

    def row(self, label: str, connections: int) -> str:
        """Return a line of the table."""
        p50, p95, p99 = 1000 * np.percentile(self.seconds, (50, 95, 99))
        rate = len(self.seconds) / self.elapsed
        cells = [label, f"{self.batch}", f"{connections}", f"{len(self.seconds)}", f"{p50:.1f}", f"{p95:.1f}"]
        return f"| {' | '.join([*cells, f'{p99:.1f}', f'{rate:,.0f}', f'{rate * self.batch:,.0f}'])} |"


HEADER = (
    "| protocol | batch | connections | requests | p50 (ms) | p95 (ms) | p99 (ms) | requests/s | examples/s |",
    "|---|" + "---:|" * 8,
)


def measure(connect: Callable[[], Client], request: Request, requests: int, connections: int) -> Latencies:
    """Send the same request many times, after one for each connection that isn't measured.

    Args:
        connect: Makes a connection.
        request: What to ask.
        requests: How many requests to measure, of all connections together.
        connections: How many ask at once, each the next request when it has its answer.

    Raises:
        UserError: If the server can't be reached, or no request succeeds.
    """
    clients = [connect() for _ in range(connections)]
    try:
        for client in clients:
            client.predict(request.signature, request.inputs)
        numbers = itertools.count()
        seconds: list[float] = []
        errors: list[str] = []

        def ask(client: Client) -> None:
            while next(numbers) < requests:
                start = time.perf_counter()
                try:
                    client.predict(request.signature, request.inputs)
                    seconds.append(time.perf_counter() - start)
                except UserError as error:
                    errors.append(str(error))

        elapsed = _together(ask, clients)
    finally:
        for client in clients:
            client.close()
    if not seconds:
        raise UserError(f"No request of {requests} succeeded: {errors[0]}")
    batch = len(next(iter(request.inputs.values())))
    return Latencies(seconds, elapsed, batch, (errors[0] if errors else "", len(errors)))


def batches(request: Request, sizes: Sequence[int]) -> Iterator[Request]:
    """Yield the request's examples, repeated or cut, as requests of these sizes; of several lengths the first."""
    request = next(chunks(request, len(request.names)))
    for size in sizes:
        yield request._replace(
            inputs={name: np.resize(array, (size, *array.shape[1:])) for name, array in request.inputs.items()}
        )


def _together(ask: Callable[[Client], None], clients: Sequence[Client]) -> float:
    """Call a function for each client in a thread of its own, and return the seconds that all took."""
    threads = [threading.Thread(target=ask, args=(client,), daemon=True) for client in clients]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start
