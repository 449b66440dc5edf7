"""The command `tf-reg`: its subcommands, how it ends, and its exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from tf_reg_cli.commands import compare, export, predict, serving_config, shrink, train, tune, verify
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError, exit_code
from tf_reg_cli.fields import with_lone_values
from tf_reg_cli.help import TwoColumns
from tf_reg_cli.sentences import sentence
from tf_reg_cli.start import occupy_standard_descriptors


def app() -> App:
    """Return the application with all commands."""
    made = App(
        name="tf-reg",
        help="Regularise image classifiers with Keras, and ship them to TensorFlow Serving.",
        version=lambda: f"tf-reg {metadata.version('tf_reg')}",
        version_flags=["--version"],
        help_format="plaintext",
        help_formatter=TwoColumns(),
        default_parameter=Parameter(consume_multiple=True, negative_iterable=(), show_default=False),
        result_action="return_value",
    )
    for module in (train, tune, shrink, compare, export, verify, predict, serving_config):
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        made.command(module.command, name=name)
    return made


def parse(arguments: Sequence[str]) -> tuple[Any, Any]:
    """Return the function of a command line and its bound arguments, without calling it.

    Raises:
        UserError: A flag, a value or the command doesn't exist.
    """
    try:
        words = with_lone_values(Config, arguments)
        called, bound, _ = app().parse_args(words, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise UserError(sentence(error)) from None
    return called, bound


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    It is 0 for success, 1 for a version that `verify` refuses, a training that nothing useful came out of, a search in
    which no smaller model passed and one in which no trial was completed, 2 for a mistake of the user's, 130 after
    Ctrl-C, and 141 where nobody reads the output any more, as after `| head -1`.

    Args:
        arguments: The command line; by default the process' own.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    occupy_standard_descriptors()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack letters that classes' names have
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return exit_code(error)


def _run(arguments: list[str]) -> int:
    name = " ".join(["tf-reg", *[word for word in arguments[:1] if word in app()]])
    try:
        called, bound = parse(arguments)
        return called(*bound.args, **bound.kwargs) or 0
    except KeyboardInterrupt as interrupt:
        print(f"\n{interrupt or 'Interrupted.'}", file=sys.stderr)
        return exit_code(interrupt)
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return exit_code(error)
