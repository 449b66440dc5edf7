"""The backend under test, and which missing tool is a skip and which is a failure."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import keras
import pytest

from tests.tools import ROOT, missing
from tf_reg_cli.main import main


@pytest.fixture(scope="session")
def fashion_mnist_dir() -> str:
    """The folder of a prepared Fashion-MNIST, as TensorFlow Datasets writes it."""
    folder = os.environ.get("TFDS_DATA_DIR", str(ROOT.parent / "shared" / "tfds"))
    if not (Path(folder) / "fashion_mnist").is_dir():
        missing("fashion_mnist", f"no prepared fashion_mnist in {folder}: set TFDS_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def script():
    """Load `scripts/<name>.py` as a module: a function of its name."""

    @functools.cache
    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run `tf-reg` in this process, in an empty folder: a function of its words, to exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def _clean_keras():
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session(free_memory=False)  # collecting garbage takes longer than most tests
    if "tensorflow" in sys.modules:  # what `prepare` of the recipes switches on
        from tensorflow.python.framework import config

        config.disable_op_determinism()
    keras.config.set_dtype_policy("float32")
