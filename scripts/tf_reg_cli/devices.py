"""Where a training runs: the flags for its devices and its processes, and what each of them may be."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token

from tf_reg_cli.checks import Must
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import whole

MOST = 2**16
ADDRESS = re.compile(r"(\[[^\[\]\s]+\]|[^:\s\[\]]+):([0-9]{1,5})")


def all_or_count(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return what `--devices` was given: `"all"`, or a number."""
    word = tokens[0].value
    return int(word) if re.fullmatch(r"[0-9]{1,5}", word) and int(word) > 0 else word


def _flag(metavar: str, text: str, holds: Must, converter: Any = whole) -> Parameter:
    return Parameter(metavar=metavar, help=text, group="Devices", converter=converter, validator=holds)


DevicesFlag = Annotated[
    int | str | None,
    _flag(
        "N|all",
        "train on that many GPUs of each machine, or on all; on CPUs where there are none (default: one)",
        Must(lambda n: n == "all" or type(n) is int, "all, or a whole number from 1 on", ("all",)),
        all_or_count,
    ),
]
ProcessesFlag = Annotated[
    int | None,
    _flag(
        "N",
        "train on that many processes, one a machine, with KERAS_BACKEND=jax: start this command on each",
        Must(lambda n: 1 <= n <= MOST, f"from 1 to {MOST}"),
    ),
]
ProcessFlag = Annotated[
    int | None,
    _flag(
        "I",
        "which of the processes this is, from 0 on; number 0 writes the run",
        Must(lambda n: 0 <= n < MOST, "0 or more"),
    ),
]
CoordinatorFlag = Annotated[
    str | None,
    Parameter(metavar="HOST:PORT", help="where the other processes find number 0: a free port of its", group="Devices"),
]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a training runs.

    Args:
        devices: How many devices of each machine, or `"all"`; None for one, as Keras takes it.
        num_processes: How many processes there are.
        process_id: Which of them this is.
        coordinator: The address of process 0.

    Raises:
        UserError: One is missing beside the others, or out of its range.
    """

    devices: int | str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    coordinator: str | None = None

    def __post_init__(self) -> None:
        count = self.num_processes
        for name, value in {"--process-id": self.process_id, "--coordinator": self.coordinator}.items():
            if count is None and value is not None:
                raise UserError(f"{name} does nothing without --num-processes.")
            if count is not None and value is None:
                what = {"--process-id": f"from 0 to {count - 1}", "--coordinator": "HOST:PORT of process 0"}[name]
                raise UserError(f"--num-processes {count} needs {name}, {what}.")
        if count is not None and self.process_id is not None and self.process_id >= count:
            raise UserError(
                f"--process-id must be from 0 to {count - 1} with --num-processes {count}. Received: {self.process_id}."
            )
        found = None if self.coordinator is None else ADDRESS.fullmatch(self.coordinator)
        if self.coordinator is not None and (found is None or not 0 < int(found[2]) < 2**16):
            raise UserError(
                "--coordinator must be HOST:PORT, with a port from 1 to 65535, such as node1:12345. Received: "
                f"{self.coordinator!r}."
            )

    @property
    def several_processes(self) -> bool:
        """Whether there is more than one process."""
        return (self.num_processes or 1) > 1
