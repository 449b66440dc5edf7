"""The report of a comparison: its table, its pictures and its settings in one file of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tf_reg.recipes.comparison import Row, cells
from tf_reg.recipes.comparison_pictures import draw
from tf_reg.recipes.plan import Plan
from tf_reg.recipes.run_report import settings
from tf_reg.recipes.trials import Trials
from tf_reg.reporting import page
from tf_reg.reporting.page import Picture, Section
from tf_reg_cli.config import Config
from tf_reg_cli.files import whole


def write(rows: Sequence[Row], plan: Plan, trials: Trials, base: Config, results: Path) -> Path:
    """Draw the pictures of a comparison beside its file of results, write its report, and return that.

    Args:
        rows: The rows of the table.
        plan: What was compared.
        trials: What remembers the trainings.
        base: The configuration that the methods change.
        results: The file of results.
    """
    stem = results.with_suffix("") if results.suffix == ".jsonl" else results
    pictures = [Picture(file.read_bytes(), text) for file, text in draw(rows, plan, trials, stem).items()]
    seeds = len(rows[0].configs)
    text = [
        f"Mean and standard deviation over {seeds} seeds. Settings were chosen on validation examples. Scores are of "
        "the test examples, of the model at the end.",
        "'better by' is the mean difference to the first method, or to the one that the plan names, with its standard "
        "error. p is that of a paired t-test, not corrected for the number of methods.",
    ]
    sections = [
        Section("Methods", text, list(cells(rows, plan)), words=2),
        Section("Pictures", pictures=pictures),
        Section("Settings of all", rows=[["flag", "value"], *settings(base)], words=2, closed=True),
    ]
    file = stem.with_name(f"{stem.name}.html")
    with whole(file) as unfinished:
        page.write(unfinished, f"Comparison on {base.dataset}", sections)
    return file
