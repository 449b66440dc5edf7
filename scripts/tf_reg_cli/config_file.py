"""The configuration that flags and a `config.json` ask for together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tf_reg_cli import agreement
from tf_reg_cli.checks import did_you_mean
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.fields import to_path

ConfigFile = Annotated[
    Path | None,
    Parameter(metavar="FILE", help="a config.json of an earlier run to start from", group="Output", converter=to_path),
]


def configured(flags: Mapping[str, Any], file: Path | None) -> Config:
    """Return the configuration that flags and a file ask for. A flag wins over the file.

    Args:
        flags: The flags that were given, by field of `Config`.
        file: A `config.json` of an earlier run; None for the defaults.

    Raises:
        UserError: As `Config`, and if the file can't be read or has unknown names.
    """
    config = Config(**((read(file) if file else {}) | dict(flags)))
    agreement.check_given(config, flags)
    return config


def read(file: Path) -> dict[str, Any]:
    """Return the fields of a `config.json`, not checked yet.

    Raises:
        UserError: The file can't be read, or has unknown names.
    """
    try:
        loaded = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--config {file} can't be read as JSON: {error}.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"--config {file} must hold a JSON object, as the config.json of a run does.")
    names = [field.name for field in dataclasses.fields(Config)]
    unknown = sorted(set(loaded) - set(names))
    if unknown:
        hints = [f"{name}: {hint}" for name in unknown if (hint := did_you_mean(name, names))]
        said = " ".join(hints).removeprefix(f"{unknown[0]}: ") if len(unknown) == 1 else " ".join(hints)
        raise UserError(f"--config {file} has unknown names: {', '.join(unknown)}. {said}".rstrip())
    return loaded
