"""The report of a run: its numbers, its settings and its pictures in one file of HTML."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_reg.recipes.result import Result
from tf_reg.reporting import page
from tf_reg.reporting.page import Picture, Section
from tf_reg.reporting.results import shrink_sections
from tf_reg.selection.frontier import Shrunk
from tf_reg_cli.checks import flag
from tf_reg_cli.config import Config
from tf_reg_cli.files import whole

FILE = "report.html"
PICTURES = {  # what a run may have, in the order of the report
    "curves.png": "Loss and accuracy of the training and the validation examples after each epoch",
    "regularization.png": "Penalty and zeros of each layer after each epoch, and the weights before and after",
    "weights.png": "The weights of the first layer, and which units of each layer are left",
    "columns.png": "How much each column matters",
    "calibration.png": "How often the model is right, by how sure it is",
}


def write(folder: Path, result: Result, config: Config) -> None:
    """Write the report of a run into its folder.

    Args:
        folder: The run's folder, with its pictures and `history.csv`.
        result: What the run found.
        config: The configuration, with numbers for all settings that have an effect.
    """
    sections = [
        Section("Result", rows=[["", "value"], *result.rows]),
        Section("Columns", lines=result.columns),
        Section("Compaction", lines=result.compaction),
        Section("Pictures", pictures=pictures(folder)),
        Section("Epochs", rows=history(folder / "history.csv"), words=0, closed=True),
        Section("Settings", rows=[["flag", "value"], *settings(config)], words=2, closed=True),
    ]
    with whole(folder / FILE) as unfinished:
        page.write(unfinished, folder.name, [one for one in sections if one.filled], result.gain)


def of_shrink(folder: Path, found: Shrunk, table: str, config: Config) -> None:
    """Write the report of a shrunk run into its folder.

    Args:
        folder: The run's folder.
        found: What `tf_reg.shrink` returned.
        table: The original beside the small model, as text.
        config: The configuration of the run that was shrunk.
    """
    sections = [
        *shrink_sections(found),
        Section("The original beside the small model", lines=table),
        Section("Settings of the original", rows=[["flag", "value"], *settings(config)], words=2, closed=True),
    ]
    with whole(folder / FILE) as unfinished:
        page.write(unfinished, folder.name, sections, found.verdict)


def pictures(folder: Path, known: Mapping[str, str] = PICTURES) -> list[Picture]:
    """Return the pictures that there are in a folder.

    Args:
        folder: The folder.
        known: The names of the files, and what each shows.
    """
    return [Picture((folder / name).read_bytes(), text) for name, text in known.items() if (folder / name).exists()]


def settings(config: Config) -> list[list[str]]:
    """Return each flag that isn't at its default, and its value."""
    default = dataclasses.asdict(Config())
    found = {name: value for name, value in dataclasses.asdict(config).items() if value != default[name]}
    return [[flag(name), _words(value)] for name, value in found.items()]


def history(file: Path) -> list[list[str]]:
    """Return the columns of a `history.csv` that are of the whole model, as the cells of a table."""
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    if not lines:
        return []
    names = [name for name in lines[0] if "/" not in name]
    rows = [[_number(name, line[name]) for name in names] for line in lines]
    return [names, *rows]


def _number(name: str, text: str) -> str:
    value = float(text)
    return f"{value + 1:.0f}" if name == "epoch" else f"{value:.4g}"


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
