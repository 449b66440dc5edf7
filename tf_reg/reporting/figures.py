"""Figures as PNG files, without a window and without matplotlib's global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def panels(number: int, title: str, height: float = 3.9) -> tuple[Figure, list[Axes]]:
    """Return a figure with some axes in a row.

    Args:
        number: How many axes.
        title: Stands above the figure.
        height: That of the figure, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * number, height), layout="constrained")
    FigureCanvasAgg(figure)  # no window and no global state, whatever the user's matplotlib is set to
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def legend(axes: Axes) -> None:
    """Draw a grid, and the legend under the axes, where it covers no data."""
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=8, frameon=False)


def save(figure: Figure, file: Path | Any) -> None:
    """Write a figure as a PNG.

    Args:
        figure: The figure.
        file: A path, or a stream of bytes.
    """
    figure.savefig(file, dpi=110, format="png")
