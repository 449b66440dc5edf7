"""The fields of a dataclass as the flags of a command line, with their types, choices and ranges checked."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from typing import Any

from tf_reg._checks import UserError

MOST = 2**31 - 1


def option(default: Any, text: str, **metadata: Any) -> Any:
    """Declare a field of a configuration together with its line of `--help`.

    Args:
        default: The default value; a tuple where the flag takes several.
        text: What `--help` says.
        **metadata: `choices`: the allowed values. `check` and `expected`: a predicate that a value which isn't None
            must meet, and what it demands in words. `const`: the value of the flag given alone. `group`: the title
            of the section of `--help` that this field begins.
    """
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def parser(cls: type, description: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with a flag for every field of a dataclass, which raises `UserError` for a mistake."""
    made = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field, annotation in typed_fields(cls):
        if "group" in field.metadata:
            group = made.add_argument_group(field.metadata["group"])
        group.add_argument(flag(field.name), **_argument(field, annotation))
    return made


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one sentence, with the flags that were perhaps meant."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        namespace, unknown = self.parse_known_args(*args, **kwargs)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "--help lists the flags."
            raise UserError(f"There is no flag {unknown[0]}. {hint}")
        return namespace

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}.")


def typed_fields(cls: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    """Return the fields of a dataclass, each with its type."""
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls)]


def flag(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")


def _base(annotation: Any) -> tuple[type, bool]:
    """Return the plain type of one value of a field, and whether it takes several."""
    if isinstance(annotation, types.UnionType):
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def _argument(field: dataclasses.Field[Any], annotation: Any) -> dict[str, Any]:
    kind, several = _base(annotation)
    argument: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field)}
    if kind is bool:
        return argument | {"action": argparse.BooleanOptionalAction}
    if "choices" not in field.metadata:
        argument["metavar"] = {int: "N", float: "X", str: "TEXT"}[kind]
    argument |= {"type": kind, "choices": field.metadata.get("choices")}
    if several:
        argument["nargs"] = "+"
    if "const" in field.metadata:
        argument |= {"nargs": "?", "const": field.metadata["const"]}
    return argument


def _help(field: dataclasses.Field[Any]) -> str:
    text, default = field.metadata["help"], field.default
    if default is None or default is False:
        return text
    return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def checked(field: dataclasses.Field[Any], annotation: Any, value: Any) -> Any:
    """Return a field's value, lists as tuples and whole numbers as floats where it has these.

    Raises:
        UserError: If it has the wrong type, or isn't what the field's metadata allow.
    """
    shown = flag(field.name)
    kind, several = _base(annotation)
    if value is None and types.NoneType in typing.get_args(annotation):
        return None
    if several and isinstance(value, list):
        value = tuple(value)
    if kind is float and type(value) is int and abs(value) <= MOST:
        value = float(value)
    parts = value if several and isinstance(value, tuple) and value else [value]
    if several is not isinstance(value, tuple) or any(type(part) is not kind for part in parts):
        raise UserError(f"{shown} must be {kind.__name__}{' values' if several else ''}. Received: {value!r}.")
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise UserError(f"{shown} must be one of {', '.join(choices)}. Received: {value!r}.")
    check = field.metadata.get("check")
    if check and not check(value):
        raise UserError(f"{shown} must be {field.metadata['expected']}. Received: {value!r}.")
    return value
