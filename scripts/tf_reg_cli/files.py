"""The files that a command line names: they are looked for before TensorFlow is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from tf_reg_cli.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
    """A saved model, and what is known about it.

    Args:
        file: The `.keras` file.
        name: What the exported model is called.
        run: The run's folder; None for a file on its own.
    """

    file: Path
    name: str
    run: Path | None


def find(path: Path) -> Source:
    """Return the source that a path names: a run's folder or a `.keras` file.

    Raises:
        UserError: It is neither.
    """
    if path.is_dir() and (path / "model.keras").is_file():
        return Source(path / "model.keras", path.resolve().name, path if (path / "config.json").is_file() else None)
    if path.is_file() and path.suffix == ".keras":
        return Source(path, path.stem, None)
    raise UserError(
        f"{path} is neither the folder of a run, with model.keras in it, nor a .keras file.{_other_kind(path)}"
    )


def _other_kind(path: Path) -> str:
    """What to do with a model that is saved in another way, as one more sentence."""
    if path.name.endswith(".weights.h5"):
        return " It has weights alone: build the model, call `load_weights` on it, and save it as .keras."
    if path.suffix in (".h5", ".hdf5") and path.is_file():
        return f' Keras converts it: keras.models.load_model("{path}").save("{path.stem}.keras").'
    if (path / "saved_model.pb").is_file():
        return " It is a SavedModel already, which a server loads as it is; `tf-reg verify` checks it."
    return ""


def weights(path: str) -> str:
    """Return the file that `--weights` names: of a run's folder its model."""
    folder = Path(path)
    return str(folder / "model.keras") if (folder / "model.keras").is_file() else path


def write_whole(path: Path, text: str) -> None:
    """Write a file so that its name never stands for a part of it."""
    with whole(path) as unfinished:
        unfinished.write_text(text)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path of a hidden file beside `path` to write to, which gets that name when the block has ended well.

    A process that is killed leaves the hidden file, for `sweep`. Any other end without success removes it.
    """
    unfinished = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        yield unfinished
        sync(unfinished)
        os.replace(unfinished, path)
        if os.name == "posix":  # the name is on the disk when its folder is
            sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete what processes that were killed on this machine left half-written in a folder.

    Args:
        folder: The folder, which need not exist.
    """
    for unfinished in folder.glob(".writing-*"):
        number = unfinished.name.split("-")[1]
        if number.isdecimal() and not _runs(int(number)):
            unfinished.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sync(path: Path) -> None:
    """Bring a file to the disk, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require(path: Path | str | None, flag: str = "") -> None:
    """Check that a file is there, if one is named.

    Raises:
        UserError: It isn't.
    """
    if path and not Path(path).is_file():
        raise UserError(f"{flag} {path} is no file." if flag else f"{path} can't be read: No such file.")
