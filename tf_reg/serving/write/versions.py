"""A model's base folder: versions are staged under a hidden name and appear by one rename."""

from __future__ import annotations

import contextlib
import numbers
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_reg._checks import checked_path
from tf_reg_cli.files import sync

NEWEST = 2**63 - 1  # the server's versions are signed integers of 64 bits
STAGING = ".writing-"  # no integer: TensorFlow Serving takes every child whose name is one


def next_version(base: Path) -> int:
    """Return one more than the highest version that a model's base folder has or, as `.withdrawn-<version>`, had.

    Raises:
        ValueError: If that is no version.
    """
    version = 1 + max(_numbered(base, r"(?:\.withdrawn-)?(\d+)"), default=0)
    check_version(version)
    return version


def versions(base: Path) -> list[int]:
    """Return the versions among the names in a model's base folder, in order."""
    return sorted(_numbered(base, r"(\d+)"))


def check_version(version: Any) -> None:
    """Refuse what is no version.

    Raises:
        ValueError: If it is none.
    """
    whole = isinstance(version, numbers.Integral) and not isinstance(version, bool)
    if not whole or not 1 <= version <= NEWEST:
        raise ValueError(
            f"`version` must be a positive integer up to {NEWEST}, or None for the next. Received: {version!r}."
        )


def local(folder: str | os.PathLike[str]) -> Path:
    """Return a path, which is no address of another file system: pathlib would make a folder `gs:` of one.

    Raises:
        ValueError: If it is.
    """
    here = checked_path(folder, "folder")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(folder)):
        raise ValueError(f"The folder must be a local one: export there, and copy it. Received: {folder}.")
    return here


def make_base(base: Path) -> None:
    """Make a model's base folder, and those above it, where they are missing, so that every user can read them."""
    for folder in (*reversed(base.parents), base):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            _make_readable(folder)


@contextlib.contextmanager
def staging(base: Path) -> Iterator[Path]:
    """Make a folder to write a version in, on the file system of `base`; what is left of it in the end is removed.

    A process that is killed leaves the folder behind, where no server looks at it.
    """
    path = Path(tempfile.mkdtemp(prefix=STAGING, dir=base))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(staged: Path, base: Path, version: int | None) -> Path:
    """Make a staged folder readable and durable, and rename it to its version, the next free one for `None`.

    Raises:
        ValueError: If `version` is taken.
    """
    for path in (*staged.rglob("*"), staged):
        _make_readable(path)
    _sync(staged)
    while True:
        target = base / str(next_version(base) if version is None else version)
        try:
            staged.rename(target)  # fails where another export was faster: a version is never empty
        except OSError as error:
            if not os.path.lexists(target):  # a link that leads to nothing takes the name too
                raise
            if version is not None:
                raise taken(base, version) from error
            continue
        sync(base)
        return target


def taken(base: Path, version: int) -> ValueError:
    """Return the error for a version that exists."""
    return ValueError(
        f"Version {version} exists in {base} and is never overwritten. Leave `version` out for the next free one."
    )


def write_new(path: Path, text: str, *, replace: bool = False) -> bool:
    """Write a file whole or not at all; returns whether it was written, which an existing one isn't.

    Args:
        path: The file.
        text: What it shall hold.
        replace: Replace a file that exists.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _make_readable(Path(name))
        if replace:
            os.replace(name, path)
            return True
        return _link(Path(name), path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _link(source: Path, path: Path) -> bool:
    """Give a file a second name, unless it is taken: a rename would replace what another process has written."""
    try:
        os.link(source, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        return _copy(source, path)
    return True


def _copy(source: Path, path: Path) -> bool:
    try:
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(source.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        _make_readable(path)
    except BaseException:
        path.unlink()
        raise
    return True


def _make_readable(path: Path) -> None:
    """Let every user read a file or folder, as the server's does, whatever the umask says."""
    mode = stat.S_IMODE(path.stat().st_mode)
    wanted = mode | (0o755 if path.is_dir() else 0o644)
    if wanted != mode:
        with contextlib.suppress(PermissionError):  # it is our own file: where there are no modes to be changed
            path.chmod(wanted)


def _numbered(base: Path, pattern: str) -> list[int]:
    """The versions in the names in a folder, as far as the server can read them."""
    found = [re.fullmatch(pattern, child.name, flags=re.ASCII) for child in base.iterdir()]
    return [version for match in found if match and (version := int(match[1])) <= NEWEST]


def _sync(folder: Path) -> None:
    """Make everything below a folder durable before a rename makes it visible."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)
