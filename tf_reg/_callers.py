"""Which objects have a method running at this moment."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Set
from typing import Any


def callers(methods: Set[str] | None = None) -> Iterator[Any]:
    """Yield the objects whose methods are running, innermost first.

    Keras hands an optimizer its variables and a callback its model, but neither the model that trains nor the list of
    callbacks. They are found on Python's call stack. This function is the only one that looks at it.

    Args:
        methods: The names of the methods to look for; all methods if not given.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        is_method = frame.f_code.co_varnames[:1] == ("self",)
        name = frame.f_code.co_name.removeprefix("tf__")  # AutoGraph adds this prefix
        if is_method and (methods is None or name in methods):
            yield frame.f_locals.get("self")  # reading f_locals takes time, and keeps a frame's locals alive
        frame = frame.f_back
