"""What `tf_reg.compact` makes of the networks of `keras.applications` when channels die, and how fast the rest is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmarks import compaction_memory, compaction_networks, compaction_speed
from tf_reg_cli.errors import UserError

REPEATS = 15
PARTS = {"networks": compaction_networks.run, "speed": compaction_speed.run, "memory": compaction_memory.run}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags."""
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(default: all)")
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="names in keras.applications (default: see docs)")
    parser.add_argument("--share", type=float, metavar="X", help="of channels that die (default: 0.3; 0.5 for speed)")
    parser.add_argument("--size", type=int, metavar="N", help="pixels of a side (default: 96; 224 for memory)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report.

    Raises:
        UserError: If a flag is wrong.
    """
    unknown = set(flags.networks or ()) - set(compaction_networks.NETWORKS)
    if unknown:
        raise UserError(f"--networks takes names in keras.applications. Received: {' '.join(sorted(unknown))}.")
    if flags.share is not None and not 0 < flags.share < 1:
        raise UserError(f"--share must be between 0 and 1. Received: {flags.share}.")
    if flags.size is not None and flags.size < 32:
        raise UserError(f"--size must be 32 or more. Received: {flags.size}.")
    for part in flags.parts:
        yield f"### {part}"
        yield ""
        yield from PARTS[part](flags)
        yield ""
