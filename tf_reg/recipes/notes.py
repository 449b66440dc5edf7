"""Warnings as lines of the program's output."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def warnings_as_notes(in_words: Callable[[str], str] = str) -> Iterator[None]:
    """Show what the library warns of as a line of its own, without the place in its code.

    Args:
        in_words: Returns the line, of a warning's text.
    """
    with warnings.catch_warnings():
        as_before = warnings.showwarning
        warnings.simplefilter("always", UserWarning)

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if category is UserWarning:
                print(f"Note: {in_words(str(message))}", file=sys.stderr)
            else:
                as_before(message, category, *where, **more)

        warnings.showwarning = show
        yield
