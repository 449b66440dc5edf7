"""Fuzzes functions in this process, which ends where a case takes too long: `python -m tests.fuzz` starts it."""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
from pathlib import Path

from tests import loader
from tests.fuzz.judging import explore, summary
from tf_reg.serving.verify import c_api

LAST = Path("last-case.txt")


def run(module: str, names: list[str], cheap: int, dear: int, seed: int, limit: float) -> None:
    """Print a line of JSON for each function.

    Args:
        module: Where the targets are.
        names: Which of them; all if there are none.
        cheap: The cases of each function that answers at once.
        dear: Those of each other one.
        seed: Of the cases.
        limit: The seconds that a case may take.
    """

    def before(words: str) -> None:
        LAST.write_text(words, errors="backslashreplace")
        faulthandler.dump_traceback_later(limit, exit=True)

    faulthandler.enable()  # a crash says where
    if not loader.GPU:
        c_api.run_apart = loader.run_here  # exports are verified in this process, as in all tests
    for target in importlib.import_module(module).TARGETS:
        cases = dear if target.dear else cheap
        if cases and (not names or target.name in names):
            counts = explore(target, cases, seed, before)
            faulthandler.cancel_dump_traceback_later()
            row = {"name": target.name, "cases": counts.cases, "errors": counts.errors, "answers": counts.answers}
            print(json.dumps({**row, "checked": counts.checked, "faults": summary(counts)}), flush=True)


if __name__ == "__main__":
    run(**json.loads(sys.argv[1]))
