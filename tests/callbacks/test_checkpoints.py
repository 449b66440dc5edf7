"""Checkpoints: whole or not there, the last two kept, and a folder for one process at a time."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tests.tools import ROOT
from tf_reg.callbacks import checkpoints
from tf_reg.callbacks.saved_state import NotPlainError, decode, digest, encode

pytestmark = pytest.mark.contract
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
ARRAYS = arrays_of.arrays(
    st.sampled_from(["float32", "int64", "bool", "<U3", "float64"]), st.sampled_from([(), (2,), (2, 0)])
)


def nested(inner):
    words = st.text(max_size=3)
    return st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(words, inner, max_size=3)


VALUES = st.recursive(PLAIN | ARRAYS, nested, max_leaves=8)


def equal(one, other):
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    if isinstance(one, dict):
        return type(other) is dict and list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


@given(VALUES)
def test_plain_values_come_back_as_they_were(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("one") / checkpoints.name_of(0, 1)
    arrays = {}
    form = encode(value, arrays)
    checkpoints.write(path, arrays, {"form": form})
    found = checkpoints.read(path)
    assert equal(decode(found.facts["form"], found.arrays), value)
    assert digest(value) == digest(decode(found.facts["form"], found.arrays))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), [lambda: 0], {"a": open}])
def test_other_values_are_refused(value):
    with pytest.raises(NotPlainError):
        encode(value, {})


def test_types_that_the_format_of_numpy_forgets(tmp_path):
    dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(6).astype(dtypes.bfloat16).reshape(2, 3)
    checkpoints.write(tmp_path / checkpoints.name_of(0, 0), {"a": array}, {})
    found = checkpoints.last(tmp_path).arrays["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found.astype("float32"), array.astype("float32"))


def filled(folder, count):
    for epoch in range(1, count + 1):
        checkpoints.write(folder / checkpoints.name_of(epoch, 0), {"a": np.full(100, epoch)}, {"epoch": epoch})
    return sorted(folder.glob(checkpoints.PATTERN))


def test_the_last_two_are_kept(tmp_path):
    assert [path.name for path in filled(tmp_path, 4)] == [checkpoints.name_of(3, 0), checkpoints.name_of(4, 0)]
    names = [
        checkpoints.name_of(1, 0),
        checkpoints.name_of(1, 9),
        checkpoints.name_of(1, 10),
        checkpoints.name_of(2, 0),
    ]
    assert names == sorted(names)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text"])
def test_a_damaged_one_is_passed_over(damage, tmp_path):
    last = filled(tmp_path, 2)[-1]
    whole = bytearray(last.read_bytes())
    if damage == "changed":
        whole[len(whole) // 2] ^= 1
    last.write_bytes({"cut": whole[: len(whole) // 2], "changed": whole, "empty": b"", "text": b"no archive"}[damage])
    with pytest.warns(UserWarning, match=f"{last.name} is damaged: .* before it is taken: {checkpoints.name_of(1, 0)}"):
        assert checkpoints.last(tmp_path).facts == {"epoch": 1}


def test_only_damaged_ones_are_an_error(tmp_path):
    for path in filled(tmp_path, 2):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint is whole.*delete the folder to start anew"):
        checkpoints.last(tmp_path)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    before = filled(tmp_path, 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(tmp_path / checkpoints.name_of(3, 0), {}, {})
    assert sorted(tmp_path.iterdir()) == before


HOLD = """
import sys
from pathlib import Path
from tf_reg.callbacks import checkpoints
checkpoints.hold(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_folder_belongs_to_one_process(tmp_path):
    checkpoints.hold(tmp_path / "c")
    checkpoints.hold(tmp_path / "c")  # the same process may
    command = [sys.executable, "-c", HOLD, str(tmp_path / "c")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "Another process is training with the checkpoints in" in child.stderr
    checkpoints.release(tmp_path / "c")
    child = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr


def test_what_a_killed_process_left_is_deleted(tmp_path):
    (tmp_path / ".writing-1-epoch").write_text("half")
    checkpoints.hold(tmp_path)
    checkpoints.release(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.LOCK]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"can't be written to .*: Not a directory. Choose another"):
        checkpoints.hold(tmp_path / "file" / "c")
