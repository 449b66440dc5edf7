"""Which flags need which others, and which exclude each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tf_reg_cli.checks import flag
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import NETWORKS, SPARSE

if TYPE_CHECKING:
    from tf_reg_cli.config import Config

NEEDS: dict[str, tuple[str, tuple[Any, ...]]] = {  # a flag that does nothing but for certain values of another one
    "l1": ("reg", ("l1", "l1l2", "sparse-group")),
    "l2": ("reg", ("l2", "l1l2")),
    "group_lasso": ("reg", ("group", "sparse-group")),
    "groups": ("reg", ("group", "sparse-group")),
    "proximal": ("reg", ("l2", *SPARSE)),
    "target_sparsity": ("reg", SPARSE),
    "hidden": ("model", ("mlp",)),
    "normalization": ("model", NETWORKS),
    "batch_norm": ("model", NETWORKS),
    "flip": ("augment", (True,)),
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "decay_epochs": ("schedule", ("cosine",)),
}


def check(config: Config) -> None:
    """Check the values of a configuration against each other.

    Raises:
        UserError: Two values contradict each other, or one has no effect beside the other.
    """
    if config.image_size is not None and len(config.image_size) > 2:
        raise UserError(f"--image-size takes one number or two, not {len(config.image_size)}.")
    if config.color_mode is not None and not config.dataset.startswith("folder:"):
        raise UserError("--color-mode is for --dataset folder:PATH. Other data sets have their own.")
    if config.mc_samples is not None and not config.dropout:
        raise UserError("--mc-samples does nothing without --dropout.")
    if config.decay_epochs is not None and config.decay_epochs > config.epochs:
        raise UserError(f"--decay-epochs {config.decay_epochs} is more than all {config.epochs} --epochs.")
    _check_strength(config)


def check_given(config: Config, given: Iterable[str]) -> None:
    """Check that every flag that was given has an effect.

    Args:
        config: The whole configuration.
        given: The fields whose flags were given.

    Raises:
        UserError: A flag has no effect beside the other values.
    """
    given = list(given)
    for name in [field for field in given if field in NEEDS]:
        other, values = NEEDS[name]
        if getattr(config, other) not in values:
            wanted = " or ".join(flag(other) if value is True else f"{flag(other)} {value}" for value in values)
            raise UserError(f"{flag(name)} does nothing without {wanted}.")
    if config.target_sparsity is None and "target_of" in given:
        raise UserError("--target-of does nothing without --target-sparsity.")


def _check_strength(config: Config) -> None:
    """Only `Proximal` has a strength that can change in training, and only one schedule may change it."""
    scheduled, target, refit = config.strength_schedule != "constant", config.target_sparsity, config.refit_epochs
    given = {"--strength-schedule": scheduled, "--target-sparsity": target, "--refit-epochs": refit}
    if scheduled and target:
        raise UserError("--strength-schedule and --target-sparsity both move the penalty's factor. Leave one out.")
    for name in [name for name, on in given.items() if on and not config.pays_proximally]:
        raise UserError(
            f"{name} moves a penalty that Proximal pays. Give it one: --reg {' or '.join(SPARSE)}, and no "
            "--no-proximal."
        )
    for name in [name for name, on in given.items() if on and name != "--strength-schedule"]:
        if config.reg not in SPARSE:
            raise UserError(f"--reg {config.reg} makes no zeros. {name} needs --reg {' or '.join(SPARSE)}.")
        if config.early_stopping is not None:
            raise UserError(f"--early-stopping would bring back weights from before {name} took effect.")
    if target and config.target_of == "groups" and config.reg not in ("group", "sparse-group"):
        raise UserError("--target-of groups needs --reg group or --reg sparse-group.")
    if refit is not None and refit >= config.epochs:
        raise UserError(f"--refit-epochs must leave some of the {config.epochs} --epochs before it.")
