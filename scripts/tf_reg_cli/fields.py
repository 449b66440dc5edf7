"""A dataclass's fields as flags for cyclopts and as types for pydantic."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typing_extensions
from cyclopts import Group, Parameter, Token

from tf_reg_cli.checks import flag, place

_METAVARS = {int: "N", float: "X", str: "TEXT"}


def option(default: Any, text: str, *, group: str | None = None, alone: float | None = None) -> Any:
    """Declare a field of a configuration together with its line of `--help`.

    Args:
        default: The default value; a tuple where the flag takes several.
        text: What `--help` says.
        group: The title of the section of `--help` that this field begins.
        alone: The value of the flag given without one.
    """
    return dataclasses.field(default=default, metadata={"help": text, "group": group, "alone": alone})


def flags_of(cls: Any) -> Any:
    """Return the type of the flags that were given: a `TypedDict` of a dataclass's fields, none of them required."""
    hints = typing.get_type_hints(cls, include_extras=True)
    flags, group = {}, Group("Options")
    for number, field in enumerate(dataclasses.fields(cls)):
        if field.metadata["group"]:
            group = Group(field.metadata["group"], sort_key=number)
        flags[field.name] = Annotated[hints[field.name], _parameter(field, hints[field.name], group)]
    return typing_extensions.TypedDict("Flags", flags, total=False)  # type: ignore[operator]


def with_lone_values(cls: Any, words: Sequence[str]) -> list[str]:
    """Return a command line in which flags that may stand alone have their values.

    Args:
        cls: The dataclass whose fields are flags.
        words: The command line.
    """
    lone = {flag(field.name): field.metadata["alone"] for field in dataclasses.fields(cls)}
    return [
        f"{word}={lone[word]}" if lone.get(word) is not None and after.startswith("-") else word
        for word, after in zip(words, [*words, "-"][1:], strict=True)
    ]


def _parameter(field: dataclasses.Field[Any], hint: Any, group: Group) -> Parameter:
    word = metavar(hint) if field.metadata["alone"] is None else f"[{metavar(hint)}]"
    converter = whole if plain(hint) is int else None
    return Parameter(help=_help(field), group=group, metavar=word, converter=converter)


def whole(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return what a flag for whole numbers was given: cyclopts itself would round 3.5.

    A flag that takes words too returns what is no number as it is.

    Raises:
        ValueError: A value is no whole number.
    """
    if words(kind):
        return int(tokens[0].value) if re.fullmatch(r"[+-]?\d+", tokens[0].value) else tokens[0].value
    numbers = tuple(int(token.value) for token in tokens)
    return numbers if "tuple" in str(kind) else numbers[0]


class NoPathError(ValueError):
    """A word that is no path; the message is what it must be."""


def to_path(kind: Any, tokens: Sequence[Token]) -> Any:
    """Return the paths of files or folders that a flag was given, with `~` as the home folder.

    Raises:
        NoPathError: A word is empty or no path.
    """
    try:
        paths = tuple(Path(place(token.value)) for token in tokens)
    except ValueError as error:
        raise NoPathError(str(error)) from None
    return paths if "tuple" in str(kind) else paths[0]


def metavar(hint: Any) -> str:
    """Return the word that stands for a value of a type in `--help`."""
    return _METAVARS.get(plain(hint), "CHOICE") + ("..." if "tuple" in str(hint) else "")


def plain(hint: Any) -> Any:
    """Return the type of one value: without None, without annotations, and of a tuple's members."""
    while (arguments := typing.get_args(hint)) and typing.get_origin(hint) is not typing.Literal:
        hint = next(argument for argument in arguments if argument is not type(None))
    return hint


def words(hint: Any) -> tuple[str, ...]:
    """Return the words that a type takes, alone or beside another type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return arguments
    return tuple(word for argument in arguments for word in words(argument))


def _help(field: dataclasses.Field[Any]) -> str:
    text, default = field.metadata["help"], field.default
    if default is None or default is False:
        return text
    return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
