"""What makes the matrix cheap enough: processes that have imported TensorFlow do the work of many cells."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import loader
from tf_reg.serving.verify import c_api, engine_checks
from tf_reg.serving.write import converters, formats


def use(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let exports in this process load SavedModels here, and convert them in one process that stays.

    OpenVINO is a column of its own, and isn't asked once more.

    Args:
        put: Puts a value into a module, under a name.
    """
    put(c_api, "run_apart", loader.run_here)
    put(engine_checks, "second_is_there", lambda: False)
    put(formats, "convert", _convert)


@functools.cache
def _pool() -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _convert(saved_model: Path, name: str, file: Path) -> None:
    """Do what `formats.convert` does."""
    try:
        problem = _pool().submit(_converted, name, str(saved_model), str(file)).result(300)
    except concurrent.futures.BrokenExecutor as error:
        _pool.cache_clear()
        raise formats.FormatError(f"The converter ended: {error}") from error
    if problem is not None:
        raise formats.FormatError(problem)


def _converted(name: str, saved_model: str, file: str) -> str | None:
    try:
        converters.CONVERTERS[name](saved_model, file)
    except converters.ConversionError as error:
        return str(error)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return None
