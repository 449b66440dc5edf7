"""Files of others are data: hostile checkpoints, arrays, tables, saved models and folders of candidates are refused."""

import json
import struct
import zipfile

import keras
import numpy as np
import pytest

from tf_reg.callbacks import checkpoints
from tf_reg.callbacks.checkpoints import CheckpointError, DamagedError
from tf_reg.selection.kept import FRONTIER, Kept
from tf_reg.serving.client import files
from tf_reg.serving.client.server import Tensor
from tf_reg.tables import reading
from tf_reg_cli.errors import UserError

HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"


class Trap:
    """What writes a file where it is unpickled."""

    def __reduce__(self):
        return open, ("trapped", "w")


def npy(header):
    """The start of a file in the format of NumPy."""
    text = header.ljust(64 - 10 - 1 + 64 * (len(header) // 64)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def pickled(path):
    np.save(path, np.array([Trap()], object), allow_pickle=True)
    return path.read_bytes()


FACTS = json.dumps({"facts": {}, "kinds": {}})
CODE = "__import__('pathlib').Path('trapped').touch()"
CHECKPOINTS = {
    "claims petabytes": {"facts": FACTS, "a.npy": npy(HUGE)},
    "claims a negative size": {"facts": FACTS, "a.npy": npy(HUGE.replace("(1", "(-1"))},
    "code for a header": {"facts": FACTS, "a.npy": npy(CODE)},
    "a list for facts": {"facts": "[]"},
    "a list for kinds": {"facts": json.dumps({"facts": {}, "kinds": ["a"]})},
    "a number for facts": {"facts": json.dumps({"facts": 1, "kinds": {}})},
    "a type that is none": {"facts": json.dumps({"facts": {}, "kinds": {"a": "os.system"}}), "a.npy": "plain"},
    "no facts": {"a.npy": "plain"},
    "deeply nested facts": {"facts": "[" * 100_000},
    "a pickle": {"facts": FACTS, "a.npy": "pickle"},
}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("what", CHECKPOINTS)
def test_hostile_checkpoints(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("plain.npy", np.ones(2))
    contents = {"plain": (tmp_path / "plain.npy").read_bytes(), "pickle": pickled(tmp_path / "pickle.npy")}
    members = {name: contents.get(content, content) for name, content in CHECKPOINTS[what].items()}
    path = write(tmp_path / checkpoints.name_of(1, 0), members)
    with pytest.raises(DamagedError):
        checkpoints.read(path)
    with pytest.raises(CheckpointError):  # and the folder is refused in a sentence
        checkpoints.last(tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path):
    path = write(tmp_path / "a", {"facts": FACTS, "a.npy": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(DamagedError, match="compressed"):
        checkpoints.read(path)


def test_names_in_a_checkpoint_are_no_paths(tmp_path):
    np.save(tmp_path / "plain.npy", np.ones(2))
    plain, folder = (tmp_path / "plain.npy").read_bytes(), tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    path = write(folder / "a", {"facts": FACTS, "../../evil.npy": plain, str(tmp_path / "evil.npy"): plain})
    found = checkpoints.read(path)
    assert {name.rpartition("/")[2] for name in found.arrays} == {"evil"}
    assert sorted(one.name for one in tmp_path.rglob("*") if one.is_file()) == ["a", "plain.npy"]


@pytest.mark.parametrize("what", ["huge", "pickle"])
def test_hostile_arrays_and_tables(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = npy(HUGE) if what == "huge" else pickled(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match="can't be read as an array"):
        files.examples(tmp_path / "a.npy", Tensor("float32", (None, 4)))
    table = write(tmp_path / "a.npz", {"x.npy": content})
    with pytest.raises(reading.TableError, match="can't be read as an npz file"):
        reading.raw_columns(table)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["../outside.keras", "{folder}/outside.keras", "inside/../../outside.keras", 1, None])
def test_a_frontier_names_files_of_its_folder(name, tmp_path):
    folder = tmp_path / "candidates"
    folder.mkdir()
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "outside.keras")
    path = name.format(folder=tmp_path) if isinstance(name, str) else name
    (folder / FRONTIER).write_text(json.dumps({"settings": {}, "candidates": [{"path": path}]}))
    with pytest.raises(ValueError, match="names files of its folder"):
        Kept(folder, {})
