"""The report of what a choice of the strength found: a path, a cross-validation, a stability selection, a shrink."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_reg._checks import checked_path, flag, require, shown
from tf_reg.reporting import page
from tf_reg.reporting.figures import legend, panels
from tf_reg.reporting.page import Picture, Section
from tf_reg.selection.cross_validation import CrossValidation, Rule
from tf_reg.selection.frontier import Shrunk
from tf_reg.selection.path import RegularizationPath
from tf_reg.selection.stability import Stability
from tf_reg_cli.files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 200  # coefficients that a picture shows; the largest ones


def report(result: Any, file: str | os.PathLike[str], title: str = "", overwrite: bool = False) -> Path:
    """Write a report of a path, a cross-validation, a stability selection or a shrink: one file of HTML.

    The file has the tables and the pictures, and needs nothing else: no other file and no network. A phone can show it.

    Args:
        result: What `tf_reg.regularization_path`, `tf_reg.cross_validate`, `tf_reg.stability_selection` or
            `tf_reg.shrink` returned.
        file: Where to write, a path that ends with `.html`.
        title: The title; by default what the result is.
        overwrite: Whether a file that exists may be replaced.

    Returns:
        The file.

    Raises:
        ValueError: Something else was given, or the file exists.

    Example:
        >>> def build_model():
        ...     layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1.0))
        ...     model = keras.Sequential([keras.Input((3,)), layer])
        ...     model.compile(tf_reg.Proximal("sgd"), "mse")
        ...     return model
        >>> x = np.random.default_rng(0).normal(size=(20, 3))
        >>> path = tf_reg.regularization_path(build_model, (x, x[:, 0]), count=3, verbose=0)
        >>> tf_reg.report(path, "path.html").name
        'path.html'
    """
    kinds: dict[type, Callable[[Any], tuple[str, str, list[Section]]]]
    kinds = {RegularizationPath: _path, CrossValidation: _validation, Stability: _stability, Shrunk: _shrunk}
    make = next((make for kind, make in kinds.items() if isinstance(result, kind)), None)
    if make is None:
        raise ValueError(
            "report takes what regularization_path, cross_validate, stability_selection or shrink returned. Received: "
            f"result={shown(result)}"
        )
    require(checked_path(file, "file").suffix == ".html", "file ends with .html", "file", file)
    require(isinstance(title, str), "title is a text", "title", title)
    flag(overwrite, "overwrite")
    target = Path(file)
    if target.exists() and not overwrite:
        raise ValueError(f"{target} exists. Choose another file, or overwrite=True. Received: overwrite=False")
    head, lead, sections = make(result)
    with whole(target) as unfinished:
        page.write(unfinished, title or head, sections, lead)
    return target


def _path(path: RegularizationPath) -> tuple[str, str, list[Section]]:
    pictures = [_lines_of(path, "validation" if path.records[0].validation_loss is not None else "training")]
    return (
        "Regularization path",
        f"{len(path)} strengths.",
        [Section("Path", rows=path.rows, words=0, pictures=pictures)],
    )


def _lines_of(path: RegularizationPath, kind: str) -> Picture:
    """Draw the coefficients and the loss over the strengths."""
    figure, (left, right) = panels(2, "")
    weights = np.stack([np.concatenate([w.ravel() for w in path.coefficients(n).values()]) for n in range(len(path))])
    order = np.argsort(-np.abs(weights).max(axis=0))[:MOST_LINES]
    left.plot(path.strengths, weights[:, np.sort(order)], linewidth=1)
    left.axhline(0, color="black", linewidth=0.5)
    left.set_ylabel("weight" if len(order) == weights.shape[1] else f"weight (the {MOST_LINES} largest)")
    losses = [one.train_loss if kind == "training" else one.validation_loss for one in path.records]
    right.plot(path.strengths, np.array(losses, float), marker="o", markersize=3)
    right.set_ylabel(f"{kind} loss")
    _by_strength(left, right)
    return Picture.of(figure, f"The weights and the {kind} loss at each strength")


def _by_strength(*axes: Axes) -> None:
    for one in axes:
        one.set_xscale("log")
        one.set_xlabel("strength")
        legend(one)


def _validation(found: CrossValidation) -> tuple[str, str, list[Section]]:
    figure, [axes] = panels(1, "")
    axes.errorbar(found.strengths, found.mean, found.error, marker="o", markersize=3, capsize=2, linewidth=1)
    styles: dict[Rule, str] = {"min": ":", "1se": "--"}
    for rule, style in styles.items():
        axes.axvline(found.strength(rule), color="black", linestyle=style, linewidth=1, label=rule)
    axes.set_ylabel(f"{found.metric}, mean and standard error")
    _by_strength(axes)
    lead = f"{len(found.values)} folds. min is {found.strength('min'):.3g}, 1se is {found.strength('1se'):.3g}."
    picture = Picture.of(figure, f"The mean {found.metric} over the folds at each strength, with its standard error")
    sections = [Section("Strengths", rows=found.rows, words=0, pictures=[picture])]
    if found.others:
        head = [*found.arguments, found.metric, "strength (1se)"]
        rows = [[*map(str, one.arguments.values()), *_best(one)] for one in (found, *found.others)]
        sections.append(Section("Grid", ["The first row was chosen."], rows=[head, *rows], words=len(found.arguments)))
    kind = "validation" if found.path.records[0].validation_loss is not None else "training"
    sections.append(Section("Path on all examples", pictures=[_lines_of(found.path, kind)]))
    return "Cross-validation", lead, sections


def _best(found: CrossValidation) -> tuple[str, str]:
    return f"{found.mean[found.choose('min')]:.4f}", f"{found.strength('1se'):.3g}"


def _stability(found: Stability) -> tuple[str, str, list[Section]]:
    pictures = []
    for name, shares in found.frequencies.items():
        figure, [axes] = panels(1, name)
        axes.plot(found.strengths, 100 * shares[:, :MOST_LINES], linewidth=1)
        axes.axhline(90, color="black", linestyle=":", linewidth=1)
        axes.set_ylabel("kept in (% of the samples)")
        _by_strength(axes)
        pictures.append(Picture.of(figure, f"In how many samples each input of {name} is kept, at each strength"))
    sections = [Section("Strengths", rows=found.rows, pictures=pictures)]
    for name in found.frequencies:
        kept = np.flatnonzero(found.selected(name))
        text = ", ".join(map(str, kept)) or "none"
        sections.append(Section(f"Inputs of {name} in 90 % of the samples", [text]))
    return "Stability selection", f"{found.samples} samples.", sections


def shrink_sections(found: Shrunk) -> list[Section]:
    """Return the parts of the report of a shrink."""
    figure, [axes] = panels(1, "")
    shares = [100 * one.size.cost / found.original.cost for one in found.frontier]
    for passed, marker in ((True, "o"), (False, "x")):
        chosen = [place for place, one in enumerate(found.frontier) if one.proven is passed]
        label = "passed" if passed else "failed"
        axes.plot([shares[n] for n in chosen], [found.frontier[n].score for n in chosen], marker, label=label)
    axes.plot([100], [found.score], "s", color="black", label="original")
    axes.axhline(found.score - found.max_drop, color="black", linestyle=":", linewidth=1, label="largest drop")
    axes.set_xlabel(f"{found.original.unit} (% of the original)")
    axes.set_ylabel("validation score")
    legend(axes)
    picture = Picture.of(figure, "The size and the validation score of each candidate")
    return [Section("Candidates", rows=found.rows, pictures=[picture])]


def _shrunk(found: Shrunk) -> tuple[str, str, list[Section]]:
    return "Shrink", found.verdict, shrink_sections(found)
