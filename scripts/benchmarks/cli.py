"""The command line of scripts/benchmark.py: its subcommands, the flags they share, and the report's head."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

import keras

from benchmarks import (
    compaction,
    export_cost,
    logger_cost,
    mc_predict_speed,
    report,
    sparse,
    step_cost,
    support,
    training_speed,
)
from tf_reg_cli.errors import UserError

# Each is a module with SUMMARY (a phrase), REPEATS (a default), add_flags(parser), and run(flags), which yields
# the report's lines as they are known.
COMMANDS = {
    "logger": logger_cost,
    "training": training_speed,
    "proximal": step_cost,
    "mc_predict": mc_predict_speed,
    "export": export_cost,
    "compaction": compaction,
    "sparse": sparse,
    "support": support,
}


def benchmark(arguments: Sequence[str] | None = None, description: str | None = None) -> Iterator[str]:
    """Yield the lines of the report, in Markdown, that the command line asks for.

    Args:
        arguments: The command line, by default the process' own.
        description: What `--help` says.

    Raises:
        UserError: If a flag or the data is wrong, or something is missing.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    flags = _parser(description).parse_args(arguments)
    if flags.repeats < 1:
        raise UserError(f"--repeats must be 1 or more. Received: {flags.repeats}.")
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"Benchmarks need KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}.")
    yield f"## {flags.command}: {COMMANDS[flags.command].SUMMARY}"
    yield ""
    yield f"- command: `python scripts/benchmark.py {shlex.join(arguments)}`"
    yield from report.machine()
    yield ""
    yield from COMMANDS[flags.command].run(flags)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}.")


def _parser(description: str | None) -> argparse.ArgumentParser:
    made = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.SUMMARY, allow_abbrev=False)
        command.add_argument(
            "--repeats", type=int, default=module.REPEATS, metavar="N", help=f"rounds (default: {module.REPEATS})"
        )
        module.add_flags(command)
    return made
