"""Compare regularisation methods on one data set and network, and print a table in Markdown.

Takes the flags of train.py besides its own. Each training's result goes into a file at once: interrupted, the same
command goes on where it stopped.

Examples:
    python scripts/compare.py --dataset fashion_mnist --train-size 2000 --model mlp --epochs 25 --seeds 5
    python scripts/compare.py --study zeros --dataset fashion_mnist --model mlp --hidden 300 100 --seeds 3
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes on its start are no news


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 for a mistake of the user's, 130 after Ctrl-C."""
    try:
        return _compare(arguments)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        return 130


def _compare(arguments: Sequence[str] | None) -> int:
    from tf_reg._checks import UserError  # takes seconds, in which Ctrl-C should end cleanly too
    from tf_reg.recipes import comparison, config

    parser = config.parser(__doc__)
    own = parser.add_argument_group("comparison")
    own.add_argument(
        "--study",
        choices=["methods", "zeros"],
        default="methods",
        help="methods: every method's accuracy; zeros: exact zeros and what they save (default: methods)",
    )
    own.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds to report (default: 5)")
    own.add_argument("--results", default="runs/compare.jsonl", metavar="FILE", help="(default: runs/compare.jsonl)")
    try:
        flags = parser.parse_args(arguments)
        base = config.from_flags(flags)
        if flags.seeds < 1:
            raise UserError(f"--seeds must be 1 or more. Received: {flags.seeds}.")
        trials = comparison.Trials(Path(flags.results))
        study = comparison.STUDIES[flags.study]
        for line in comparison.markdown(comparison.compare(base, flags.seeds, trials, study), study):
            print(line, flush=True)
    except UserError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
