"""The backend under test, and which missing tool is a skip and which is a failure."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import importlib.util
from pathlib import Path

import keras
import pytest

REQUIRED = os.environ.get("TF_REG_REQUIRE", "").split(",")


def missing(what: str, reason: str) -> None:
    """Skip with a plain reason, or fail where `TF_REG_REQUIRE` (a comma-separated list) names `what`."""
    if what in REQUIRED:
        pytest.fail(f"{reason} (TF_REG_REQUIRE names {what})")
    pytest.skip(reason)


def require_module(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        missing(name, f'{name} is not installed: pip install -e ".[backends]"')


@pytest.fixture(scope="session")
def fashion_mnist_dir() -> str:
    """The folder of a prepared Fashion-MNIST, as TensorFlow Datasets writes it."""
    folder = os.environ.get("TFDS_DATA_DIR", str(Path(__file__).parents[2] / "shared" / "tfds"))
    if not (Path(folder) / "fashion_mnist").is_dir():
        missing("fashion_mnist", f"no prepared fashion_mnist in {folder}: set TFDS_DATA_DIR")
    return folder


@pytest.fixture(autouse=True)
def _clean_keras():
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session()
    keras.config.set_dtype_policy("float32")
