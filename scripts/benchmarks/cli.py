"""The command line of scripts/benchmark.py: its subcommands, the flags they share, and the report's head."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import keras

from benchmarks import report
from tf_reg_cli.errors import UserError


class Command(NamedTuple):
    """A subcommand.

    Args:
        module: Where it is, in this package. It is imported when it is called: some need what others can do without.
            It has REPEATS (a default), add_flags(parser), and run(flags), which yields the report's lines as they are
            known.
        summary: A phrase that says what it measures.
        backend: The backend of Keras that it needs.
    """

    module: str
    summary: str
    backend: str = "tensorflow"


COMMANDS = {
    "logger": Command("logger_cost", "the cost of RegularizationLogger on an epoch after the first"),
    "training": Command("training_speed", "what bounds a step of training, and its speed beside a usual PyTorch loop"),
    "proximal": Command("step_cost", "the cost of a penalty per training step, in the loss and as a proximal operator"),
    "accelerator": Command(
        "accelerator", "the cost of a penalty per training step of a large network, on JAX and its device", "jax"
    ),
    "mc_predict": Command(
        "mc_predict_speed", "mean and spread under dropout: mc_predict beside a loop of model(x, training=True)"
    ),
    "export": Command("export_cost", "the size of an export and the time it takes, beside keras.Model.export"),
    "compaction": Command(
        "compaction", "what compaction makes of the networks of keras.applications, and how fast they are then"
    ),
    "engines": Command("engine_speed", "a network in four engines: sizes and latency, dense beside compacted"),
    "path": Command("path_cost", "a path of 20 strengths beside 20 fits from new weights: digits, an MLP 64-32-10"),
    "sparse": Command("sparse", "how small a network can be at which error"),
    "shrink": Command("shrinking", "how small tf_reg.shrink makes trained networks, and what that costs"),
    "support": Command("support", "how often a weight becomes zero, or comes back, in a step: digits, an MLP 64-64-10"),
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
    flags = _parser(description, arguments).parse_args(arguments)
    if flags.repeats < 1:
        raise UserError(f"--repeats must be 1 or more. Received: {flags.repeats}.")
    command = COMMANDS[flags.command]
    if keras.backend.backend() != command.backend:
        raise UserError(f"{flags.command} needs KERAS_BACKEND={command.backend}. Received: {keras.backend.backend()}.")
    yield f"## {flags.command}: {command.summary}"
    yield ""
    yield f"- command: `python scripts/benchmark.py {shlex.join(arguments)}`"
    yield from report.machine()
    yield ""
    yield from _module(command).run(flags)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}.")


def _module(command: Command) -> Any:
    return importlib.import_module(f"benchmarks.{command.module}")


def _parser(description: str | None, arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the flags of the subcommands that the arguments name."""
    made = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        parser = commands.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        if name in arguments:
            module = _module(command)
            repeats = f"rounds (default: {module.REPEATS})"
            parser.add_argument("--repeats", type=int, default=module.REPEATS, metavar="N", help=repeats)
            module.add_flags(parser)
    return made
