"""The objects whose methods are running, and what those methods hold."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Set
from typing import Any


def callers(methods: Set[str] | None = None) -> Iterator[Any]:
    """Yield the objects whose methods are running, the innermost first.

    Keras gives an optimizer no model, and a callback no neighbours. They can be found among the callers only.

    Args:
        methods: The names of the methods that count. All methods count if it is not given.
    """
    for frame in _frames():
        code = frame.f_code
        name = code.co_name.removeprefix("tf__")  # AutoGraph adds this prefix
        if (methods is None or name in methods) and code.co_varnames[:1] == ("self",):
            yield frame.f_locals.get("self")


def local_of(method: str, name: str) -> Any:
    """Return a local variable of the innermost method of a name that is running and has it; None where none has.

    Keras gives a callback no data. Its `fit` has them in a variable.

    Args:
        method: The name of the method.
        name: The name of the variable.
    """
    for frame in _frames():
        code = frame.f_code
        if code.co_name == method and name in code.co_varnames + code.co_cellvars:
            return frame.f_locals.get(name)
    return None


def _frames() -> Iterator[types.FrameType]:
    """Yield what is running, the innermost first, without the functions of this file."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            yield frame
        frame = frame.f_back
