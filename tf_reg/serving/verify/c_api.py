"""A session on a SavedModel through TensorFlow's C API, the loader that TensorFlow Serving is built on.

Nothing here imports TensorFlow's Python package, nor, but in a function, anything of tf_reg: `run_apart` has a process
of its own import this file, in which a SavedModel has to work.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
_CODES = {np.dtype(name): code for code, name in DTYPES.items()}
_STRING, _STRING_SIZE = 7, 24  # the code of TF_STRING, and the bytes of a TF_TString


class LoaderError(RuntimeError):
    """TensorFlow's C++ loader or session refused; the message is its own."""


class Run(NamedTuple):
    """One call of a session: tensors by name (such as `"serving_default_inputs:0"`), and the names to return."""

    feeds: Mapping[str, np.ndarray]
    fetches: Sequence[str]


class Session:
    """A SavedModel, loaded; use it as a context or call `close`.

    Args:
        saved_model: The folder of one version.

    Raises:
        LoaderError: If TensorFlow can't load it.
    """

    def __init__(self, saved_model: str | os.PathLike[str]) -> None:
        self._library = _library()
        self._graph = self._library.TF_NewGraph()
        options = self._library.TF_NewSessionOptions()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            with self._status() as status:
                self._session = self._library.TF_LoadSessionFromSavedModel(
                    options, None, os.fsencode(saved_model), tags, 1, self._graph, None, status
                )
        except LoaderError:
            self._library.TF_DeleteGraph(self._graph)
            raise
        finally:
            self._library.TF_DeleteSessionOptions(options)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        with self._status() as status:
            self._library.TF_CloseSession(self._session, status)
            self._library.TF_DeleteSession(self._session, status)
        self._library.TF_DeleteGraph(self._graph)

    def run(self, run: Run) -> list[np.ndarray]:
        """Return the values of the tensors that `run` names; strings as arrays of bytes objects.

        Raises:
            LoaderError: If a tensor doesn't exist or the session fails.
        """
        inputs, outputs = self._places(list(run.feeds)), self._places(run.fetches)
        made = (ctypes.c_void_p * len(run.fetches))()
        fed = [self._tensor(value) for value in run.feeds.values()]
        try:
            with self._status() as status:
                self._library.TF_SessionRun(
                    self._session, None, inputs, (ctypes.c_void_p * len(fed))(*fed), len(fed),
                    outputs, made, len(made), None, 0, None, status,
                )  # fmt: skip
            return [self._array(tensor) for tensor in made]
        finally:
            for tensor in [*fed, *filter(None, made)]:
                self._library.TF_DeleteTensor(tensor)

    @contextlib.contextmanager
    def _status(self) -> Iterator[Any]:
        """Hand out a status, and raise what was put into it."""
        status = self._library.TF_NewStatus()
        try:
            yield status
            if self._library.TF_GetCode(status):
                raise LoaderError(self._library.TF_Message(status).decode(errors="replace"))
        finally:
            self._library.TF_DeleteStatus(status)

    def _places(self, names: Sequence[str]) -> Any:
        places = (_Place * len(names))()
        for place, name in zip(places, names, strict=True):
            operation, _, index = name.partition(":")
            place.operation = self._library.TF_GraphOperationByName(self._graph, operation.encode())
            place.index = int(index or 0)
            if not place.operation:
                raise LoaderError(f"The graph has no operation {operation!r}.")
        return places

    def _tensor(self, value: np.ndarray) -> Any:
        value = np.asarray(value)
        shape = (ctypes.c_int64 * value.ndim)(*value.shape)
        if value.dtype == object:
            return self._string_tensor(value, shape)
        value = np.ascontiguousarray(value).reshape(value.shape)
        tensor = self._library.TF_AllocateTensor(_CODES[value.dtype], shape, value.ndim, value.nbytes)
        ctypes.memmove(self._library.TF_TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def _string_tensor(self, value: np.ndarray, shape: Any) -> Any:
        tensor = self._library.TF_AllocateTensor(_STRING, shape, value.ndim, value.size * _STRING_SIZE)
        start = self._library.TF_TensorData(tensor)
        for number, content in enumerate(value.ravel()):
            place = start + number * _STRING_SIZE
            self._library.TF_StringInit(place)
            self._library.TF_StringCopy(place, content, len(content))
        return tensor

    def _array(self, tensor: Any) -> np.ndarray:
        shape = [self._library.TF_Dim(tensor, axis) for axis in range(self._library.TF_NumDims(tensor))]
        code, start = self._library.TF_TensorType(tensor), self._library.TF_TensorData(tensor)
        size = self._library.TF_TensorByteSize(tensor)
        if code == _STRING:
            return self._strings(start, shape)
        if code not in DTYPES:
            raise LoaderError(f"A tensor of TensorFlow's type {code} has no NumPy type.")
        return np.frombuffer(ctypes.string_at(start, size), DTYPES[code]).reshape(shape)

    def _strings(self, start: int, shape: Sequence[int]) -> np.ndarray:
        array = np.empty(shape, object)
        for number in range(array.size):
            place = start + number * _STRING_SIZE
            length = self._library.TF_StringGetSize(place)
            array.flat[number] = ctypes.string_at(self._library.TF_StringGetDataPointer(place), length)
        return array


def run_apart(saved_model: str | os.PathLike[str], runs: Sequence[Run]) -> list[list[np.ndarray]]:
    """Load a SavedModel in a process of its own, without Python's TensorFlow and on the CPU, and call it.

    A file that is damaged can crash the loader: that ends the process, not the caller.

    Args:
        saved_model: The folder of one version.
        runs: The calls, in order, all on one session.

    Returns:
        The tensors of each call.

    Raises:
        LoaderError: If it can't be loaded or run, crashes the loader, or takes longer than `apart.TIMEOUT` seconds.
    """
    from tf_reg.serving.verify import apart

    plain = [(dict(run.feeds), list(run.fetches)) for run in runs]
    try:
        outputs, message = apart.answered(__file__, (os.fspath(saved_model), plain))
    except apart.ProcessError as error:
        raise LoaderError(str(error)) from error
    if message is not None:
        raise LoaderError(message)
    return outputs


class _Place(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


@functools.cache
def _library() -> ctypes.CDLL:
    """The C API in the installed TensorFlow, found without importing it."""
    found = importlib.util.find_spec("tensorflow")
    if found is None or found.origin is None:
        raise LoaderError("TensorFlow is not installed: pip install tensorflow.")
    folder = Path(found.origin).parent
    try:
        ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    except OSError as error:
        raise LoaderError(f"The C API of the TensorFlow in {folder} can't be loaded: {error}") from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_P, _I, _S, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
_DIMS = ctypes.POINTER(ctypes.c_int64)
_PLACES = ctypes.POINTER(_Place)
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "TF_NewGraph": (_P, []), "TF_DeleteGraph": (None, [_P]),
    "TF_NewSessionOptions": (_P, []), "TF_DeleteSessionOptions": (None, [_P]),
    "TF_NewStatus": (_P, []), "TF_DeleteStatus": (None, [_P]), "TF_GetCode": (_I, [_P]), "TF_Message": (_S, [_P]),
    "TF_LoadSessionFromSavedModel": (_P, [_P, _P, _S, ctypes.POINTER(_S), _I, _P, _P, _P]),
    "TF_CloseSession": (None, [_P, _P]),
    "TF_DeleteSession": (None, [_P, _P]),
    "TF_GraphOperationByName": (_P, [_P, _S]),
    "TF_SessionRun": (None, [_P, _P, _PLACES, ctypes.POINTER(_P), _I, _PLACES, *[ctypes.POINTER(_P), _I] * 2, _P, _P]),
    "TF_AllocateTensor": (_P, [_I, _DIMS, _I, _L]),
    "TF_DeleteTensor": (None, [_P]),
    "TF_TensorType": (_I, [_P]),
    "TF_TensorData": (_P, [_P]),
    "TF_TensorByteSize": (_L, [_P]),
    "TF_NumDims": (_I, [_P]),
    "TF_Dim": (ctypes.c_int64, [_P, _I]),
    "TF_StringInit": (None, [_P]),
    "TF_StringCopy": (None, [_P, _S, _L]),
    "TF_StringGetSize": (_L, [_P]),
    "TF_StringGetDataPointer": (_P, [_P]),
}  # fmt: skip


def answer(job: Sequence[Any]) -> tuple[list[Any], str | None]:
    """Answer a job of `run_apart`: `([tensors of each run], None)`, or `([], message)`."""
    saved_model, runs = job
    try:
        with Session(saved_model) as session:
            return [session.run(Run(*run)) for run in runs], None
    except LoaderError as error:
        return [], str(error)
