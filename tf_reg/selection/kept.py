"""The folder of a call of `tf_reg.shrink`: every candidate as a file, and what is known of them all."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tf_reg._checks import shown
from tf_reg.compaction.training import compile_alike
from tf_reg.selection.frontier import Candidate
from tf_reg_cli.files import sweep, whole

FRONTIER = "frontier.json"
_NAME = re.compile(r"candidate-\d+\.keras", flags=re.ASCII)


class Kept:
    """Keeps candidates in a folder, or nowhere.

    Args:
        folder: The folder, which is made for the first candidate; None keeps nothing.
        settings: What the candidates depend on, as JSON has it.

    Raises:
        ValueError: A folder with other things in it, or with the candidates of other settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, dict(settings)
        self.candidates: list[Candidate] = []
        if folder is None:
            return
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"folder is a folder, which may exist. Received: folder={str(folder)!r}, a file.")
        if (folder / FRONTIER).is_file():
            self._read(folder)
            sweep(folder)
        elif folder.exists() and any(path.suffix == ".keras" for path in folder.iterdir()):
            raise ValueError(
                f"folder is new, empty, or that of an earlier call. Received: folder={str(folder)!r}, with .keras "
                f"files and without {FRONTIER}."
            )

    def _read(self, folder: Path) -> None:
        try:
            kept = json.loads((folder / FRONTIER).read_text())
            settings, rows = kept["settings"], kept["candidates"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / FRONTIER} isn't what tf_reg.shrink writes. Received: {shown(error)}") from None
        wanted = json.loads(json.dumps(self._settings))
        other = sorted(name for name in wanted.keys() | settings.keys() if wanted.get(name) != settings.get(name))
        if other:
            raise ValueError(
                f"folder goes on with a call of the same settings. Received: folder={str(folder)!r}, whose candidates "
                f"were made with another {', '.join(other)}. Choose another folder."
            )
        names = [row["path"] for row in rows]
        if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
            raise ValueError(
                f"{folder / FRONTIER} names files of its folder, candidate-NUMBER.keras. Received: {shown(names)}"
            )
        self.candidates = [Candidate(**{**row, "path": folder / row["path"]}) for row in rows]

    def add(self, candidate: Candidate, model: keras.Model) -> Candidate:
        """Keep a candidate, and return it with its path.

        Args:
            candidate: What is known of it.
            model: It.
        """
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / FRONTIER).is_file():
                self._write(self._folder)  # a call that is killed from now on finds its settings
            path = self._folder / f"candidate-{candidate.number}.keras"
            with whole(path) as unfinished:
                model.save(unfinished)
            candidate = dataclasses.replace(candidate, path=path)
        self.candidates.append(candidate)
        if self._folder is not None:
            self._write(self._folder)
        return candidate

    def model(self, candidate: Candidate, original: keras.Model) -> keras.Model:
        """Load a candidate that was kept, compiled as the original is.

        Args:
            candidate: What is known of it.
            original: The original.
        """
        model = keras.saving.load_model(candidate.path, compile=False)
        compile_alike(original, model)
        return model

    @property
    def place(self) -> str:
        """Where candidates lie, for a sentence."""
        if self._folder is None:
            return "Nothing was kept: folder=... keeps candidates, and lets the same call go on."
        return f"{len(self.candidates)} candidates lie in {self._folder}; the same call goes on from there."

    def _write(self, folder: Path) -> None:
        rows = [{**dataclasses.asdict(one), "path": one.path.name if one.path else None} for one in self.candidates]
        with whole(folder / FRONTIER) as unfinished:
            unfinished.write_text(json.dumps({"settings": self._settings, "candidates": rows}, indent=2) + "\n")
