"""Results in a folder, each written whole or not at all, so that an interrupted search goes on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_reg._checks import checked_path, shown
from tf_reg_cli.files import sweep, whole

_SETTINGS = "settings.json"
_RECORD = "record"


class Store:
    """A folder of named results: a dictionary of numbers and words, and arrays.

    Args:
        folder: Where; None for a folder that goes when the store does.
        settings: What the results depend on. A folder with results of other settings is refused.

    Raises:
        ValueError: A folder that can't be made or written, or has something else in it.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, settings: Mapping[str, Any]):
        self._parent: Store | None = None  # keeps a temporary folder
        if folder is None:
            folder = tempfile.mkdtemp(prefix="tf_reg-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.folder = checked_path(folder, "folder")
        self._settings = json.loads(json.dumps(settings))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check()
        except OSError as error:
            raise ValueError(
                f"folder is one that can be made and written. Received: folder={shown(folder)}, {error.strerror}."
            ) from error

    def below(self, name: str) -> Store:
        """Return a store of the same settings in a folder of this one.

        Args:
            name: The name of the folder.
        """
        inner = Store(self.folder / name, self._settings)
        inner._parent = self
        return inner

    def load(self, name: str) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """Return a result; None where there is none.

        Args:
            name: Its name.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as found:
            arrays = [found[f"array_{place}"] for place in range(len(found.files) - 1)]
            return json.loads(str(found[_RECORD])), arrays

    def save(self, name: str, record: Mapping[str, Any], arrays: list[np.ndarray]) -> None:
        """Write a result.

        Args:
            name: Its name.
            record: What JSON can hold.
            arrays: Arrays.
        """
        named: dict[str, Any] = {f"array_{place}": array for place, array in enumerate(arrays)}
        named[_RECORD] = np.array(json.dumps(record))
        with whole(self._path(name)) as unfinished, open(unfinished, "wb") as file:
            np.savez(file, **named)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    def _check(self) -> None:
        path = self.folder / _SETTINGS
        sweep(self.folder)
        if path.is_file():
            self._compare(json.loads(path.read_text()))
            return
        others = sorted(one.name for one in self.folder.iterdir() if not one.name.startswith(".writing-"))
        if others:
            raise ValueError(
                f"folder is a new or empty one, or one of an earlier call. Received: {str(self.folder)!r}, with "
                f"{others[0]} in it. Choose another."
            )
        with whole(path) as unfinished:
            unfinished.write_text(json.dumps(self._settings, indent=2) + "\n")

    def _compare(self, before: dict[str, Any]) -> None:
        other = [key for key in {**before, **self._settings} if before.get(key) != self._settings.get(key)]
        if other:
            raise ValueError(
                f"The folder {str(self.folder)!r} has results of another {' and '.join(sorted(other))}. Go on with the "
                "same, or choose another folder."
            )
