"""The client on its own: what it says when no server, another server, or a part of itself is missing."""

import contextlib
import socket
import sys
import threading
import time

import pytest

from tests import model_server
from tests.servers import free_ports
from tests.tools import require_module
from tf_reg.serving.client import server
from tf_reg.serving.client.rest import RestClient
from tf_reg.serving.client.rpc import GrpcClient
from tf_reg.serving.client.server import Address
from tf_reg_cli.errors import UserError


@pytest.mark.parametrize("kind", ["columns", "grpc"])
def test_no_server(kind):
    if kind == "grpc":
        require_module("tensorflow_serving", "serving")
    port = free_ports()[0]
    address = Address("localhost", port, "flowers", timeout=5, retries=1)
    client = GrpcClient(address) if kind == "grpc" else RestClient(address)
    with (
        contextlib.closing(client),
        pytest.raises(UserError, match=rf"No answer from TensorFlow Serving at localhost:{port} after 2 attempts"),
    ):
        client.signatures  # noqa: B018


def test_attempts_end_with_success_or_with_the_time(monkeypatch):
    pauses, lefts = [], []
    monkeypatch.setattr(server.time, "sleep", pauses.append)

    def attempt(left):
        lefts.append(left)
        if len(lefts) < 3:
            raise server.NotReadyError("starting")
        return "answer"

    address = Address("localhost", 1, "m", timeout=60, retries=3)
    assert server.persistently(address, attempt) == "answer"
    assert pauses == [0.1, 0.2]
    assert all(59 < left <= 60 for left in lefts)
    lefts.clear()
    with pytest.raises(UserError, match=r"after 2 attempts in .* s: starting. Is it running"):
        server.persistently(Address("localhost", 1, "m", timeout=60, retries=1), attempt)
    lefts.clear()
    with pytest.raises(UserError, match="after 1 attempts"):
        server.persistently(Address("localhost", 1, "m", timeout=0.05, retries=9), attempt)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]
)
def test_another_server(answer):
    with socket.create_server(("localhost", 0)) as listening:

        def reply():
            connection, _ = listening.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with (
            contextlib.closing(RestClient(Address("localhost", listening.getsockname()[1], "m", retries=0))) as client,
            pytest.raises(UserError, match="TensorFlow Serving"),
        ):
            client.signatures  # noqa: B018
        thread.join()


def connect(kind, *address, **options):
    if kind == "grpc":
        require_module("tensorflow_serving", "serving")
        return GrpcClient(Address(*address, **options))
    return RestClient(Address(*address, **options))


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_ipv6(kind):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with (
        getattr(model_server, kind)({}, host="::1") as port,
        contextlib.closing(connect(kind, "::1", port, "trees")) as client,
        pytest.raises(UserError, match=rf"The server at \[::1\]:{port} doesn't have trees"),
    ):
        client.signatures  # noqa: B018


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_no_proxy_is_asked(kind, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://localhost:{free_ports()[0]}")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with (
        getattr(model_server, kind)({}) as port,
        contextlib.closing(connect(kind, "localhost", port, "trees", retries=0)) as client,
        pytest.raises(UserError, match="doesn't have trees"),
    ):
        client.signatures  # noqa: B018


@pytest.mark.parametrize("at_once", [0, 40], ids=["all", "the body"])
def test_a_timeout_is_for_the_whole_answer(at_once):
    """A server that sends a byte now and then keeps no client for longer."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 199\r\n\r\n".ljust(200)
    with socket.create_server(("localhost", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                connection.sendall(answer[:at_once])
                for byte in answer[at_once:]:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        address = Address("localhost", listening.getsockname()[1], "m", timeout=0.3, retries=0)
        start = time.monotonic()
        with contextlib.closing(RestClient(address)) as client, pytest.raises(UserError, match="timed out"):
            client.signatures  # noqa: B018
        assert time.monotonic() - start < 1.5
        thread.join()


def test_grpc_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[serving\]"'):
        GrpcClient(Address("localhost", 1, "m"))
