"""The files that a command line names: they are looked for before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
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
    raise UserError(f"{path} is neither the folder of a run, with model.keras in it, nor a .keras file.")


def require(path: Path | str | None, flag: str = "") -> None:
    """Check that a file is there, if one is named.

    Raises:
        UserError: It isn't.
    """
    if path and not Path(path).is_file():
        raise UserError(f"{flag} {path} is no file." if flag else f"{path} can't be read: No such file.")
