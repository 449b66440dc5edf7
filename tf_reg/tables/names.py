"""Names of columns as names of a model's inputs: TensorFlow's signatures take plain identifiers alone."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Sequence

_SPELT_OUT = str.maketrans({"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})
_RESERVED = {"self", "inputs", "training", "mask"}


def input_names(columns: Sequence[str]) -> list[str]:
    """Return a name for each column that a signature can have, each another one, whatever its letters' case.

    Letters lose their accents, and every run of other characters is one underscore. What is left empty is `column`. A
    name that is taken gets a number, in the order of the columns.

    Args:
        columns: The names of the columns, in any alphabet.

    Example:

    >>> input_names(["Größe (m²)", "größe_m2", "2nd", "class", "年齢"])
    ['Grosse_m2', 'grosse_m2_2', 'column_2nd', 'class_', 'column']
    """
    taken: set[str] = set()
    names = []
    for column in columns:
        stem = name = _plain(column)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _plain(column: str) -> str:
    letters = unicodedata.normalize("NFKD", column.translate(_SPELT_OUT)).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", letters).strip("_") or "column"
    if name[0].isdigit():
        name = f"column_{name}"
    return f"{name}_" if keyword.iskeyword(name) or name in _RESERVED else name
