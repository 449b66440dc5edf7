"""Strengths that a user gives: checked, and taken under their old name too."""

from __future__ import annotations

import math
from typing import Any

from tf_reg._checks import number, shown


class Default(float):
    """A default value that can be told from an equal number that a user gave."""


def checked(value: Any, name: str) -> float:
    """Return a strength as a float.

    Args:
        value: What was given.
        name: The name of the argument.

    Raises:
        ValueError: It isn't a finite number, zero or above.
    """
    strength = number(value)
    if not 0 <= strength < math.inf:
        raise ValueError(f"A strength is a finite number, zero or above. Received: {name}={shown(value)}")
    return strength


def renamed(strength: Any, old: Any) -> float:
    """Return the strength that was given as `strength`, or under its old name `l` as files of tf_reg 0.1 have it.

    Args:
        strength: The argument `strength`, a `Default` if it wasn't given.
        old: The argument `l`, None if it wasn't given.

    Raises:
        ValueError: Both were given, or one that isn't a strength.
    """
    if old is None:
        return checked(strength, "strength")
    if not isinstance(strength, Default):
        raise ValueError(
            f"strength and l are two names of one argument. Received both: strength={strength!r}, l={old!r}. "
            "Give strength alone."
        )
    return checked(old, "l")
