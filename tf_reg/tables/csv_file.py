"""Files of values between commas, semicolons or tabs, read as text, with the row of everything that is wrong."""

from __future__ import annotations

import collections
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_reg.tables.errors import TableError

DELIMITERS = ",;\t|"
# What stands for a missing value: what pandas takes for one too.
MISSING = frozenset(
    ["", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "-nan", "-NaN", "NaT"]
)
LONGEST = 2**31 - 1  # characters in a cell


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a file as text, "" where a value is missing.

    The first line has the names. What parts the values is the one of comma, semicolon, tab and bar that the first line
    has most of.

    Args:
        path: A file in UTF-8, with or without a byte order mark.

    Raises:
        TableError: It isn't UTF-8, has names that are missing or that are there twice, or a row of another length.
    """
    csv.field_size_limit(LONGEST)
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            lines.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(rows, [])]
            if not names:
                raise TableError(f"{path} is empty: its first line must have the names of the columns.")
            check_names(names, str(path))
            columns = _columns(path, names, rows)
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path} isn't UTF-8 ({error.reason} in line {_first_line_not_utf8(path):,}). Save it as UTF-8, which "
            "spreadsheets offer as CSV UTF-8."
        ) from error
    except csv.Error as error:
        raise TableError(f"{path} can't be read as CSV, behind line {rows.line_num:,}: {error}.") from error
    return dict(zip(names, columns, strict=True))


def check_names(names: Sequence[str], what: str) -> None:
    """Check that each column has a name, and another one.

    Args:
        names: The names.
        what: What has them, for the error.

    Raises:
        TableError: One is missing, or is there twice.
    """
    if "" in names:
        raise TableError(f"{what} has no name for its column {list(names).index('') + 1}. Give it one.")
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
        raise TableError(f"{what} has {count} columns of the name {name!r}. Give each another name.")


def _first_line_not_utf8(path: Path) -> int:
    """The line, from 1. The error of a text file counts from the start of the part that was decoded."""
    with path.open("rb") as lines:
        return next(number for number, line in enumerate(lines, 1) if "\ufffd" in line.decode(errors="replace"))


def _columns(path: Path, names: list[str], rows: Any) -> list[np.ndarray]:
    cells: list[list[str]] = []
    known: dict[str, str] = dict.fromkeys(MISSING, "")
    for cell in rows:
        if len(cell) != len(names):
            if not cell or (len(names) > 1 and cell == [""]):
                continue  # an empty line
            raise TableError(
                f"{path} has {len(cell)} values in row {len(cells) + 1:,} (line {rows.line_num:,}) and {len(names)} "
                "names of columns. Write each missing value as an empty one, and put a value with the character that "
                "parts them in quotes."
            )
        cells.append([known.get(one, one) for one in cell])
    array = np.empty((len(cells), len(names)), object)
    if cells:
        array[:] = cells
    return list(array.T)
