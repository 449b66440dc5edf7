"""Where the project lies, and which missing thing is a skip and which is a failure."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import pytest

from tf_reg.callbacks.batches import batches_done, steps_at_once

ROOT = Path(__file__).parents[1]
REQUIRED = os.environ.get("TF_REG_REQUIRE", "").split(",")


def missing(what: str, reason: str) -> None:
    """Skip with a plain reason, or fail where `TF_REG_REQUIRE` (a comma-separated list) names `what`."""
    if what in REQUIRED:
        pytest.fail(f"{reason} (TF_REG_REQUIRE names {what})")
    pytest.skip(reason)


def mostly_slow(cases: Iterable[Any], *plain: Any) -> list[Any]:
    """Return the cases of a parametrised test, with all but those in `plain` in the slow set.

    The slow ones run on JAX and torch too, if `tests/test_backends.py` says so of their file.
    """
    return [pytest.param(case, id=str(case), marks=() if case in plain else pytest.mark.slow) for case in cases]


def mostly_long(cases: Iterable[Any], *slow: Any) -> list[Any]:
    """Return the cases of a parametrised test, those in `slow` in the slow set and all others in the long one."""
    return [
        pytest.param(case, id=str(case), marks=pytest.mark.slow if case in slow else pytest.mark.long) for case in cases
    ]


# For a test that other ones stand for in a plain run. It is slow there, and not on the backends of `test_backends.py`.
slow_on_tensorflow = (
    pytest.mark.slow if keras.backend.backend() == "tensorflow" else pytest.mark.skipif(False, reason="")
)


def require_module(name: str, extra: str = "backends") -> None:
    """Skip a test that needs a module which isn't installed."""
    if importlib.util.find_spec(name) is None:
        missing(name, f'{name} is not installed: pip install -e ".[{extra}]"')


def imported(name: str, extra: str) -> Any:
    """Return a module; skip a whole file of tests where it isn't installed."""
    if importlib.util.find_spec(name) is None and name not in REQUIRED:
        pytest.skip(f'{name} is not installed: pip install -e ".[{extra}]"', allow_module_level=True)
    return importlib.import_module(name)


def needs_keras(name: str) -> pytest.MarkDecorator:
    """Skip a test on a Keras that is too old for what it tests: `name` is a name within `keras`."""
    try:
        operator.attrgetter(name)(keras)
    except AttributeError:
        return pytest.mark.skip(reason=f"Keras {keras.__version__} has no keras.{name}")
    return pytest.mark.skipif(False, reason="")


def on_tensorflow(reason: str) -> pytest.MarkDecorator:
    """Skip a test on the other backends. The reason says what in it is TensorFlow's."""
    return pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason=reason)


class BatchesDone(keras.callbacks.Callback):
    """Remembers how many batches of the epoch were done after each execution."""

    def __init__(self):
        super().__init__()
        self.seen: list[int] = []

    def on_train_begin(self, logs=None):
        self.at_once = steps_at_once(self.model)

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batches_done(batch, self.params, self.at_once))
