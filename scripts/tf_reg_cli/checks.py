"""What the value of a flag must be, and the sentence for a value that isn't."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
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
        words: Values that meet it, for the question whether one of them was meant.
    """

    holds: Callable[[Any], bool]
    expected: str
    words: tuple[str, ...] = ()

    def __call__(self, kind: Any, value: Any) -> None:
        """Check the value of a flag, or each of its values.

        Raises:
            ValueError: The condition in words.
        """
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None and not self.holds(one):
                raise UnmetError(self)

    @property
    def in_config(self) -> pydantic.AfterValidator:
        """The same condition for a field of `Config`."""
        return pydantic.AfterValidator(self._met)

    @property
    def before(self) -> pydantic.BeforeValidator:
        """The same condition for a field of `Config` of several types, on a value of any type."""
        return pydantic.BeforeValidator(self._met)

    def _met(self, value: Any) -> Any:
        if not self.holds(value):
            raise UnmetError(self)
        return value


class UnmetError(ValueError):
    """A condition doesn't hold; the message is what it expects."""

    def __init__(self, condition: Must) -> None:
        super().__init__(condition.expected)
        self.words = condition.words


def place(path: str) -> str:
    """Return the path of a file or folder, with `~` as the home folder.

    Raises:
        ValueError: What it must be, if it is none.
    """
    if not path.strip() or "\0" in path:
        raise ValueError("the path of a file or folder; . is the current folder")
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        raise ValueError("a path, in which ~ is your home folder and ~NAME that of a user who exists") from None


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
        hint = did_you_mean(values[name], near(error))
        raise UserError(
            f"{flag(name)} must be {expected(error)}. Received: {received(values[name])}. {hint}".rstrip()
        ) from None


def received(value: Any) -> str:
    """Return a value as it stands on a command line."""
    if isinstance(value, (list, tuple)) and value:
        return " ".join(map(str, value))
    return repr(value)


def near(error: pydantic.ValidationError) -> list[str]:
    """Return the words of which one may have been meant by the first wrong value."""
    problem: Any = error.errors(include_url=False)[0]
    if problem["type"] == "literal_error":
        return re.findall(r"'([^']*)'", problem["ctx"]["expected"])
    return list(getattr(problem.get("ctx", {}).get("error"), "words", ()))


def expected(error: pydantic.ValidationError) -> str:
    """Return what the first wrong value should have been, in words."""
    problem: Any = error.errors(include_url=False)[0]
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "literal_error":
        return "one of " + problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    return _KINDS[problem["type"]]


def did_you_mean(word: Any, words: Iterable[str], otherwise: str = "") -> str:
    """Return the sentence "Did you mean ...?" with the words that are near, or `otherwise` where none is.

    Near are the words that differ in case and in dashes alone, those whose parts begin with the letters given
    (`lr`: `learning-rate`), and those that are spelt alike.
    """
    if not isinstance(word, str):
        return otherwise
    by_letters: dict[str, list[str]] = {}
    for one in words:
        by_letters.setdefault(_letters(one), []).append(one)
    same = by_letters.get(_letters(word), [])
    initials = [one for ones in by_letters.values() for one in ones if _initials(one) == _letters(word)]
    alike = [by_letters[one][0] for one in difflib.get_close_matches(_letters(word), by_letters, n=3)]
    found = same or initials or alike
    return f"Did you mean {' or '.join(found)}?" if found else otherwise


def _letters(word: str) -> str:
    return re.sub(r"[-_ ]", "", word).casefold()


def _initials(word: str) -> str:
    parts = [part for part in re.split(r"[-_]", word) if part]
    return "".join(part[0] for part in parts).casefold() if len(parts) > 1 else ""
