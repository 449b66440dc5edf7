"""What bounds training, and how fast it is: the input pipeline, the loop around the step, and PyTorch beside it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmarks import input_pipeline, subjects, throughput
from tf_reg_cli.errors import UserError

REPEATS = 10

PARTS = {"steps": (input_pipeline.run, (4, 64, 128)), "throughput": (throughput.run, (4, 128))}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    subjects.add_flags(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(default: both)")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", metavar="N", help="(default: 4 64 128 for steps, 4 128 for throughput)"
    )


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag or the data is wrong, or PyTorch is missing.
    """
    if any(size < 1 for size in flags.batch_sizes or ()):
        raise UserError(f"--batch-sizes must be 1 or more each. Received: {' '.join(map(str, flags.batch_sizes))}.")
    if "throughput" in flags.parts:
        throughput.check()
    for part in flags.parts:
        lines, batch_sizes = PARTS[part]
        yield f"### {part}"
        yield ""
        yield from lines(flags, flags.batch_sizes or batch_sizes)
        yield ""
