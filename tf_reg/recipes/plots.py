"""The records of a run as figures: learning curves, and what regularisation did to the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_reg.reporting.figures import legend, panels, save
from tf_reg.tables.column_norms import ColumnNorms

if TYPE_CHECKING:
    from matplotlib.axes import Axes

History = Mapping[str, Sequence[float]]

_MOST_COLUMNS = 40
_MOST_LINES = 8  # colours that the eye can still tell apart


def curves(history: History, path: Path, title: str) -> None:
    """Draw training and validation loss, without the penalty, and accuracy or R2 over the epochs.

    Args:
        history: Keras' `History.history` with `data_loss` and `val_data_loss`, and `accuracy` and `val_accuracy` or, of
            a regression, `r2` and `val_r2`.
        path: The PNG to write.
        title: Stands above the figure.
    """
    figure, (left, right) = panels(2, title)
    numbers = "r2" in history
    loss = "squared error / variance of the target" if numbers else "loss without penalty (nats)"
    score, words = ("r2", "R2") if numbers else ("accuracy", "accuracy (%)")
    for axes, key, label in ((left, "data_loss", loss), (right, score, words)):
        scale = 100 if key == "accuracy" else 1
        for prefix, name, style in (("", "training", "--"), ("val_", "validation", "-")):
            values = scale * np.asarray(history[prefix + key])
            axes.plot(_epochs(values), values, style, label=name, marker=_marker(values))
        _mark_refit(axes, history)
        _label(axes, label)
    left.set_ylim(bottom=0)
    if numbers:
        right.set_ylim(bottom=max(-1.0, right.get_ylim()[0]), top=1)  # the first epochs may be far below
    save(figure, path)


def columns(found: ColumnNorms, path: Path, title: str) -> None:
    """Draw the norm of the weights that read each column of a table, a bar a column.

    Args:
        found: What `tf_reg.column_norms` returned.
        path: The PNG to write.
        title: Stands above the figure.
    """
    names, norms = found.names[:_MOST_COLUMNS], found.norms[:_MOST_COLUMNS]
    figure, [axes] = panels(1, title, height=max(2.4, 1.3 + 0.22 * len(names)))
    places = np.arange(len(names))
    axes.barh(places, norms, color="#1f77b4")
    for place, norm in zip(places.tolist(), norms.tolist(), strict=True):
        axes.text(norm, place, " 0" if norm == 0 else f" {norm:.3g}", va="center", fontsize=8)
    shown = [name if len(name) <= 30 else f"{name[:29]}…" for name in names]
    axes.set_yticks(places, labels=[name.replace("$", r"\$") for name in shown], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.set_xlabel("norm of the weights that read the column")
    axes.grid(axis="x", alpha=0.3)
    if len(found.names) > len(names):
        axes.set_title(f"the {len(names)} largest of {len(found.names)} columns", fontsize=9)
    save(figure, path)


def regularization(
    history: History, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], path: Path, title: str
) -> None:
    """Draw penalty and sparsity of each layer over the epochs, and the weights' histogram before and after.

    Args:
        history: Keras' `History.history` with the per-layer keys of `RegularizationLogger`.
        before: The flattened regularised weights of each layer before training, by layer path.
        after: The same after training.
        path: The PNG to write.
        title: Stands above the figure.
    """
    figure, (left, middle, right) = panels(3, title)
    series = _lines(left, history, "penalty/", 1)
    final = [values[-1] for values in series]
    if min(final) > 0 and max(final) > 50 * min(final):
        left.set_yscale("log")
    _lines(middle, history, "sparsity/", 100)
    for axes in (left, middle):
        _mark_refit(axes, history)
    _label(left, "penalty (units of the loss)")
    middle.set_ylim(-4, 104)
    _label(middle, "exact zeros (% of the layer)")
    _histogram(right, before, after)
    save(figure, path)


def reliability(ways: Mapping[str, Sequence[tuple[float, float, float]]], path: Path, title: str) -> None:
    """Draw the accuracy at each confidence, and how many predictions have that confidence.

    Args:
        ways: For each way of predicting, the share, the mean confidence and the accuracy of each bin, from 0 to 1.
        path: The PNG to write.
        title: Stands above the figure.
    """
    figure, (left, right) = panels(2, title)
    left.plot([0, 100], [0, 100], color="black", linewidth=1, linestyle=":", label="right as often as sure")
    for name, bins in ways.items():
        shares, confidences, accuracies = (100 * np.asarray(column) for column in zip(*bins, strict=True))
        left.plot(confidences, accuracies, marker="o", markersize=3, label=name)
        right.plot(confidences, shares, marker="o", markersize=3, label=name)
    for axes, label in ((left, "accuracy (%)"), (right, "predictions (% a bin)")):
        axes.set_xlabel("confidence (%)")
        axes.set_ylabel(label)
        legend(axes)
    save(figure, path)


def _lines(axes: Axes, history: History, prefix: str, scale: float) -> list[np.ndarray]:
    """Draw one line a layer; past what the eye can tell apart, the largest ones. Returns the lines."""
    series = {
        key.removeprefix(prefix): scale * np.asarray(values)
        for key, values in history.items()
        if key.startswith(prefix)
    }
    shown = sorted(series, key=lambda name: -series[name][-1])[:_MOST_LINES]
    for position, name in enumerate(name for name in series if name in shown):
        width = 1.5 + 5 * (1 - position / len(shown)) / 2  # so that lines on top of each other all show
        axes.plot(_epochs(series[name]), series[name], label=name, marker=_marker(series[name]), linewidth=width)
    if len(series) > len(shown):
        axes.set_title(f"the {len(shown)} largest of {len(series)} layers", fontsize=9)
    return [series[name] for name in shown]


def _mark_refit(axes: Axes, history: History) -> None:
    """Draw a line where zeros began to be kept and the rest to be fitted without penalty, if they did."""
    refits = np.flatnonzero(history.get("refit", []))
    if refits.size:
        axes.axvline(refits[0] + 0.5, color="black", linestyle=":", linewidth=1, label="refit begins")


def _histogram(axes: Axes, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> None:
    """Draw both histograms of |weight| on a logarithmic axis, exact zeros as a share in the legend."""
    both = {"before training": before, "after training": after}
    weights = {name: np.abs(np.concatenate(list(layers.values()))) for name, layers in both.items()}
    weights = {name: values[np.isfinite(values)] for name, values in weights.items()}  # of a run that diverged
    largest = max((values.max() for values in weights.values() if values.size), default=0) or 1.0
    bins = np.geomspace(largest * 1e-7, largest * 1.0001, 71)
    for name, values in weights.items():
        share, other_than_zero = 100 / max(len(values), 1), values[values > 0]
        axes.hist(
            np.clip(other_than_zero, bins[0], None),
            bins=bins.tolist(),
            weights=np.full(len(other_than_zero), share),
            histtype="stepfilled",
            alpha=0.5,
            label=f"{name}: {share * np.count_nonzero(values == 0):.1f} % zero",
        )
    axes.set_xscale("log")
    axes.set_xlabel("|weight|")
    axes.set_ylabel("weights (% a bin)")
    legend(axes)


def _epochs(values: np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _marker(values: np.ndarray) -> str | None:
    return "o" if len(values) < 3 else None  # a line through one point shows nothing


def _label(axes: Axes, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
