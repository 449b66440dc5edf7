"""Runs the fuzzing in a process of its own, so that a hang or a crash is a result like any other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.child import LAST
from tests.tools import ROOT


class Fuzzed(NamedTuple):
    """What came of it.

    Args:
        rows: A dictionary for each function: `name`, `cases`, `errors`, `answers`, `checked`, `faults`.
        stopped: What ended the process before its time: the case, and the end of what it wrote; "" if nothing did.
    """

    rows: list[dict[str, Any]]
    stopped: str

    @property
    def faults(self) -> list[str]:
        return [fault for row in self.rows for fault in row["faults"]]

    def total(self, what: str) -> int:
        return sum(row[what] for row in self.rows)


def fuzzed(
    names: Sequence[str] = (),
    *,
    cheap: int,
    dear: int,
    seed: int = 0,
    limit: float = 60.0,
    module: str = "tests.fuzz.everything",
) -> Fuzzed:
    """Fuzz in a process of its own, in an empty folder. The arguments are those of `tests.fuzz.child.run`."""
    job = {"module": module, "names": list(names), "cheap": cheap, "dear": dear, "seed": seed, "limit": limit}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.child", json.dumps(job)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        last = Path(folder, LAST)
        case = last.read_text(errors="replace") if last.exists() else "before the first case"
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("Extension modules:"))
    return Fuzzed(rows, f"exit code {done.returncode} at {case}\n{said[-3000:]}" if done.returncode else "")
