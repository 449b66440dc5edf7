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

import hypothesis
import keras
import pytest

from tests import loader
from tests.tools import ROOT, missing, require_module
from tf_reg.serving.verify import c_api, engine_checks
from tf_reg_cli.main import main

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is slow now and then
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that is both slow and long: `pytest -m slow`, as in .ci/run, would run it.

    The tests that wait for the other backends come first, so that nothing else waits for them at the end.
    """
    items.sort(key=lambda item: "test_backends.py" not in item.nodeid)
    both = [item.nodeid for item in items if item.get_closest_marker("slow") and item.get_closest_marker("long")]
    if both:
        raise pytest.UsageError(f"A test is slow or long, not both: take one of the marks away from {', '.join(both)}")


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


@pytest.fixture(scope="session", autouse=True)
def _loaded_here():
    """Exports are verified in this process; a test that uses the fixture `apart` does it as users do.

    OpenVINO has no look at them, which takes a second each, but in a test that uses the fixture `second_look`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_checks, "second_is_there", lambda: False)
        if not loader.GPU:
            patch.setattr(c_api, "run_apart", loader.run_here)
        yield


@pytest.fixture
def apart(monkeypatch):
    """SavedModels are loaded in a process of their own, as users' are."""
    monkeypatch.setattr(c_api, "run_apart", loader.run_apart)


@pytest.fixture
def second_look(monkeypatch):
    """OpenVINO reads every SavedModel that is verified."""
    require_module("openvino", "openvino")
    monkeypatch.setattr(engine_checks, "second_is_there", loader.second_is_there)


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
