"""What cyclopts finds wrong with a command line, as one sentence in the words of this project."""

from __future__ import annotations

import typing
from typing import Any

import pydantic
from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from tf_reg_cli.checks import did_you_mean, expected, near
from tf_reg_cli.fields import NoPathError, plain, words

_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def sentence(error: CycloptsError) -> str:
    """Return what is wrong, what was received, and how to mend it."""
    match error:
        case UnknownCommandError():
            return _no_command(error)
        case UnknownOptionError():
            known = [name for argument in error.argument_collection for name in argument.names]
            return _no_flag(error.token.keyword or error.token.value, known)
        case UnusedCliTokensError():
            return _no_flag((error.unused_tokens or [""])[0], [])
        case RepeatArgumentError():
            return f"{error.token.keyword} is given twice. Leave one out."
        case MissingArgumentError():
            return _missing(error)
        case CoercionError() if error.argument is not None:
            value = error.token.value if error.token else None
            hint = did_you_mean(value, words(error.argument.hint))
            return f"{_name(error)} must be {_expected(error.argument, error)}. Received: {value!r}. {hint}".rstrip()
        case ValidationError() if error.argument is not None:
            hint = did_you_mean(error.argument.tokens[0].value, _near(error)) if error.argument.tokens else ""
            return f"{_name(error)} must be {_condition(error)}. Received: {_given(error.argument)}. {hint}".rstrip()
    return str(error)


def _no_flag(given: str, known: list[str]) -> str:
    return f"There is no flag {given}. {did_you_mean(given.partition('=')[0], known, '--help lists the flags.')}"


def _no_command(error: UnknownCommandError) -> str:
    given = (error.unused_tokens or [""])[0]
    names = [name for name in (error.app or ()) if not name.startswith("-")]
    hint = did_you_mean(given, names, f"The commands are {', '.join(names)}.")
    return f"There is no command {given}. {hint}"


def _missing(error: MissingArgumentError) -> str:
    if error.keyword is not None:
        return f"{error.keyword} needs a value: {_expected(error.argument)}."
    return f"{_name(error)} is missing. --help shows what the command takes."


def _given(argument: Any) -> str:
    words = [token.value for token in argument.tokens]
    return " ".join(words if plain(argument.hint) in (int, float) else map(repr, words))


def _condition(error: ValidationError) -> str:
    if isinstance(error.__cause__, pydantic.ValidationError):
        return expected(error.__cause__)
    return error.exception_message


def _near(error: ValidationError) -> list[str]:
    return near(error.__cause__) if isinstance(error.__cause__, pydantic.ValidationError) else []


def _name(error: CycloptsError) -> str:
    argument: Any = error.argument
    if argument.field_info.is_keyword:
        return argument.name
    return argument.name.upper()


def _expected(argument: Any, error: CycloptsError | None = None) -> str:
    if isinstance(getattr(error, "__cause__", None), NoPathError):
        return str(error.__cause__)  # type: ignore[union-attr]
    taken, kind = ", ".join(words(argument.hint)), plain(argument.hint)
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {taken}"
    expected = _KINDS.get(kind, "text")
    return f"{taken}, or {expected}" if taken else expected
