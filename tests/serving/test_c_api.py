"""The C API's session, alone and in a process of its own, on a SavedModel of every dtype."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_reg.serving import saved_graph
from tf_reg.serving.verify import apart, c_api
from tf_reg.serving.verify.c_api import LoaderError, Run

pytestmark = pytest.mark.usefixtures("apart")
NUMBERS = [
    "float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A SavedModel that returns what it gets, one signature a dtype, and its signatures."""
    module = tf.Module()
    functions = {}
    for dtype in [*NUMBERS, "string"]:
        spec = tf.TensorSpec((None, None), dtype, name="x")
        functions[f"of_{dtype}"] = tf.function(lambda x: {"y": tf.identity(x)}).get_concrete_function(spec)
    path = tmp_path_factory.mktemp("echo")
    tf.saved_model.save(module, path, signatures=functions)
    return path, saved_graph.signatures(saved_graph.load(path))


def run_of(signature, array):
    return Run({signature.inputs["x"].name: array}, [signature.outputs["y"].name])


@pytest.fixture(scope="module")
def session(echo):
    with c_api.Session(echo[0]) as opened:
        yield opened


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_dtype_comes_back(session, echo, dtype):
    for shape in [(2, 3), (1, 1), (0, 4)]:
        array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
        [received] = session.run(run_of(echo[1][f"of_{dtype}"], array))
        assert received.dtype == array.dtype
        np.testing.assert_array_equal(received, array)


def test_strings_come_back(session, echo):
    array = np.array([[b"", b"a\0b\0"], [b"x" * 1000, "\u00e9".encode()]], object)
    [received] = session.run(run_of(echo[1]["of_string"], array))
    np.testing.assert_array_equal(received, array)


def test_a_slice_of_an_array_is_taken_as_it_looks(session, echo):
    array = np.arange(12, dtype="float32").reshape(3, 4)[::-1, ::2]
    [received] = session.run(run_of(echo[1]["of_float32"], array))
    np.testing.assert_array_equal(received, array)


def test_errors_are_those_of_tensorflow(session, echo, tmp_path):
    with pytest.raises(LoaderError, match="no operation 'nothing'"):
        session.run(Run({}, ["nothing:0"]))
    signature = echo[1]["of_float32"]
    with pytest.raises(LoaderError, match="float"):
        session.run(run_of(signature, np.ones((1, 1), "int32")))
    with pytest.raises(LoaderError, match="Could not find SavedModel"):
        c_api.Session(tmp_path)


def test_a_process_of_its_own(echo):
    array = np.array([[1.5]], "float32")
    answers = c_api.run_apart(echo[0], [run_of(echo[1]["of_float32"], array)] * 2)
    assert [[value.tolist() for value in answer] for answer in answers] == [[[[1.5]]]] * 2
    with pytest.raises(LoaderError, match="Could not find SavedModel"):
        c_api.run_apart(echo[0] / "nowhere", [])


@pytest.mark.parametrize("dtype", [*NUMBERS, "string"])
def test_arrays_come_back_from_the_other_process(dtype):
    for shape in [(2, 3), (), (0, 4)]:
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
        if dtype == "string":
            array = np.array([b"\0\xff" * number for number in array.ravel()], object).reshape(shape)
        array = array.astype("object" if dtype == "string" else dtype)
        [received, fetches], message = apart.unpacked(apart.packed(([array, ["y:0"]], None)))
        assert (received.dtype, received.shape, fetches, message) == (array.dtype, shape, ["y:0"], None)
        np.testing.assert_array_equal(received, array)


def test_what_comes_back_is_data(tmp_path):
    code = f"import os; os.mkdir({str(tmp_path / 'made')!r})"
    hostile = pickle.dumps(type("Hostile", (), {"__reduce__": lambda self: (exec, (code,))})())
    with pytest.raises(ValueError, match="decode"):
        apart.unpacked(hostile)
    assert not (tmp_path / "made").exists()
    pickle.loads(hostile)
    assert (tmp_path / "made").exists()  # it was hostile indeed


def test_a_crash_of_the_loader_is_an_error(echo, tmp_path, monkeypatch):
    crashing = tmp_path / "crashing.py"
    crashing.write_text("import os, sys; print('it broke', file=sys.stderr, flush=True); os.abort()")
    monkeypatch.setattr(c_api, "__file__", str(crashing))
    with pytest.raises(LoaderError, match=r"ended with code -6: it broke"):
        c_api.run_apart(echo[0], [])


def test_a_loader_that_hangs_is_ended(echo, tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(c_api, "__file__", str(tmp_path / "hanging.py"))
    monkeypatch.setattr(apart, "TIMEOUT", 0.2)
    with pytest.raises(LoaderError, match=r"not done after 0.2 seconds"):
        c_api.run_apart(echo[0], [])


def test_without_tensorflow(monkeypatch):
    c_api._library.cache_clear()
    monkeypatch.setattr(c_api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoaderError, match="TensorFlow is not installed"):
        c_api._library()


def test_the_process_must_not_import_tensorflow(echo, tmp_path, monkeypatch):
    """The guard is live: a copy of the file that has TensorFlow among its modules is refused."""
    text, copy = Path(c_api.__file__).read_text(), tmp_path / "copy.py"
    copy.write_text(text + '\nimport sys\nsys.modules["tensorflow"] = sys\n')
    monkeypatch.setattr(c_api, "__file__", str(copy))
    with pytest.raises(LoaderError, match="imported where it must not be"):
        c_api.run_apart(echo[0], [])
