"""Which model on which server, how long to wait for it, and what its answers can be."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from tf_reg_cli.errors import UserError

Arrays = Mapping[str, np.ndarray]
Result = TypeVar("Result")
NO_LABEL = "Unrecognized servable version label"  # unlike a version, not an error of its own kind
FIRST_PAUSE = 0.1  # seconds before the second attempt; doubled before each further one


@dataclasses.dataclass(frozen=True)
class Address:
    """A model on a server.

    Args:
        host: The server's name or address, one of IPv6 without brackets.
        port: Its port.
        model: The model's name.
        version: The version to ask; by default, and without a label, the newest one.
        label: The label of the version to ask.
        timeout: Seconds to wait for an answer, all attempts together.
        retries: How often to try again while the server can't be reached or isn't ready.
    """

    host: str
    port: int
    model: str
    version: int | None = None
    label: str | None = None
    timeout: float = 10.0
    retries: int = 3

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def asked(self) -> str:
        """The model and version in words."""
        if self.version is not None:
            return f"version {self.version} of {self.model}"
        return self.model if self.label is None else f"the version {self.label} of {self.model}"


class Tensor(NamedTuple):
    """An input or output of a signature, as the server describes it: None where a size is free."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """What a signature takes and returns, by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class Client(Protocol):
    """A connection to one model; not to be shared between threads."""

    @property
    def signatures(self) -> dict[str, Signature]:
        """What the model offers.

        Raises:
            UserError: If the server can't be reached, or has no such model.
        """

    def predict(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Return the model's outputs; strings go in as arrays of bytes objects.

        Raises:
            UserError: If the server can't be reached, has no such model, or refuses the inputs.
        """

    def close(self) -> None:
        """Close the connection."""


class NotReadyError(Exception):
    """The server can't be reached, or isn't ready yet: worth another attempt."""


def persistently(address: Address, attempt: Callable[[float], Result]) -> Result:
    """Call `attempt` with the seconds that are left until it succeeds.

    The time limit is one for all attempts, connecting and answers included. Urllib3's is for one read of one attempt,
    and gRPC's own retries end after five, whatever is asked for.

    Args:
        address: How often, and how long.
        attempt: May raise `NotReadyError`.

    Raises:
        UserError: If it never does.
    """
    start, pause = time.monotonic(), FIRST_PAUSE
    for number in range(address.retries + 1):
        try:
            return attempt(max(start + address.timeout - time.monotonic(), 0.001))
        except NotReadyError as error:
            left = start + address.timeout - time.monotonic() - pause
            if number == address.retries or left <= 0:
                raise UserError(
                    f"No answer from TensorFlow Serving at {address} after {number + 1} attempts in "
                    f"{time.monotonic() - start:.1f} s: {error}. Is it running, and is this its port?"
                ) from error
        time.sleep(pause)
        pause *= 2
    raise AssertionError("not reached")


def unknown(address: Address, message: str) -> UserError:
    """Return the error for a model, version or label that the server hasn't got."""
    return UserError(f"The server at {address} doesn't have {address.asked}: {_line(message)}")


def refused(address: Address, message: str) -> UserError:
    """Return the error for a request that the server doesn't take, or for a label that it hasn't got."""
    if NO_LABEL in message:
        return unknown(address, message)
    return UserError(f"{address.asked} at {address} refuses the request: {_line(message)}")


def _line(message: str) -> str:
    """The first line of a server's message; places in a graph follow."""
    return (message.strip().splitlines() or ["it gives no reason"])[0]
