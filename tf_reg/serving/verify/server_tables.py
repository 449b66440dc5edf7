"""What TensorFlow Serving of each version can read: operations, their attributes and kernels, and versions of graphs.

TensorFlow Serving 2.20 is built on TensorFlow 2.20, so what the latter registers is what the former reads.
`scripts/server_tables.py` has written it down.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("server_tables.json.xz")
Kernel = Mapping[str, Sequence[Any]]  # what each attribute may be: codes of types, or texts


@dataclasses.dataclass(frozen=True)
class Table:
    """What one version reads.

    Args:
        version: Of TensorFlow Serving, such as `"2.20"`.
        producer: The version of the graphs that it writes itself.
        min_producer: The lowest version of a graph that it reads.
        types: The codes of the types that it has.
        operations: By name, as `scripts/server_tables.py` writes them: `op`, an `OpDef` in JSON, and `kernels`, by the
            kind of device. Operations that begin with `_`, TensorFlow's internal ones, aren't among them.
    """

    version: str
    producer: int
    min_producer: int
    types: frozenset[int]
    operations: Mapping[str, Mapping[str, Any]]
    _parsed: dict[str, Any] = dataclasses.field(default_factory=dict)

    def definition(self, name: str) -> Any:
        """Return an operation's `OpDef`; None where there is no such operation."""
        if name in self.operations and name not in self._parsed:
            from google.protobuf import json_format
            from tensorflow.core.framework import op_def_pb2

            self._parsed[name] = json_format.ParseDict(
                {"name": name, **self.operations[name]["op"]}, op_def_pb2.OpDef()
            )
        return self._parsed.get(name)

    def kernels(self, name: str, device: str) -> list[Kernel]:
        """Return the kernels that an operation has on a device, `"CPU"` or `"GPU"`."""
        kernels = self.operations[name]["kernels"]
        return [*kernels.get(device, ()), *kernels.get("DEFAULT", ())]  # DEFAULT: for any device


def versions() -> tuple[str, ...]:
    """Return the versions that have a table, the oldest one first."""
    return tuple(_contents())


def check_version(server: Any) -> None:
    """Refuse what is no version with a table.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(server, str) or server not in versions():
        raise ValueError(
            f"`server` must be a version of TensorFlow Serving that is known here, one of {_list(versions())}, or None "
            f"for no check. Received: {server!r}."
        )


@functools.cache
def table(version: str) -> Table:
    """Return the table of a version."""
    contents = _contents()
    found = contents[version]
    operations = contents[versions()[-1]]["ops"] | found["ops"]
    return Table(
        version,
        found["producer"],
        found["min_producer"],
        frozenset(found["types"]),
        {name: operation for name, operation in operations.items() if operation is not None},
    )


@functools.cache
def _contents() -> dict[str, Any]:
    """The file: the newest version whole, of the others the operations that are others, None for those that aren't."""
    contents = json.loads(lzma.decompress(FILE.read_bytes()))
    return dict(sorted(contents.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


def _list(versions: Sequence[str]) -> str:
    return ", ".join(repr(version) for version in versions)
