"""`tf-reg predict`."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from tf_reg_cli.checks import Must, flag
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path, whole
from tf_reg_cli.files import require
from tf_reg_cli.start import quiet_start

if TYPE_CHECKING:
    from tf_reg.serving.client.requests import Request
    from tf_reg.serving.client.server import Address, Client

HOST = re.compile(r"[A-Za-z0-9_.-]+")
OF_A_SERVER = ("model", "version", "label", "host", "port", "grpc", "rows", "timeout", "retries", "signature")
SERVER, ANSWERS, BENCH = Group("Server", sort_key=1), Group("Answers", sort_key=2), Group("Measuring", sort_key=3)


def _is_host(text: str) -> bool:
    try:
        if ":" in text:
            return bool(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
        return HOST.fullmatch(text.encode("idna").decode()) is not None
    except ValueError:
        return False


POSITIVE = Must(lambda n: n >= 1, "a whole number of 1 or more")
NOT_NEGATIVE = Must(lambda n: n >= 0, "a whole number of 0 or more")
VERSION = Must(lambda n: 0 <= n < 2**63, f"a whole number from 0 to {2**63 - 1}")
PORT = Must(lambda n: 1 <= n <= 65535, "a whole number from 1 to 65535")
SECONDS = Must(lambda x: 0 < x <= 86400, "seconds, above 0 and up to 86400")  # sockets don't take any number
HOST_NAME = Must(_is_host, "a name or an address alone; --port has the port")
Positive = Annotated[int, Parameter(metavar="N", converter=whole, validator=POSITIVE)]


@Parameter("*")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of `tf-reg predict`."""

    model: Annotated[str | None, Parameter(help="the model's name on the server", metavar="TEXT", group=SERVER)] = None
    onnx: Annotated[
        Path | None,
        Parameter(help="a model.onnx to run here, without a server", metavar="FILE", group=SERVER, converter=to_path),
    ] = None
    version: Annotated[
        int | None,
        Parameter(
            help="(default: the newest that is served)", metavar="N", group=SERVER, converter=whole, validator=VERSION
        ),
    ] = None
    label: Annotated[
        str | None, Parameter(help="the version's label, such as stable", metavar="TEXT", group=SERVER)
    ] = None
    host: Annotated[str, Parameter(help="(default: localhost)", metavar="TEXT", group=SERVER, validator=HOST_NAME)] = (
        "localhost"
    )
    port: Annotated[
        int | None,
        Parameter(
            help="(default: 8501 for REST, 8500 for gRPC)", metavar="N", group=SERVER, converter=whole, validator=PORT
        ),
    ] = None
    grpc: Annotated[
        bool, Parameter(help='speak gRPC (pip install -e ".[serving]") instead of REST', group=SERVER, negative=())
    ] = False
    rows: Annotated[
        bool, Parameter(help="REST's row format instead of its column format", group=SERVER, negative=())
    ] = False
    timeout: Annotated[
        float,
        Parameter(help="seconds to wait for an answer (default: 10)", metavar="X", group=SERVER, validator=SECONDS),
    ] = 10
    retries: Annotated[
        int,
        Parameter(
            help="further attempts (default: 3)", metavar="N", group=SERVER, converter=whole, validator=NOT_NEGATIVE
        ),
    ] = 3
    signature: Annotated[
        str | None,
        Parameter(help="(default: serving_bytes for images where the model has it)", metavar="TEXT", group=ANSWERS),
    ] = None
    batch_size: Annotated[Positive, Parameter(help="examples a request (default: 32)", group=ANSWERS)] = 32
    classes: Annotated[
        Path | None,
        Parameter(
            help="names: a tf_reg.json, a JSON list, or one a line", metavar="FILE", group=ANSWERS, converter=to_path
        ),
    ] = None
    top: Annotated[Positive, Parameter(help="classes to print (default: 1)", group=ANSWERS)] = 1
    bench: Annotated[bool, Parameter(help="measure latency and throughput instead", group=BENCH, negative=())] = False
    requests: Annotated[Positive, Parameter(help="(default: 500)", group=BENCH)] = 500
    connections: Annotated[Positive, Parameter(help="(default: 4)", group=BENCH)] = 4
    batch_sizes: Annotated[
        tuple[int, ...],
        Parameter(help="(default: 1 32)", metavar="N...", group=BENCH, converter=whole, validator=POSITIVE),
    ] = (1, 32)


def command(
    files: Annotated[
        tuple[Path, ...],
        Parameter(
            help=".npy files with examples, or images; a table, as .csv, .tsv or .parquet; texts or sequences, one a "
            "line, as .txt or .jsonl",
            required=True,
            converter=to_path,
        ),
    ],
    /,
    *,
    options: Options | None = None,
) -> int:
    """Ask a running TensorFlow Serving: images, arrays, a table, texts or sequences in, class and probability out.

    --onnx asks a file instead, in ONNX Runtime.

    For example:

      tf-reg predict photo.png --model flowers --classes names.txt
      tf-reg predict flats.csv --model flats --grpc
      tf-reg predict reviews.txt --model reviews
      tf-reg predict digits.npy --model digits-mlp-l1l2 --grpc --label stable
      tf-reg predict digits.npy --model digits-mlp-l1l2 --bench --connections 8
      tf-reg predict photo.png --onnx saved_models/flowers/1/model.onnx
    """
    options = options or Options()
    _check(options)
    for file in files:
        require(file)
    require(options.classes, "--classes")
    require(options.onnx, "--onnx")
    with quiet_start():
        from tf_reg.serving.client import requests
    names = requests.read_classes(options.classes) if options.classes else None
    connect = _connector(options)
    client = connect()
    try:
        request = requests.prepare(client, files, options.signature)
        if options.bench:
            lines = _bench(connect, request, options)
        else:
            lines = requests.answers(client, request, options.batch_size, names, options.top)
        for line in lines:
            print(line, flush=True)
    finally:
        client.close()
    return 0


def _check(options: Options) -> None:
    if options.onnx is not None:
        given = [name for name in OF_A_SERVER if getattr(options, name) != getattr(Options(), name)]
        if given:
            raise UserError(f"--onnx asks no server. Leave out {', '.join(map(flag, given))}.")
    elif options.model is None:
        raise UserError("Give --model NAME, the model's name on the server, or --onnx FILE.")
    if options.version is not None and options.label is not None:
        raise UserError("--version and --label both name the version. Leave one out.")
    if options.grpc and options.rows:
        raise UserError("--rows is a format of REST, which --grpc replaces. Leave one out.")


def _connector(options: Options) -> Callable[[], Client]:
    from tf_reg.serving.client import onnx_file, rest, rpc

    if options.onnx is not None:
        file = options.onnx
        return lambda: onnx_file.OnnxClient(file)
    where = address(options)
    return lambda: rpc.GrpcClient(where) if options.grpc else rest.RestClient(where, options.rows)


def address(options: Options) -> Address:
    """Return where the model is asked."""
    from tf_reg.serving.client import rest, rpc, server

    host = options.host.removeprefix("[").removesuffix("]")
    port = options.port or (rpc.PORT if options.grpc else rest.PORT)
    return server.Address(
        host, port, options.model or "", options.version, options.label, options.timeout, options.retries
    )


def _bench(connect: Callable[[], Client], request: Request, options: Options) -> Iterator[str]:
    from tf_reg.serving.client import bench

    kinds = {"ONNX Runtime": options.onnx, "gRPC": options.grpc, "REST, rows": options.rows}
    label = next((kind for kind, used in kinds.items() if used), "REST")
    yield from bench.HEADER
    for batch in bench.batches(request, options.batch_sizes):
        found = bench.measure(connect, batch, options.requests, options.connections)
        yield found.row(label, options.connections)
        message, count = found.failed
        if count:
            yield f"{count} requests failed: {message}"
