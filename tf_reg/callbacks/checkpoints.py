"""The checkpoints of a training as files: whole or not there, the last two kept, damaged ones passed over."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_reg_cli.files import whole

KEPT = 2
PATTERN = "epoch-*.checkpoint"
LOCK = "lock"
_FACTS = "facts"  # the name of the file of JSON in a checkpoint
_UNREADABLE = (
    OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, EOFError, MemoryError, RecursionError
)  # fmt: skip
_HELD: dict[Path, int] = {}  # the open locks of this process


class Checkpoint(NamedTuple):
    """A training as it was after a batch.

    Args:
        arrays: All arrays, by name.
        facts: Everything else, as JSON has it.
        path: The file.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    path: Path


class CheckpointError(ValueError):
    """Checkpoints that a training can't go on with, or can't write."""


class DamagedError(CheckpointError):
    """A checkpoint that can't be read: what is wrong with it."""


def name_of(epoch: int, batches: int) -> str:
    """Return the name of a checkpoint. Later ones come later in the alphabet.

    Args:
        epoch: How many epochs are done.
        batches: How many batches of the next one are done.
    """
    return f"epoch-{epoch:06d}-batch-{batches:09d}.checkpoint"


def write(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, then delete all but the last ones.

    A checkpoint is a zip archive: a file of JSON, and one in the format of NumPy for each array. No object is pickled.
    All have the first date that an archive can have, as the clock can stand before it.

    Args:
        path: The file. It has its name when it is whole and on the disk.
        arrays: Arrays by name.
        facts: What JSON can hold.

    Raises:
        OSError: The disk is full, or the folder can't be written.
    """
    kinds = {name: array.dtype.name for name, array in arrays.items() if _is_foreign(array)}
    with whole(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_FACTS), json.dumps({"facts": facts, "kinds": kinds}))
        for name, array in arrays.items():
            plain = array.view(f"u{array.dtype.itemsize}") if name in kinds else array
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, plain, allow_pickle=False)
    for old in sorted(path.parent.glob(PATTERN))[:-KEPT]:
        old.unlink(missing_ok=True)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DamagedError: It is cut off or changed. The archive has a checksum of each file in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise DamagedError(f"the checksum of {damaged} is wrong")
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise DamagedError("a file in it is compressed, which no checkpoint has")
            about = json.loads(archive.read(_FACTS))
            if not isinstance(about, dict) or not all(isinstance(about[key], dict) for key in ("facts", "kinds")):
                raise DamagedError(f"the file {_FACTS} in it isn't what tf_reg writes")
            arrays = dict(_arrays(archive, about["kinds"]))
    except _UNREADABLE as error:
        raise error if isinstance(error, DamagedError) else DamagedError(str(error)) from error
    return Checkpoint(arrays, about["facts"], path)


def _arrays(archive: zipfile.ZipFile, kinds: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    for member in archive.namelist():
        if member == _FACTS:
            continue
        name = member.removesuffix(".npy")
        with archive.open(member) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
        yield name, array.view(kinds[name]) if name in kinds else array


def _is_foreign(array: np.ndarray) -> bool:
    """Whether the format of NumPy forgets the type of an array: bfloat16 and others of `ml_dtypes`."""
    described = np.lib.format.dtype_to_descr(array.dtype)
    return np.lib.format.descr_to_dtype(described) != array.dtype


def last(folder: Path) -> Checkpoint | None:
    """Return the last checkpoint of a folder that is whole; None where there is none at all.

    Raises:
        CheckpointError: There are some, and each is damaged.

    Warns:
        UserWarning: For each damaged one that is passed over.
    """
    damaged = []
    for path in sorted(folder.glob(PATTERN), reverse=True):
        try:
            found = read(path)
        except DamagedError as error:
            damaged.append(f"{path} is damaged: {error}.")
            continue
        for words in damaged:
            warnings.warn(f"{words} The checkpoint before it is taken: {path.name}.", stacklevel=2)
        return found
    if damaged:
        raise CheckpointError(
            f"The training in {folder} can't go on: no checkpoint is whole. {' '.join(damaged)} Bring them back from a "
            "copy, or delete the folder to start anew."
        )
    return None


def hold(folder: Path) -> None:
    """Make a folder that belongs to this process until `release`, or until the process ends, however it does.

    Args:
        folder: The folder. What a killed process left half-written in it is deleted.

    Raises:
        CheckpointError: Another process holds it, or it can't be made or written.
    """
    resolved = folder.resolve()
    if resolved in _HELD:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise CheckpointError(f"Checkpoints can't be written to {folder}: {error.strerror}. Choose another.") from error
    if not _lock(descriptor):
        os.close(descriptor)
        raise CheckpointError(
            f"Another process is training with the checkpoints in {folder}. Wait until it ends, or choose another."
        )
    _HELD[resolved] = descriptor
    for unfinished in folder.glob(".writing-*"):
        unfinished.unlink(missing_ok=True)


def release(folder: Path) -> None:
    """Give up a folder that this process holds."""
    descriptor = _HELD.pop(folder.resolve(), None)
    if descriptor is not None:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
