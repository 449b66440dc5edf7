"""How small a network can be at which error: whole trainings, each with the dense one beside it."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from benchmarks import report, sparse_latency
from benchmarks.sparse_recipes import NETWORKS, PENALTIES, RECIPES, Recipe
from benchmarks.sparse_training import load, result
from tf_reg_cli.errors import UserError

REPEATS = 1


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's own flags. `--repeats` is the number of seeds."""
    parser.add_argument("recipe", choices=RECIPES, help="a training of scripts/benchmarks/sparse_recipes.py")
    parser.add_argument("--runs", default="runs/sparse", metavar="FOLDER", help="(default: runs/sparse)")
    parser.add_argument("--data-dir", metavar="TEXT", help="where TensorFlow Datasets keeps its sets")
    parser.add_argument("--validation", action="store_true", help="measure on 10,000 training images that are held out")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings of the recipe")
    parser.add_argument(
        "--latency",
        type=int,
        default=0,
        metavar="N",
        help="then time each network, in N rounds (default: 0, not at all)",
    )
    parser.add_argument("--verbose", type=int, default=0, metavar="N", help="2 for a line an epoch (default: 0)")


def run(flags: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report, a row as soon as its seed is trained.

    A seed that is in the folder `--runs` with the same settings isn't trained again.

    Raises:
        UserError: If a flag or the data is wrong.
    """
    recipe = _changed(RECIPES[flags.recipe], flags.set)
    measured = "10,000 held-out training images" if flags.validation else "the test images"
    folder = _folder(flags, flags.recipe, recipe)
    yield f"{recipe.summary}, {recipe.dataset}, measured on {measured} after the last epoch. Results are in {folder}."
    yield ""
    yield f"`{json.dumps(recipe.settings)}`"
    yield ""
    if recipe.paired:
        yield f"The dense network has the same {recipe.search + recipe.refit} epochs, learning rates and images."
        yield ""
    images = load(recipe.dataset, flags.data_dir, flags.validation)
    dense = _folder(flags, "dense", recipe.dense())
    found = []
    yield from report.header("seed", *COLUMNS)
    for seed in range(flags.repeats):
        found.append(result(recipe, images, seed, folder / str(seed), dense, flags.verbose))
        yield report.row(str(seed), *(_cell(column(found[-1])) for column in COLUMNS.values()))
    yield report.row("mean ± standard error", *(_mean([column(one) for one in found]) for column in COLUMNS.values()))
    if flags.latency:
        yield ""
        kept = {str(seed): folder / str(seed) / "model.keras" for seed in range(flags.repeats)}
        yield from sparse_latency.table(recipe.network, kept, flags.latency)


def _folder(flags: argparse.Namespace, name: str, recipe: Recipe) -> Path:
    settings = {**recipe.settings, "validation": flags.validation}
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    return Path(flags.runs) / f"{name}-{key}"


def _changed(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """A recipe with other settings, from `NAME=VALUE`."""
    fields = {field.name for field in dataclasses.fields(Recipe)} - {"summary"}
    given: dict[str, Any] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in fields or not value:
            raise UserError(f"--set takes NAME=VALUE, of {', '.join(sorted(fields))}. Received: {change}.")
        try:
            given[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            given[name] = value
    try:
        changed = pydantic.TypeAdapter(Recipe).validate_python({**dataclasses.asdict(recipe), **given}, strict=False)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--set {first['loc'][0]}: {first['msg']}. Received: {first['input']!r}.") from error
    if changed.network not in NETWORKS:
        raise UserError(f"--set network takes {', '.join(NETWORKS)}. Received: {changed.network}.")
    if changed.penalty is not None and changed.penalty not in PENALTIES:
        raise UserError(f"--set penalty takes {', '.join(PENALTIES)}. Received: {changed.penalty}.")
    if changed.target is not None and 0 < changed.compacted < changed.search:
        raise UserError(
            f"--set compacted takes 0, or the {changed.search} epochs of the search or more, where there is a target: "
            f"one search can't go on in another network. Received: {changed.compacted}."
        )
    _check_dense(changed)
    return changed


def _check_dense(recipe: Recipe) -> None:
    """Check what a recipe says of its dense network."""
    if not 0 <= recipe.teacher <= 1:
        raise UserError(f"--set teacher takes a share from 0 to 1. Received: {recipe.teacher}.")
    if recipe.temperature <= 0:
        raise UserError(f"--set temperature takes a number above 0. Received: {recipe.temperature}.")
    if recipe.follows and not recipe.paired:
        raise UserError("--set teacher and start=dense need the dense network: paired=True. Received: paired=False.")
    if recipe.teacher and recipe.smoothing:
        raise UserError(f"--set teacher takes labels as they are: smoothing=0. Received: {recipe.smoothing}.")
    if recipe.refit_rate is not None and recipe.penalty is not None and not recipe.compacted:
        raise UserError(
            f"--set refit_rate takes compacted={recipe.search}: a new optimizer doesn't know which zeros stay. "
            "Received: compacted=0."
        )
    if recipe.teacher and recipe.taught == "refit" and not recipe.compacted:
        raise UserError(
            f"--set teacher takes compacted={recipe.search}, or taught=all: the loss changes between the search and a "
            "refit of the compacted network alone. Received: compacted=0."
        )


Column = Callable[[dict[str, Any]], Any]
COLUMNS: dict[str, Column] = {
    "dense error (%)": lambda one: one["dense_error"],
    "error (%)": lambda one: one["error"],
    "difference": lambda one: None if one["dense_error"] is None else one["error"] - one["dense_error"],
    "zeros (%)": lambda one: 100 - 100 * one["nonzero"] / one["weights"],
    "weights / left": lambda one: one["weights"] / max(one["nonzero"], 1),
    "parameters": lambda one: one["parameters"],
    "multiply-adds": lambda one: one["multiply_adds"],
    "of dense (%)": lambda one: _share(one["multiply_adds"], one.get("dense_multiply_adds")),
    "widths": lambda one: "-".join(map(str, one["widths"])),
    "channels": lambda one: _change(one["channels"]["all"]),
    "in streams": lambda one: _change(one["channels"]["streams"]),
    "minutes": lambda one: sum(one["seconds"]) / 60,
}


def _share(part: int | None, whole: int | None) -> float | None:
    return 100 * part / whole if part and whole else None


def _change(pair: Sequence[int]) -> str:
    before, after = pair
    return f"{before} to {after}" if before else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _mean(values: Sequence[Any]) -> str:
    """The mean and its standard error; nothing for words, for what isn't known, and for a single value."""
    if values[0] is None or isinstance(values[0], str) or len(values) < 2:
        return ""
    error = np.std(values, ddof=1) / len(values) ** 0.5
    digits = 0 if isinstance(values[0], int) else 2
    return f"{np.mean(values):,.{digits}f} ± {error:,.{digits}f}"
