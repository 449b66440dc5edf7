"""Which flags need which others, and which exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tf_reg_cli.checks import flag
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import CONCAVE, CONVEX, GROUPED, MAYBE_GROUPED, NETWORKS, OF_TABLES, SCALED, SPARSE

if TYPE_CHECKING:
    from tf_reg_cli.config import Config

NEEDS: dict[str, tuple[str, tuple[Any, ...]]] = {  # a flag that does nothing but for certain values of another one
    "l1": ("reg", ("l1", "l1l2", "sparse-group")),
    "l2": ("reg", ("l2", "l1l2")),
    "group_lasso": ("reg", GROUPED),
    "channel_lasso": ("reg", ("channels",)),
    "size_weights": ("reg", ("channels",)),
    "mcp": ("reg", ("mcp",)),
    "mcp_gamma": ("reg", ("mcp",)),
    "scad": ("reg", ("scad",)),
    "scad_a": ("reg", ("scad",)),
    "log_sum": ("reg", ("log-sum",)),
    "log_sum_epsilon": ("reg", ("log-sum",)),
    "lq": ("reg", ("lq",)),
    "lq_power": ("reg", ("lq",)),
    "groups": ("reg", (*GROUPED, *MAYBE_GROUPED)),
    "layer_factors": ("reg", SCALED),
    "proximal": ("reg", ("l2", *SPARSE)),
    "target_sparsity": ("reg", SPARSE),
    "hidden": ("model", ("mlp",)),
    "normalization": ("model", NETWORKS),
    "batch_norm": ("model", NETWORKS),
    "flip": ("augment", (True,)),
    "augment_strength": ("augment", (True,)),
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
    if config.skip_damaged and not config.dataset.startswith("folder:"):
        raise UserError("--skip-damaged is for --dataset folder:PATH.")
    _check_table(config)
    if config.mc_samples is not None and not config.dropout:
        raise UserError("--mc-samples does nothing without --dropout.")
    _check_epochs(config)
    _check_averages(config)
    _check_penalty(config)
    _check_strength(config)
    _check_target(config)


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
            wanted = flag(other) if values == (True,) else f"{flag(other)} {one_of(values)}"
            raise UserError(f"{flag(name)} does nothing without {wanted}.")
    if config.target_sparsity is None and "target_of" in given:
        raise UserError("--target-of does nothing without --target-sparsity.")


def one_of(words: Sequence[str]) -> str:
    """Return words as "a, b or c"."""
    return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def _check_table(config: Config) -> None:
    """What tables take and images don't, and the other way round."""
    of_tables: dict[str, Any] = {"target": None, "task": None, "categorical": None, "drop": None}
    of_images: dict[str, Any] = {
        "data_dir": None,
        "image_size": None,
        "augment": False,
        "normalization": "dataset",
        "flip": None,
        **dict.fromkeys(("rand_augment", "random_erasing", "mixup", "cutmix")),
    }
    for name, default in (of_images if config.is_table else of_tables).items():
        if getattr(config, name) != default:
            what, other = ("images", "a table") if config.is_table else ("a table", "images")
            raise UserError(f"{flag(name)} is for {what}. --dataset {config.dataset} is {other}. Leave it out.")
    if not config.is_table:
        return
    if config.model not in OF_TABLES:
        raise UserError(f"--model {config.model} takes images. A table takes --model {one_of(OF_TABLES)}.")
    of_classes: dict[str, Any] = {"label_smoothing": 0.0, "mc_samples": None, "calibrate": False}
    for name, default in of_classes.items() if config.task == "regression" else ():
        if getattr(config, name) != default:
            raise UserError(f"{flag(name)} is for classes. The target is a number: a regression. Leave it out.")


def _check_penalty(config: Config) -> None:
    """Which penalties the network and the optimizer take."""
    if config.reg == "channels" and config.model == "linear":
        raise UserError("--reg channels needs units or filters that can go. --model linear has none: take mlp or cnn.")
    if config.layer_factors and config.reg not in ("none", *SCALED):
        raise UserError(f"--layer-factors takes --reg {one_of(SCALED)}. Received: --reg {config.reg}.")
    if config.reg == "lq" and not config.pays_proximally:
        raise UserError("--reg lq has no gradient at zero that could be followed. Leave out --no-proximal.")
    needs = {"--reweight": (config.reweight, SPARSE), "--dual-averaging": (config.dual_averaging, CONVEX)}
    for name, takes in [(name, takes) for name, (on, takes) in needs.items() if on]:
        if config.reg in CONCAVE and config.reg not in takes:
            raise UserError(f"{name} needs a convex penalty: --reg {one_of(takes)}. Received: --reg {config.reg}.")
        if config.reg not in takes or not config.pays_proximally:
            raise UserError(
                f"{name} needs a penalty that gives zeros and that Proximal pays: --reg {one_of(takes)}, and no "
                "--no-proximal."
            )


def _check_epochs(config: Config) -> None:
    """What needs a number of epochs, as soon as it is known."""
    if config.epochs is None:
        return
    if config.decay_epochs is not None and config.decay_epochs > config.epochs:
        raise UserError(f"--decay-epochs {config.decay_epochs} is more than all {config.epochs} --epochs.")
    if config.swa is not None and config.swa > config.epochs:
        raise UserError(f"--swa {config.swa} is more than all {config.epochs} --epochs.")
    if config.reweight and config.epochs < 2:
        raise UserError("--reweight renews the factors from the second epoch on. Give it 2 --epochs or more.")
    if config.refit_epochs is not None and config.refit_epochs >= config.epochs:
        raise UserError(f"--refit-epochs must leave some of the {config.epochs} --epochs before it.")


def _check_averages(config: Config) -> None:
    """Only one average of the weights can be what a training ends with."""
    given = [name for name, on in (("--ema", config.ema), ("--swa", config.swa)) if on]
    if len(given) > 1:
        raise UserError("--ema and --swa both end with an average of the weights. Leave one out.")
    if given and config.early_stopping is not None:
        raise UserError(
            f"--early-stopping would bring back the weights of one epoch, {given[0]} averages. Leave one out."
        )


def _check_strength(config: Config) -> None:
    """Only `Proximal` has a strength that can change in training, and only one schedule may change it."""
    scheduled, target, refit = config.strength_schedule != "constant", config.target_sparsity, config.refit_epochs
    given = {"--strength-schedule": scheduled, "--target-sparsity": target, "--refit-epochs": refit}
    if scheduled and target:
        raise UserError("--strength-schedule and --target-sparsity both move the penalty's factor. Leave one out.")
    for name in [name for name, on in given.items() if on and not config.pays_proximally]:
        raise UserError(
            f"{name} moves a penalty that Proximal pays. Give it one: --reg {one_of(SPARSE)}, and no --no-proximal."
        )
    for name in [name for name, on in given.items() if on and name != "--strength-schedule"]:
        if config.reg not in SPARSE:
            raise UserError(f"--reg {config.reg} makes no zeros. {name} needs --reg {one_of(SPARSE)}.")
        if config.early_stopping is not None:
            raise UserError(f"--early-stopping would bring back weights from before {name} took effect.")


def _check_target(config: Config) -> None:
    """What a target can count, and which targets can be met exactly."""
    of, grouped = config.target_of, f"--reg {one_of(GROUPED)}, or {one_of(MAYBE_GROUPED)} with --groups"
    for name, on in {"--exact-target": config.exact_target, "--round-to": config.round_to}.items():
        if on and config.target_sparsity is None:
            raise UserError(f"{name} does nothing without --target-sparsity.")
    if config.target_sparsity is not None and of == "groups" and not config.has_groups:
        raise UserError(f"--target-of groups needs {grouped}. For --reg channels, count channels.")
    if config.target_sparsity is not None and of == "channels":
        if config.model == "linear":
            raise UserError("--target-of channels counts units and filters. --model linear has none.")
        if config.has_groups and config.groups != "inputs":
            raise UserError(
                "--target-of channels can't make units zero by groups of outputs, which leave their biases. Take --reg "
                "channels or --groups inputs."
            )
    if config.exact_target and of in ("parameters", "flops"):
        raise UserError(f"--exact-target takes --target-of weights, groups or channels. Received: {of}.")
    if config.round_to is not None and not config.exact_target:
        raise UserError("--round-to does nothing without --exact-target.")
    if config.round_to is not None and of == "weights":
        raise UserError("--round-to takes --target-of groups or channels. Received: weights.")
