"""Rows of words as a table of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def aligned(rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Lines of text whose columns line up.

    Args:
        rows: The cells of every line, the head first.
        words: How many columns, from the left, hold words; the others hold numbers, which are set flush right.

    Example:

    >>> aligned([["layer", "zeros"], ["d", "7"]])
    ['layer  zeros', 'd          7']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:words], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[words:], widths[words:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def number(value: Any) -> str:
    """Return a number in few digits, and anything else as text.

    Args:
        value: What to show.

    Example:

    >>> number(0.123456), number(7)
    ('0.1235', '7')
    """
    return format(value, ".4g") if isinstance(value, float) else str(value)
