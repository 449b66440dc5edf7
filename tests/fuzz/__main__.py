"""The command `python -m tests.fuzz`: fuzzes every public function, and prints the counts as a table."""

from __future__ import annotations

import argparse
import time

from tests.fuzz.apart import fuzzed


def main() -> int:
    """Fuzz, print, and return how many kinds of faults there are."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help="functions, as the table has them; all if none is given")
    parser.add_argument("--cheap", type=int, default=200, help="cases of each function that answers at once")
    parser.add_argument("--dear", type=int, default=40, help="cases of each that trains, compiles or writes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="the seconds that a case may take")
    given = parser.parse_args()
    start = time.perf_counter()
    found = fuzzed(given.names, cheap=given.cheap, dear=given.dear, seed=given.seed, limit=given.limit)
    print("| function | cases | errors | answers | of these checked |\n|---|---|---|---|---|")
    for row in found.rows:
        print(f"| `{row['name']}` | {row['cases']} | {row['errors']} | {row['answers']} | {row['checked']} |")
    whole = [f"{found.total(what):,}" for what in ("cases", "errors", "answers", "checked")]
    print(f"| all {len(found.rows)} | {' | '.join(whole)} |")
    print(f"{len(found.faults)} kinds of faults, {time.perf_counter() - start:.0f} s")
    for fault in found.faults:
        print(fault)
    print(found.stopped, end="")
    return len(found.faults) + bool(found.stopped)


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
