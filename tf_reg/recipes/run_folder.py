"""The folder of a run: its name, and whether it can be written."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tf_reg.recipes.data.fingerprint import fingerprint
from tf_reg.recipes.naming import stem
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import write_whole
from tf_reg_cli.unfinished import CHECKPOINTS


def check_clock() -> None:
    """Check that the clock is set: Keras can't write a model in a year that a zip archive has no date for."""
    year = time.localtime(time.time()).tm_year
    if not 1980 <= year < 2108:
        raise UserError(f"The clock of this machine is in {year}. The file of a model has no such date: set the clock.")


def know_data(folder: Path, config: Config, resumed: bool) -> None:
    """Write what tells the data of a run from others; of a run that goes on, compare it.

    Raises:
        UserError: The data have changed.
    """
    data, file = fingerprint(config.dataset), folder / CHECKPOINTS / "data.json"
    if not resumed:
        file.parent.mkdir()
        write_whole(file, json.dumps(data))
    elif file.exists() and json.loads(file.read_text()) != data:
        raise UserError(
            f"--dataset {config.dataset} has changed since {folder} began, so it can't go on as it would have. Bring "
            "the data back, or start anew."
        )


def made_folder(config: Config) -> Path:
    """Make the run's folder, under a name that no run and no exported model has yet."""
    runs, exports = _folder(config.runs_dir, "--runs-dir"), _folder(config.saved_models_dir, "--saved-models-dir")
    for name in [config.name] if config.name else _free_names(config):
        if not (exports / name).exists():
            with contextlib.suppress(FileExistsError):
                (runs / name).mkdir()
                return runs / name
    raise UserError(
        f"A run or model named {config.name} exists in {runs} or {exports} and is never overwritten. "
        "Choose another --name."
    )


def _folder(path: str, flag: str) -> Path:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return Path(path)
    except OSError as error:
        raise UserError(f"{flag} {path} can't be made or written: {error.strerror}. Choose another.") from error


def _free_names(config: Config) -> Iterator[str]:
    yield stem(config)
    yield from (f"{stem(config)}-{number}" for number in itertools.count(2))
