"""What callbacks remember, as plain values: numbers, words, arrays, and lists, tuples and dictionaries of these.

Operations of Keras and NumPy, such as the comparison that an `EarlyStopping` chooses, are plain too.
"""

from __future__ import annotations

import collections
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

_OPERATIONS = {"keras.ops": keras.ops, "numpy": np}
_PLAIN = (type(None), bool, int, float, str)
_NOT_ITS_OWN = ("_model", "params", "validation_data")  # what Keras puts into each callback


class NotPlainError(TypeError):
    """A value that is none of the above."""


def encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value in a form that JSON can hold.

    Args:
        value: The value.
        arrays: Where its arrays go, by names that the form has in their place.

    Raises:
        NotPlainError: It holds something else.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind != "O":
        name = f"array-{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"scalar" if isinstance(value, np.generic) else "array": name}
    if type(value) in (list, tuple):
        return {type(value).__name__: [encode(one, arrays) for one in value]}
    if isinstance(value, dict) and type(value).__module__ in ("builtins", "collections"):
        return {"dict": [[encode(key, arrays), encode(one, arrays)] for key, one in value.items()]}
    for package, operations in _OPERATIONS.items():
        name = getattr(value, "__name__", "")
        if getattr(operations, name, None) is value and (package != "numpy" or isinstance(value, np.ufunc)):
            return {package: name}
    raise NotPlainError(type(value).__name__)


def decode(form: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value of a form that `encode` made."""
    if not isinstance(form, dict):
        return form
    ((kind, held),) = form.items()
    if kind in _OPERATIONS:
        return getattr(_OPERATIONS[kind], held)
    if kind in ("array", "scalar"):
        return arrays[held][()] if kind == "scalar" else arrays[held].copy()
    if kind == "dict":
        return {decode(key, arrays): decode(one, arrays) for key, one in held}
    parts = [decode(one, arrays) for one in held]
    return parts if kind == "list" else tuple(parts)


def digest(value: Any) -> str:
    """Return what tells a value from others.

    Raises:
        NotPlainError: As `encode`.
    """
    arrays: dict[str, np.ndarray] = {}
    made = hashlib.blake2b(json.dumps(encode(value, arrays)).encode())
    for array in arrays.values():
        made.update(f"{array.dtype}{array.shape}".encode())
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


class SavedState:
    """What a callback remembers of a training: what is no longer as it was when the training began.

    A callback can say itself what that is: by `get_state()`, which returns plain values, and `set_state(state)`. Those
    of Keras don't. Of them the attributes are taken. What a `CSVLogger` has written to its file belongs to it too.

    Args:
        callback: The callback, right after its `on_train_begin`.
    """

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        self.callback = callback
        self._speaks = hasattr(callback, "get_state") and hasattr(callback, "set_state")
        self._before = {} if self._speaks else {name: _mark(value) for name, value in self._attributes()}

    def get(self) -> dict[str, Any]:
        """Return what is to be saved.

        Warns:
            UserWarning: For an attribute that the training has replaced by something that isn't plain.
        """
        if self._speaks:
            return self.callback.get_state()
        found = {name: value for name, value in self._attributes() if self._is_new(name, value)}
        if isinstance(self.callback, keras.callbacks.CSVLogger):
            found["written"] = _written(self.callback)
        return found

    def set(self, state: Mapping[str, Any]) -> None:
        """Bring back what `get` returned."""
        if self._speaks:
            self.callback.set_state(state)
            return
        for name, value in state.items():
            if name != "written":
                setattr(self.callback, name, value)
        if state.get("written"):
            _write_again(self.callback, state["written"])

    def _attributes(self) -> Iterator[tuple[str, Any]]:
        yield from ((name, value) for name, value in vars(self.callback).items() if name not in _NOT_ITS_OWN)

    def _is_new(self, name: str, value: Any) -> bool:
        mark = _mark(value)
        if name in self._before and self._before[name] == mark:
            return False
        if isinstance(mark, str):
            return True
        if not type(self.callback).__module__.startswith(("keras.", "tf_reg.")):
            warnings.warn(
                f"A checkpoint doesn't hold the attribute {name!r} of {type(self.callback).__name__}, which is a "
                f"{type(value).__name__}. Give the callback get_state(), which returns numbers, words, arrays, lists "
                "and dictionaries, and set_state(state).",
                stacklevel=2,
            )
        return False


def _mark(value: Any) -> str | int:
    """What tells a value from the one that was there before: its contents, or the object itself."""
    try:
        return digest(value)
    except NotPlainError:
        return id(value)


def _written(logger: Any) -> str:
    if logger.csv_file is None:
        return ""
    logger.csv_file.flush()
    with open(logger.filename, newline="") as stream:  # whose lines end as they were written
        return stream.read()


def _write_again(logger: Any, text: str) -> None:
    """Bring a file back, which `on_train_begin` may have emptied. Its line of names is there already."""
    logger.csv_file.seek(0)
    logger.csv_file.truncate()
    logger.csv_file.write(text)
    logger.csv_file.flush()
    logger.append_header = False


def named(listed: list[keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    """Return callbacks by the names of their classes, with a number from the second of a class on."""
    seen: collections.Counter[str] = collections.Counter()
    found = {}
    for one in listed:
        kind = type(one).__name__
        seen[kind] += 1
        found[kind if seen[kind] == 1 else f"{kind} {seen[kind]}"] = one
    return found


def plain_state(name: str, state: SavedState, arrays: dict[str, np.ndarray]) -> Any:
    """Return what a callback remembers in a form that JSON can hold."""
    try:
        return encode(state.get(), arrays)
    except NotPlainError as error:
        raise ValueError(
            f"get_state() of a callback returns a dictionary of numbers, words, arrays, lists and dictionaries. "
            f"Received: a {error} from {name}."
        ) from error
