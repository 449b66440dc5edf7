"""What the value of a flag must be, and the sentence for a value that isn't."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pydantic

from tf_reg_cli.errors import UserError

MOST = 2**31 - 1
_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "several values",
    "missing": "several values",
}


@dataclasses.dataclass(frozen=True)
class Must:
    """A condition on a value.

    As a validator of cyclopts it checks a flag; `in_config` makes it a validator of pydantic for a field of `Config`.

    Args:
        holds: Whether a value meets the condition.
        expected: The condition in words, as in "must be ...".
    """

    holds: Callable[[Any], bool]
    expected: str

    def __call__(self, kind: Any, value: Any) -> None:
        """Check the value of a flag, or each of its values.

        Raises:
            ValueError: The condition in words.
        """
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None and not self.holds(one):
                raise ValueError(self.expected)

    @property
    def in_config(self) -> pydantic.AfterValidator:
        """The same condition for a field of `Config`."""

        def check(value: Any) -> Any:
            if not self.holds(value):
                raise ValueError(self.expected)
            return value

        return pydantic.AfterValidator(check)


def flag(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")


def validated(adapter: pydantic.TypeAdapter[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration's fields, lists as tuples and whole numbers as floats where they must be.

    Args:
        adapter: The types of the fields.
        values: The values, by field.

    Raises:
        UserError: A value has the wrong type or doesn't meet its condition.
    """
    try:
        return adapter.validate_python(values, strict=True)
    except pydantic.ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise UserError(f"{flag(name)} must be {expected(error)}. Received: {values[name]!r}.") from None


def expected(error: pydantic.ValidationError) -> str:
    """Return what the first wrong value should have been, in words."""
    problem: Any = error.errors(include_url=False)[0]
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "literal_error":
        return "one of " + problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    return _KINDS[problem["type"]]


def did_you_mean(word: str, words: Iterable[str], otherwise: str = "") -> str:
    """Return the sentence "Did you mean ...?" with the words that are near, or `otherwise` where none is."""
    near = difflib.get_close_matches(word, list(words), n=3)
    return f"Did you mean {' or '.join(near)}?" if near else otherwise
