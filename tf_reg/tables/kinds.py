"""What a column holds, numbers, dates or categories, and its values in that form."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from tf_reg.tables.errors import TableError

Kind = Literal["number", "date", "category"]
MOST_OF = 0.9  # a column is numbers, or dates, where more than that share of its values are
LARGEST = float(np.finfo("float32").max)
_WRONG = (  # forms that are no numbers and no dates here, what they are, and how they are written
    (
        re.compile(r"[+-]?\d+(?:[.' ]\d{3})*,\d+|[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?"),
        "numbers with commas",
        "with a point and nothing else, as 1234.5",
    ),
    (
        re.compile(r"\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})\b.*|\d{4}[./]\d{1,2}[./]\d{1,2}\b.*"),
        "dates",
        "as 2026-12-31",
    ),
)
_NOTHING = float("nan")


def kind_of(name: str, raw: np.ndarray) -> Kind:
    """Return what a column holds.

    Numbers and dates have types of their own in a frame. Text is numbers, or dates in the form of ISO 8601, where more
    than `MOST_OF` of the values that aren't missing are. Everything else is categories.

    Args:
        name: The column's name.
        raw: Its values, as in `reading.Raw`.

    Raises:
        TableError: It holds dates that aren't in the form of ISO 8601, or numbers with commas.
    """
    if raw.dtype.kind != "O":
        return "number" if raw.dtype.kind == "f" else "date"
    present = raw[raw != ""]
    if not len(present):
        return "number"
    tests: tuple[tuple[Kind, Callable[[str], float]], ...] = (("number", _number), ("date", _days))
    for kind, read in tests:
        if _share(present, read) > MOST_OF:
            return kind
    for form, what, how in _WRONG:
        matches = [bool(form.fullmatch(value)) for value in present]
        if np.mean(matches) > MOST_OF:
            row = int(np.flatnonzero(raw == present[int(np.argmax(matches))])[0])
            raise TableError(
                f"The column {name!r} holds {what}, such as {raw[row]!r} in row {row + 1:,}. Write them {how}, leave "
                f"the column out: drop=[{name!r}], or take each as a category: categorical=[{name!r}]."
            )
    return "category"


def values_of(name: str, raw: np.ndarray, kind: Kind) -> np.ndarray:
    """Return the values of a column in the form that a model takes.

    Args:
        name: The column's name.
        raw: Its values, as in `reading.Raw`.
        kind: What it holds.

    Returns:
        Numbers, and dates as days since 1970-01-01 in UTC: float64, NaN where one is missing. Categories: objects that
        are str, "" where one is missing. `(rows,)`.

    Raises:
        TableError: A value of another type, or one that a float32 can't hold.
    """
    if kind == "category":
        return raw if raw.dtype.kind == "O" else _as_texts(raw)
    if raw.dtype.kind == "O":
        values = _parsed(name, raw, kind)
    elif raw.dtype.kind == "M":
        if kind == "number":
            raise TableError(f"The column {name!r} holds numbers. Received: dates, such as {raw[0]} in row 1.")
        since = raw.astype("datetime64[us]").astype("int64") / 86_400e6
        values = np.where(np.isnat(raw), np.nan, since)
    else:
        values = raw
    large = np.flatnonzero(np.abs(np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)) > LARGEST)
    if len(large):
        raise TableError(
            f"The column {name!r} must hold numbers up to 3.4e38. Received: {values[large[0]]:g} in row "
            f"{large[0] + 1:,}. Correct it, or leave it empty where the value is missing."
        )
    return values


def _as_texts(raw: np.ndarray) -> np.ndarray:
    """Numbers as categories: 3.0 is "3"."""
    missing = np.isnat(raw) if raw.dtype.kind == "M" else np.isnan(raw)
    texts = np.empty(len(raw), object)
    for row, value in enumerate(raw.tolist()):
        texts[row] = "" if missing[row] else f"{value:.15g}" if isinstance(value, float) else str(value)
    return texts


def _parsed(name: str, raw: np.ndarray, kind: Kind) -> np.ndarray:
    read = _number if kind == "number" else _days
    values = np.empty(len(raw))
    for row, text in enumerate(raw):
        try:
            values[row] = read(text) if text else _NOTHING
        except ValueError:
            words = "numbers" if kind == "number" else "dates, such as 2026-12-31"
            comma = " with a point in place of the comma" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
            raise TableError(
                f"The column {name!r} holds {words}. Received: {text!r} in row {row + 1:,}. Correct it{comma}, leave "
                f"it empty where the value is missing, or take the column as categories: categorical=[{name!r}]."
            ) from None
    return values


def _share(texts: np.ndarray, read: Callable[[str], float]) -> float:
    return sum(_reads(text, read) for text in texts) / len(texts)


def _reads(text: str, read: Callable[[str], float]) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    if "_" in text:  # Python's own way to write numbers
        raise ValueError(text)
    return float(text)


def _days(text: str) -> float:
    """Days since 1970-01-01 of a date or a time in the form of ISO 8601; without a zone it is in UTC."""
    if len(text) < 8 or not text[:4].isdigit():
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400


def as_classes(raw: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each value's class, int64 `(rows,)`, -1 where it is missing, and the names of the classes.

    Args:
        raw: Text, or numbers; the classes are in the order of the numbers, or of the alphabet.
    """
    text = raw.dtype.kind == "O"
    missing = raw == "" if text else np.isnan(raw)
    names = sorted(set(raw[~missing].tolist()))
    places = {name: place for place, name in enumerate(names)}
    labels = np.array([-1 if gone else places[one] for one, gone in zip(raw.tolist(), missing, strict=True)])
    return labels, tuple(names if text else [f"{one:.15g}" for one in names])
