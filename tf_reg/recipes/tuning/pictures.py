"""A study in pictures: its values trial by trial, which settings matter, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from tf_reg.recipes.tuning.study import DIRECTIONS
from tf_reg.reporting.figures import legend, panels, save
from tf_reg_cli.files import whole

LABELS = {
    "accuracy": "validation accuracy (%)",
    "data-loss": "validation loss without penalty (nats)",
    "live-parameters": "live parameters",
}
FILES = ("history.png", "importances.png", "front.png")


def names(folder: Path) -> list[str]:
    """Return the pictures that lie in a folder."""
    return [name for name in FILES if (folder / name).is_file()]


def draw(
    trials: Sequence[FrozenTrial],
    chosen: Sequence[FrozenTrial],
    objectives: Sequence[str],
    importances: Sequence[Mapping[str, float]],
    folder: Path,
) -> None:
    """Draw what can be drawn of a study.

    Args:
        trials: All its trials.
        chosen: The best one, or the Pareto front.
        objectives: What was sought.
        importances: Of each objective, the share of each setting; empty where nobody knows it.
        folder: Where the PNGs go.
    """
    with whole(folder / FILES[0]) as unfinished:
        _history(trials, objectives, unfinished, folder.name)
    if any(importances):
        with whole(folder / FILES[1]) as unfinished:
            _importances(importances, objectives, unfinished, folder.name)
    if len(objectives) > 1:
        with whole(folder / FILES[2]) as unfinished:
            _front(trials, chosen, objectives, unfinished, folder.name)


def _history(trials: Sequence[FrozenTrial], objectives: Sequence[str], path: Path, title: str) -> None:
    """Draw a point for each trial, and the best value so far."""
    from matplotlib.ticker import MaxNLocator

    figure, all_axes = panels(len(objectives), title)
    for position, (axes, objective) in enumerate(zip(all_axes, objectives, strict=True)):
        found = {
            state: [trial for trial in trials if trial.state == state and trial.values]
            for state in (TrialState.COMPLETE, TrialState.PRUNED)
        }
        for state, label, marker in (
            (TrialState.PRUNED, "ended early", "x"),
            (TrialState.COMPLETE, "trained to the end", "o"),
        ):
            if found[state]:
                x, y = _points(found[state], position, objective)
                axes.plot(x, y, marker, label=label, color="0.6" if marker == "x" else "C0", markersize=5)
        x, y = _points(found[TrialState.COMPLETE], position, objective)
        best = np.minimum if DIRECTIONS[objective] == "minimize" else np.maximum
        axes.step(x, best.accumulate(y), where="post", color="C1", label="best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes, "trial", LABELS[objective])
        if objective == "live-parameters":
            axes.set_yscale("log")
    save(figure, path)


def _points(trials: Sequence[FrozenTrial], position: int, objective: str) -> tuple[np.ndarray, np.ndarray]:
    scale = 100 if objective == "accuracy" else 1
    values = [scale * trial.values[position] for trial in trials]
    return np.array([trial.number for trial in trials]), np.array(values)


def _importances(importances: Sequence[Mapping[str, float]], objectives: Sequence[str], path: Path, title: str) -> None:
    """Draw a bar for each setting."""
    known = [(one, objective) for one, objective in zip(importances, objectives, strict=True) if one]
    rows = max(len(one) for one, _ in known)
    figure, all_axes = panels(len(known), title, height=1.6 + 0.3 * rows)
    for axes, (shares, objective) in zip(all_axes, known, strict=True):
        labels = list(shares)[::-1]
        bars = axes.barh([name.replace("_", " ") for name in labels], [100 * shares[name] for name in labels])
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
        axes.set_xlim(0, 110)
        axes.set_xlabel(f"share of the variance (%) of\n{LABELS[objective].partition(' (')[0]}")
        axes.grid(axis="x", alpha=0.3)
    save(figure, path)


def _front(
    trials: Sequence[FrozenTrial], front: Sequence[FrozenTrial], objectives: Sequence[str], path: Path, title: str
) -> None:
    """Draw all complete trials by their objectives, two of them at a time, and the front."""
    pairs = [(0, other) for other in range(1, len(objectives))]
    figure, all_axes = panels(len(pairs), title, height=4.3)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for axes, (second, first) in zip(all_axes, pairs, strict=True):
        for some, label, color in ((done, "trial", "0.7"), (front, "Pareto front", "C1")):
            (_, x), (_, y) = _points(some, first, objectives[first]), _points(some, second, objectives[second])
            axes.plot(x, y, "o", label=label, markersize=5, color=color)
        if len(objectives) == 2:
            _stairs(axes, front, objectives)
        _finish(axes, LABELS[objectives[first]], LABELS[objectives[second]])
        if objectives[first] == "live-parameters":
            axes.set_xscale("log")
    save(figure, path)


def _stairs(axes: Any, front: Sequence[FrozenTrial], objectives: Sequence[str]) -> None:
    """Join the points of a front of two objectives: what lies beyond the steps, no trial has reached."""
    (_, x), (_, y) = _points(front, 1, objectives[1]), _points(front, 0, objectives[0])
    order = np.argsort(x, kind="stable")
    where = "post" if DIRECTIONS[objectives[1]] == "minimize" else "pre"
    axes.step(x[order], y[order], where=where, color="C1", linewidth=1)


def _finish(axes: Any, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    legend(axes)
