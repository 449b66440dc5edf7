"""Measure what tf_reg costs and how fast it trains, and print it as tables in Markdown.

Examples:
    python scripts/benchmark.py logger
    python scripts/benchmark.py training --repeats 20
    python scripts/benchmark.py proximal --parts penalties
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes on its start are no news


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 for a mistake of the user's, 130 after Ctrl-C."""
    try:
        return _benchmark(arguments)
    except KeyboardInterrupt:
        print("\nInterrupted. What stands above is complete.", file=sys.stderr)
        return 130


def _benchmark(arguments: Sequence[str] | None) -> int:
    from benchmarks import cli
    from tf_reg_cli.errors import UserError  # takes seconds, in which Ctrl-C should end cleanly too

    try:
        for line in cli.benchmark(arguments, __doc__):
            print(line, flush=True)
    except UserError as error:
        print(f"benchmark.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
