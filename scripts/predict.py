"""Ask a running TensorFlow Serving what it sees: images or arrays in, class and probability out.

Examples:
    python scripts/predict.py photo.png --model flowers --classes saved_models/flowers/1/assets.extra/tf_reg.json
    python scripts/predict.py digits.npy --model digits-mlp-l1l2 --grpc --label stable
    python scripts/predict.py digits.npy --model digits-mlp-l1l2 --bench --batch-sizes 1 32 --connections 8
"""

from __future__ import annotations

import argparse
import io
import ipaddress
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes on its start are no news

LONGEST = 86400  # seconds: sockets don't take any number
HOST = re.compile(r"[A-Za-z0-9_.-]+")

if TYPE_CHECKING:
    from tf_reg.serving.client.requests import Request
    from tf_reg.serving.client.server import Client


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    It is 2 for a mistake of the user's, 130 after Ctrl-C, and 141 where nobody reads on, as after `| head -1`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack letters that classes' names have
    try:
        return _predict(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


def _predict(arguments: Sequence[str] | None) -> int:
    flags = _parser().parse_args(arguments)
    from tf_reg._checks import UserError  # takes seconds, in which Ctrl-C should end cleanly too
    from tf_reg.serving.client import requests

    try:
        classes = requests.read_classes(flags.classes) if flags.classes else None
        connect = _connector(flags)
        client = connect()
        try:
            request = requests.prepare(client, flags.files, flags.signature)
            if flags.bench:
                lines = _bench(connect, request, flags)
            else:
                lines = requests.answers(client, request, flags.batch_size, classes, flags.top)
            for line in lines:
                print(line, flush=True)
        finally:
            client.close()
    except UserError as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    return 0


def _connector(flags: argparse.Namespace) -> Callable[[], Client]:
    from tf_reg.serving.client import rest, rpc
    from tf_reg.serving.client.server import Address

    port = flags.port or (rpc.PORT if flags.grpc else rest.PORT)
    address = Address(flags.host, port, flags.model, flags.version, flags.label, flags.timeout, flags.retries)
    return lambda: rpc.GrpcClient(address) if flags.grpc else rest.RestClient(address, flags.rows)


def _bench(connect: Callable[[], Client], request: Request, flags: argparse.Namespace) -> Iterator[str]:
    from tf_reg.serving.client import bench

    label = "gRPC" if flags.grpc else "REST, rows" if flags.rows else "REST"
    yield from bench.HEADER
    for batch in bench.batches(request, flags.batch_sizes):
        found = bench.measure(connect, batch, flags.requests, flags.connections)
        yield found.row(label, flags.connections)
        message, count = found.failed
        if count:
            yield f"{count} requests failed: {message}"


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help=".npy files with examples, or images")
    made.add_argument("--model", required=True, metavar="TEXT", help="the model's name on the server")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--version", type=_whole(0, 2**63 - 1), metavar="N", help="(default: the newest that is served)")
    which.add_argument("--label", metavar="TEXT", help="the version's label, such as stable")
    made.add_argument("--signature", metavar="TEXT", help="(default: serving_bytes for images where the model has it)")
    made.add_argument("--host", type=_host, default="localhost", metavar="TEXT", help="(default: localhost)")
    made.add_argument("--port", type=_whole(1, 65535), metavar="N", help="(default: 8501 for REST, 8500 for gRPC)")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--grpc", action="store_true", help='speak gRPC (pip install -e ".[serving]") instead of REST')
    how.add_argument("--rows", action="store_true", help="REST's row format instead of its column format")
    made.add_argument("--batch-size", type=_whole(1), default=32, metavar="N", help="examples a request (default: 32)")
    made.add_argument(
        "--timeout", type=_seconds, default=10, metavar="X", help="seconds to wait for an answer (default: 10)"
    )
    made.add_argument("--retries", type=_whole(0), default=3, metavar="N", help="further attempts (default: 3)")
    made.add_argument("--classes", type=Path, metavar="FILE", help="names: a tf_reg.json, a JSON list, or one a line")
    made.add_argument("--top", type=_whole(1), default=1, metavar="N", help="classes to print (default: 1)")
    made.add_argument("--bench", action="store_true", help="measure latency and throughput instead")
    made.add_argument("--requests", type=_whole(1), default=500, metavar="N", help="of the bench (default: 500)")
    made.add_argument("--connections", type=_whole(1), default=4, metavar="N", help="of the bench (default: 4)")
    made.add_argument(
        "--batch-sizes", type=_whole(1), nargs="+", default=[1, 32], metavar="N", help="of the bench (default: 1 32)"
    )
    return made


def _whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    bounds = f"from {least} to {most}" if most < math.inf else f"of {least} or more"

    def convert(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number {bounds}. Received: {text!r}")
        return int(text)

    return convert


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"expected seconds, above 0 and up to {LONGEST}. Received: {text!r}")
    return seconds


def _host(text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        elif not HOST.fullmatch(host.encode("idna").decode()):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a name or an address alone; --port has the port. Received: {text!r}"
        ) from None
    return host


if __name__ == "__main__":
    sys.exit(main())
