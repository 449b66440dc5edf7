"""What a penalty has gained and what it has cost, as the last line of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras

from tf_reg.recipes import training
from tf_reg.recipes.execution import seconds_of_step
from tf_reg_cli.config import Config
from tf_reg_cli.field_types import SPARSE

SHORT = 5.0  # seconds that a training takes at most for which the same one without penalty is trained unasked
PENALTY = (
    "reg", "proximal", "groups", "reweight", "dual_averaging", "strength_schedule", "target_sparsity", "target_of",
    "exact_target", "round_to", "refit_epochs", "layer_factors",
)  # fmt: skip


def wants_baseline(model: keras.Model, config: Config, train_size: int) -> bool:
    """Return whether the same network is to be trained without the penalty too.

    Where no flag says so, it is for penalties that make zeros, if the training takes some seconds. These are estimated
    as for `--steps-per-execution auto`, by no clock.

    Args:
        model: The network.
        config: The configuration, with numbers for all settings.
        train_size: How many training images there are.
    """
    if config.baseline is not None:
        return config.baseline and config.reg != "none"
    batch_size = min(config.batch_size, train_size)
    steps = math.ceil(train_size / batch_size) * (config.epochs or 0)
    return config.reg in SPARSE and steps * seconds_of_step(model, batch_size, config.precision) <= SHORT


def baseline(config: Config) -> dict[str, float]:
    """Train as a configuration says, without its penalty, and return what that gives on the test images.

    Args:
        config: The configuration, with numbers for all settings.
    """
    defaults = Config()
    without = dataclasses.replace(config, **{name: getattr(defaults, name) for name in PENALTY})
    model, images = training.prepare(without)
    training.fit(model, without, images, silent=True)
    losses = model.evaluate(images.test, verbose=0, return_dict=True)
    return {f"baseline_test_{key}": value for key, value in losses.items()}


def words(metrics: Mapping[str, Any], config: Config) -> str:
    """Return what is left of a network and how right it is, in one line; "" for a penalty that makes no zeros.

    Args:
        metrics: What `training.measure` and `baseline` returned.
        config: The configuration.
    """
    if config.reg not in SPARSE or "weights" not in metrics:
        return ""
    units = config.compact or config.has_groups or config.reg == "channels" or config.target_of != "weights"
    left, of = ("live_parameters", "parameters") if units else ("weights_left", "weights")
    said = f"{_percent(metrics[left] / metrics[of])} of the {of} left"
    if "test_r2" in metrics:
        found, before = metrics["test_r2"], metrics.get("baseline_test_r2")
        return f"{said}, test R2 {found:.3f}" + ("" if before is None else f" ({before:.3f} without the penalty)")
    accuracy, before = metrics["test_accuracy"], metrics.get("baseline_test_accuracy")
    if before is None:
        return f"{said}, {100 * accuracy:.1f} % test accuracy"
    if abs(accuracy - before) < 0.5 / metrics["test_size"]:
        return f"{said}, the same test accuracy as without the penalty: {100 * accuracy:.1f} %"
    return f"{said}, {100 * accuracy:.1f} % test accuracy ({100 * before:.1f} % without the penalty)"


def _percent(share: float) -> str:
    """A share in whole percent; with more digits where that would say all or nothing of a part."""
    if 0 < share < 0.1:
        return f"{100 * share:.2g} %"
    return f"{100 * share:.1f} %" if 0.99 < share < 1 else f"{100 * share:.0f} %"
