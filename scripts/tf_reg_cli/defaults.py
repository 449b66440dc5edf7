"""The settings that depend on the training images, where no flag gives them."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_reg_cli.checks import flag
from tf_reg_cli.field_types import GROUPED, NETWORKS, SPARSE
from tf_reg_cli.fields import option

if TYPE_CHECKING:
    from tf_reg_cli.config import Config


class Course(NamedTuple):
    """How a network is trained."""

    epochs: int
    learning_rate: float


FEW = 10_000
SMALL, LARGE = Course(60, 0.01), Course(20, 0.001)  # with fewer training images than that, and with more
# Strengths, times the root of the number of training images. Chosen on validation images of digits: docs/results.md.
STRENGTHS = {
    "l1": 0.014, "l2": 0.011, "group_lasso": 0.0277, "channel_lasso": 0.042, "mcp": 0.0277, "scad": 0.0277,
    "log_sum": 0.011, "lq": 0.00335,
}  # fmt: skip
ADAMW = 0.004  # the weight decay of keras.optimizers.AdamW
# The same for tables. That of the group lasso by validation rows of the four tables that have a name: docs/tables.md.
OF_TABLES = STRENGTHS | {"l1": 0.07, "group_lasso": 0.14}
FLAT_FROM = 0.1  # the weight from which on mcp and scad are flat
OF_PENALTY = {
    "l1": ("l1",), "l2": ("l2",), "l1l2": ("l1", "l2"), "group": ("group_lasso",),
    "sparse-group": ("l1", "group_lasso"), "channels": ("channel_lasso",), "mcp": ("mcp", "mcp_gamma"),
    "scad": ("scad", "scad_a"), "log-sum": ("log_sum",), "lq": ("lq",),
}  # fmt: skip


def strength(name: str, text: str) -> Any:
    """Declare a strength whose default falls with the number of training images."""
    of_tables = f"; of tables {OF_TABLES[name]:g} / root of rows" if OF_TABLES[name] != STRENGTHS[name] else ""
    return option(None, f"{text} (default: {STRENGTHS[name]:g} / root of training images{of_tables})")


def missing(config: Config, train_size: int) -> dict[str, Any]:
    """Return the settings that have an effect and that no flag gives, by their names.

    Args:
        config: A configuration.
        train_size: How many training images there are.
    """
    course = SMALL if train_size < FEW else LARGE
    rate = course.learning_rate if config.model in NETWORKS else LARGE.learning_rate
    values: dict[str, Any] = {"epochs": course.epochs, "learning_rate": rate}
    names = OF_PENALTY.get(config.reg, ())
    strengths = OF_TABLES if config.is_table else STRENGTHS
    values |= {name: _rounded(strengths[name] / math.sqrt(train_size)) for name in names if name in strengths}
    for size, slope in (("mcp_gamma", "mcp"), ("scad_a", "scad")):
        if size in names:
            given = getattr(config, slope)
            values[size] = max(1.001, FLAT_FROM / max(values[slope] if given is None else given, 1e-9))
    if config.is_table and config.reg in GROUPED:
        values["groups"] = "inputs"
    values = {name: value for name, value in values.items() if getattr(config, name) is None}
    if config.optimizer == "adamw" and not config.weight_decay:
        values["weight_decay"] = ADAMW
    return values


def filled(config: Config, train_size: int) -> Config:
    """Return a configuration with a number for every setting that has an effect.

    Raises:
        UserError: A flag that was given contradicts one of these numbers.
    """
    values = missing(config, train_size)
    return dataclasses.replace(config, **values) if values else config


def words(config: Config, train_size: int) -> str:
    """Return the settings that no flag gives as flags, in a line."""
    values = missing(config, train_size)
    refit = refit_epochs(filled(config, train_size))
    if refit and config.refit_epochs is None and config.target_sparsity is None:
        values["refit_epochs"] = refit
    flags = " ".join(
        f"{flag(name)} {value if isinstance(value, str) else format(value, 'g')}" for name, value in values.items()
    )
    what = f"{train_size:,} training {'rows' if config.is_table else 'images'}"
    return f"{what}: {flags}" if flags else what


def refit_epochs(config: Config) -> int:
    """Return in how many of the last epochs zeros stay and the rest is fitted without penalty."""
    if config.refit_epochs is not None:
        return config.refit_epochs
    makes_zeros = config.reg in SPARSE and config.pays_proximally
    if not makes_zeros or config.early_stopping is not None or config.strength_schedule == "gap":
        return 0
    return (config.epochs or 0) // 3


def _rounded(value: float) -> float:
    """Two digits, which are easy to read and to type."""
    return float(f"{value:.1e}")
