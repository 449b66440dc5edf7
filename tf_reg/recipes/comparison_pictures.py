"""A comparison as pictures: learning curves, the gap between training and test, sizes of weights, zeros."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_reg.recipes.comparison import Row
from tf_reg.recipes.plan import Plan
from tf_reg.recipes.trials import EDGES, Record, Trials
from tf_reg.reporting.figures import legend, panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4  # panels in a row
TEXTS = {
    "curves": "The loss of training and validation examples after each epoch, for each method",
    "gap": "The score of training and test examples, for each method",
    "weights": "How many weights have which size at the end, for each method",
    "zeros": "The share of exact zeros after each epoch",
}


def draw(rows: Sequence[Row], plan: Plan, trials: Trials, stem: Path) -> dict[Path, str]:
    """Draw the pictures of a comparison, and return their files and what each shows.

    Args:
        rows: The rows of the table.
        plan: What was compared.
        trials: What remembers the trainings.
        stem: The path of the files without what tells them apart: `runs/compare` for `runs/compare-curves.png`.
    """
    records = {row.method.name: [trials.record(config) for config in row.configs] for row in rows}
    full = {name: ones for name, ones in records.items() if all("history" in one and "weights" in one for one in ones)}
    figures = {
        "curves": _grid(full, _curves, "epoch", "loss without penalty") if full else None,
        "gap": _gap(rows, trials),
        "weights": _grid(full, _weights, "|weight|", "weights (% a bin)") if full else None,
        "zeros": _zeros(full),
    }
    made = {}
    for name, figure in figures.items():
        if figure is not None:
            file = stem.with_name(f"{stem.name}-{name}.png")
            save(figure, file)
            made[file] = TEXTS[name]
    return made


def _grid(
    records: Mapping[str, list[Record]], one: Callable[[Axes, list[Record]], None], across: str, up: str
) -> Figure:
    """Draw one panel for each method, on the same axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = math.ceil(len(records) / COLUMNS)
    figure = Figure(figsize=(3 * min(COLUMNS, len(records)), 2.4 * lines + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, min(COLUMNS, len(records)), squeeze=False, sharey=True)
    for axes, (name, ones) in zip(grid.flat, records.items(), strict=False):
        one(axes, ones)
        axes.set_title(name, fontsize=9, parse_math=False)
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(records) :]:
        axes.set_axis_off()
    figure.supxlabel(across, fontsize=10)
    figure.supylabel(up, fontsize=10)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure


def _curves(axes: Axes, records: list[Record]) -> None:
    """Draw the mean over the seeds, up to the epoch that all of them have."""
    for key, label, style in (("data_loss", "training", "--"), ("val_data_loss", "validation", "-")):
        mean = _mean(records, key)
        axes.plot(np.arange(1, len(mean) + 1), mean, style, label=label, linewidth=1.2)
    axes.set_ylim(bottom=0)


def _weights(axes: Axes, records: list[Record]) -> None:
    counts = np.sum([one["weights"]["bins"] for one in records], axis=0)
    zeros = sum(one["weights"]["zeros"] for one in records)
    total = max(1, counts.sum() + zeros)
    axes.stairs(100 * counts / total, EDGES, fill=True, label="sizes of the weights")
    axes.set_xscale("log")
    axes.text(0.03, 0.93, f"{zeros / total:.0%} zero", transform=axes.transAxes, va="top", fontsize=8)


def _gap(rows: Sequence[Row], trials: Trials) -> Figure:
    """Draw the training and the test score of each method, with the standard deviation over the seeds."""
    figure, [axes] = panels(1, "", height=1.2 + 0.3 * len(rows))
    for key, label, color in (("train_score", "training", "#a0a0a0"), ("test_score", "test", "#1f77b4")):
        found = [[trials.metrics(config)[key] for config in row.configs] for row in rows]
        means = [float(np.mean(ones)) for ones in found]
        errors = [float(np.std(ones, ddof=1)) if len(ones) > 1 else 0.0 for ones in found]
        axes.errorbar(means, range(len(rows)), xerr=errors, fmt="o", markersize=4, capsize=2, label=label, color=color)
    axes.set_yticks(range(len(rows)), [row.method.name for row in rows], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy or R2")
    legend(axes)
    return figure


def _zeros(records: Mapping[str, list[Record]]) -> Figure | None:
    """Draw the share of zeros of the methods that make any."""
    some = {name: _mean(ones, "sparsity") for name, ones in records.items() if "sparsity" in ones[0]["history"]}
    some = {name: values for name, values in some.items() if len(values) and values.max() > 0}
    if not some:
        return None
    figure, [axes] = panels(1, "")
    for name, values in some.items():
        axes.plot(np.arange(1, len(values) + 1), 100 * values, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel("exact zeros (%)")
    legend(axes)
    return figure


def _mean(records: Sequence[Record], key: str) -> np.ndarray:
    values: list[Any] = [one["history"][key] for one in records]
    shortest = min(map(len, values))
    return np.mean([ones[:shortest] for ones in values], axis=0)
