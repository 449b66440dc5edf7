"""TensorFlow Serving's REST interface, over one connection that is kept open."""

from __future__ import annotations

import base64
import functools
import http.client
import json
import socket
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_reg.serving.client import server
from tf_reg.serving.client.server import Address, Arrays, Signature, Tensor
from tf_reg_cli.errors import UserError

PORT = 8501
_RETRIED = (http.client.SERVICE_UNAVAILABLE, http.client.TOO_MANY_REQUESTS, http.client.BAD_GATEWAY)
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BFLOAT16": "bfloat16"}


class RestClient:
    """A `Client` over REST.

    Args:
        address: The model.
        rows: Send and receive an object for each example ("instances"), instead of whole columns ("inputs").
    """

    def __init__(self, address: Address, rows: bool = False) -> None:
        self._address, self._rows = address, rows
        self._connection: _Connection | None = None
        self._path = f"/v1/models/{_quoted(address.model)}"
        if address.version is not None:
            self._path += f"/versions/{address.version}"
        elif address.label is not None:
            self._path += f"/labels/{_quoted(address.label)}"

    @functools.cached_property
    def signatures(self) -> dict[str, Signature]:
        """What the model offers."""
        answer = self._ask("GET", f"{self._path}/metadata")
        try:
            definitions = answer["metadata"]["signature_def"]["signature_def"]
            return {name: _signature(definition) for name, definition in definitions.items() if definition["inputs"]}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{self._address} doesn't describe a model as TensorFlow Serving does.") from error

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the model's outputs."""
        tensors = self.signatures[signature].outputs
        columns = {name: _plain(array) for name, array in inputs.items()}
        body: dict[str, Any] = {"signature_name": signature}
        if self._rows:
            body["instances"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        else:
            body["inputs"] = columns
        answer = self._ask("POST", f"{self._path}:predict", _json(body))
        outputs = answer["predictions"] if self._rows else answer["outputs"]
        if len(tensors) == 1:
            outputs = dict.fromkeys(tensors, outputs)
        elif self._rows:
            outputs = {name: [row[name] for row in outputs] for name in tensors}
        return {name: np.asarray(outputs[name], tensor.dtype) for name, tensor in tensors.items()}

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        status, text = server.persistently(self._address, lambda left: self._attempt(method, path, body, left))
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise UserError(f"{self._address} answers, but not as TensorFlow Serving: {text[:80]!r}.") from error
        if status == http.client.OK:
            return answer
        message = answer.get("error", text) if isinstance(answer, dict) else text
        raise (server.unknown if status == http.client.NOT_FOUND else server.refused)(self._address, message)

    def _attempt(self, method: str, path: str, body: str | None, left: float) -> tuple[int, str]:
        if self._connection is None:
            self._connection = _Connection(self._address.host, self._address.port)
        self._connection.allow(left)
        try:
            self._connection.request(method, path, body)
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise server.NotReadyError(str(error) or type(error).__name__) from error
        if response.status in _RETRIED:
            raise server.NotReadyError(f"{response.status} {text[:200]}")
        return response.status, text


class _Connection(http.client.HTTPConnection):
    """A connection with one time limit for a request and all of its answer, in however many pieces that comes."""

    deadline = 0.0

    def allow(self, seconds: float) -> None:
        """Set the time for the next request and its answer."""
        self.deadline, self.timeout = time.monotonic() + seconds, seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    def connect(self) -> None:
        """Connect, with a socket that knows the time limit."""
        super().connect()
        self.sock = _Socket(self)


class _Socket(socket.socket):
    """The socket of a connection: what it receives has the time that is left, where Python's begins anew each time."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(fileno=connection.sock.detach())
        self._connection = connection
        self.settimeout(connection.timeout)

    def recv_into(self, *arguments: Any) -> int:
        """Receive a piece."""
        left = self._connection.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)
        return super().recv_into(*arguments)


def _signature(definition: Mapping[str, Any]) -> Signature:
    return Signature(_tensors(definition["inputs"]), _tensors(definition["outputs"]))


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: Tensor(_dtype(info["dtype"]), _shape(info["tensor_shape"])) for name, info in sorted(infos.items())}


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name.removeprefix("DT_").lower())


def _shape(shape: Mapping[str, Any]) -> tuple[int | None, ...]:
    sizes = [int(axis["size"]) for axis in shape.get("dim", ())]
    return tuple(None if size < 0 else size for size in sizes)


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _plain(array: np.ndarray) -> Any:
    return _in_base64(array.tolist()) if array.dtype == object else array.tolist()


def _in_base64(content: Any) -> Any:
    if isinstance(content, list):
        return [_in_base64(one) for one in content]
    return {"b64": base64.b64encode(content).decode()}


def _json(body: Any) -> str:
    try:
        return json.dumps(body, allow_nan=False)
    except ValueError as error:
        raise UserError("REST's JSON has neither NaN nor infinity: leave them out, or use --grpc.") from error
