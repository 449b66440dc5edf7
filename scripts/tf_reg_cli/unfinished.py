"""The folder of a run that was interrupted, and its configuration."""

from __future__ import annotations

from pathlib import Path

from tf_reg_cli.config import Config
from tf_reg_cli.config_file import read
from tf_reg_cli.errors import UserError

CHECKPOINTS = "checkpoints"


def config_of(run: Path) -> Config:
    """Return the configuration of a run that can go on, with the name of its folder.

    Args:
        run: The run's folder.

    Raises:
        UserError: It is no folder of a run, or the run has come to its end.
    """
    if not (run / "config.json").is_file():
        raise UserError(f"--resume {run} is not the folder of a run, with config.json in it.")
    if not (run / CHECKPOINTS).is_dir():
        raise UserError(
            f"--resume {run} has come to its end, or has no checkpoints. For the same run again: --config "
            f"{run / 'config.json'} --name NAME."
        )
    loaded = read(run / "config.json")
    runs = Path(loaded.get("runs_dir", Config.runs_dir))
    if run.resolve().parent != runs.resolve():
        raise UserError(
            f"--resume {run} belongs to a run that writes to the folder {runs}, which isn't the one that it is in. "
            "Start it in the folder where the run began."
        )
    return Config(**loaded | {"name": run.resolve().name})
