"""The report of a study: its best trials, its pictures and all trials in one file of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from tf_reg._text_table import number
from tf_reg.recipes import run_report
from tf_reg.reporting import page
from tf_reg.reporting.page import Section
from tf_reg_cli.files import whole

PICTURES = {
    "history.png": "The value of each trial, and the best one so far",
    "importances.png": "Each setting's share of the variance",
    "front.png": "The Pareto front: no trial is better in all objectives than one of these",
}


def write(
    trials: Sequence[FrozenTrial], chosen: Mapping[str, FrozenTrial], objectives: Sequence[str], folder: Path
) -> None:
    """Write the report of a study into its folder.

    Args:
        trials: All trials.
        chosen: The best one, or those of the Pareto front, by the names of their files.
        objectives: What was sought.
        folder: The folder, with its pictures.
    """
    ended = [sum(trial.state == state for trial in trials) for state in (TrialState.COMPLETE, TrialState.PRUNED)]
    lead = f"{len(trials)} trials: {ended[0]} complete, {ended[1]} ended early. Values are of the validation examples."
    best = "Best trial" if len(objectives) == 1 else "Pareto front"
    sections = [
        Section(best, rows=_rows(list(chosen.values()), objectives), words=2),
        Section("Pictures", pictures=run_report.pictures(folder, PICTURES)),
        Section("All trials", rows=_rows(trials, objectives), words=2, closed=True),
    ]
    with whole(folder / run_report.FILE) as unfinished:
        page.write(unfinished, folder.name, sections, lead)


def _rows(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> list[list[str]]:
    """Return the cells of a table of trials: state, settings and values."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    head = ["trial", "state", *(name.replace("_", " ") for name in names), *objectives]
    rows = [head]
    for trial in trials:
        values = trial.values if trial.state == TrialState.COMPLETE else [None] * len(objectives)
        found = [*(trial.params.get(name) for name in names), *values]
        numbers = ["" if one is None else number(one) for one in found]
        rows.append([str(trial.number), trial.state.name.lower(), *numbers])
    return rows
