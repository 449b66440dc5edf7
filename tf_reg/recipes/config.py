"""One dataclass that is the whole configuration of a run, its command line and its `config.json`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_reg._checks import UserError
from tf_reg.recipes import commandline
from tf_reg.recipes.commandline import MOST, checked, flag, option, typed_fields


def _number(check: Callable[[Any], bool], expected: str) -> dict[str, Any]:
    return {"check": check, "expected": expected}


COUNT = _number(lambda n: 1 <= n <= MOST, f"from 1 to {MOST}")
POSITIVE = _number(lambda x: 0 < x < float("inf"), "above 0")
NOT_NEGATIVE = _number(lambda x: 0 <= x < float("inf"), "0 or more")
SHARE = _number(lambda x: 0 <= x < 1, "at least 0 and below 1")
COUNTS = _number(lambda sizes: all(1 <= n <= MOST for n in sizes), f"from 1 to {MOST} each")
SEED = _number(lambda n: 0 <= n <= MOST, f"from 0 to {MOST}")
NAME = _number(
    lambda name: bool(re.fullmatch(r"[\w-][\w.+-]{0,99}", name, flags=re.ASCII)),
    "1 to 100 letters, digits, '.', '_', '+' or '-', no '.' or '+' first",
)

SPARSE = ("l1", "l1l2", "group", "sparse-group")  # penalties whose proximal map makes zeros
NETWORKS = ("linear", "mlp", "cnn")  # the articles'
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


def _is_network(name: str) -> bool:
    if name in NETWORKS:
        return True
    from tf_reg.recipes import applications  # Keras takes seconds to import

    return name in applications.names()


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train, how to regularise it, and where to put it. Every field is a flag of `scripts/train.py`.

    Raises:
        UserError: If a value has the wrong type or is out of range; the message names the flag.
    """

    dataset: str = option(
        "digits",
        "digits, the name of a TensorFlow Datasets image classification set, or folder:PATH",
        group="data",
    )
    data_dir: str | None = option(None, "where TensorFlow Datasets keeps its sets (default: $TFDS_DATA_DIR)")
    image_size: tuple[int, int] | None = option(
        None, "resize images to this height and width, in pixels: one number or two", **COUNTS
    )
    train_size: int | None = option(None, "train on that many examples only", **COUNT)
    validation_split: float = option(
        0.1,
        "share of the training examples to validate on",
        **_number(lambda x: 0 < x < 1, "between 0 and 1"),
    )
    model: str = option(
        "mlp",
        "the network: linear, mlp, cnn, or the name of one of keras.applications, as MobileNetV2",
        **_number(_is_network, "linear, mlp, cnn or a name in keras.applications"),
        group="model",
    )
    weights: str | None = option(
        None,
        "a file to start from: model.keras of an earlier run, or a .h5 file that Keras publishes for a network of "
        "keras.applications without its top",
    )
    hidden: tuple[int, ...] = option((128,), "units of each hidden layer of the mlp", **COUNTS)
    normalization: str = option("dataset", "constants of the model's input layer", choices=("dataset", "imagenet"))
    reg: str = option("none", "penalty on every kernel", choices=("none", "l2", *SPARSE), group="regularisation")
    l1: float = option(1e-5, "strength of L1: l1 * sum|w|", **NOT_NEGATIVE)
    l2: float = option(1e-4, "strength of L2: l2 * sum w^2", **NOT_NEGATIVE)
    group_lasso: float = option(
        1e-4, "strength of the group lasso: group_lasso * sum_g sqrt(|g|) ||w_g||", **NOT_NEGATIVE
    )
    groups: str = option(
        "outputs",
        "the groups: all weights of an output of a layer, or of an input (of the last layer always an input)",
        choices=("inputs", "outputs"),
    )
    proximal: bool | None = option(
        None, "pay the penalty by tf_reg.Proximal, which makes exact zeros (default: but for l2)"
    )
    strength_schedule: str = option(
        "constant",
        "factor of the penalty in Proximal: 1; from 0 to 1 in half the epochs; up while the gap between validation and "
        "training grows",
        choices=("constant", "rise", "gap"),
    )
    target_sparsity: float | None = option(
        None,
        "move the factor until that share is exactly zero, then keep the zeros and refit the rest",
        **_number(lambda x: 0 < x < 1, "between 0 and 1"),
    )
    target_of: str = option(
        "weights",
        "share of what: zero weights, dead groups, or parameters that dead inputs and outputs save",
        choices=("weights", "groups", "parameters"),
    )
    refit_epochs: int | None = option(
        None,
        "last epochs, in which zeros stay and the rest is fitted without penalty (default with --target-sparsity: a "
        "third)",
        **COUNT,
    )
    dropout: float = option(0.0, "dropout rate after each hidden dense layer (linear: of the pixels)", **SHARE)
    mc_samples: int | None = option(
        None, "after training, compare one pass with the mean of that many under --dropout, on the test images", **COUNT
    )
    batch_norm: bool = option(False, "batch normalisation after each hidden layer (linear: of the pixels)")
    augment: bool = option(False, "random shifts, rotations, zooms, and flips where they keep the class")
    flip: bool | None = option(None, "mirror images in --augment (default: where that keeps the class)")
    weight_decay: float = option(0.0, "the optimizer's own decoupled weight decay, for kernels", **NOT_NEGATIVE)
    early_stopping: int | None = option(
        None,
        "stop after that many epochs without a lower val_data_loss and restore the best weights",
        const=5,
        **COUNT,
    )
    label_smoothing: float = option(0.0, "share of the label spread over all classes", **SHARE)
    epochs: int = option(20, "passes over the training examples", **COUNT, group="training")
    batch_size: int = option(128, "examples a step", **COUNT)
    optimizer: str = option("adam", "the optimizer", choices=("adam", "sgd", "rmsprop", "adagrad"))
    learning_rate: float = option(1e-3, "learning rate, at the start of a schedule", **POSITIVE)
    momentum: float = option(0.0, "momentum of sgd and rmsprop", **SHARE)
    schedule: str = option("constant", "course of the learning rate", choices=("constant", "cosine"))
    decay_epochs: int | None = option(
        None, "the last epochs, in which --schedule cosine falls; constant before (default: all)", **COUNT
    )
    seed: int = option(0, "seed of the split, the weights and the batches", **SEED)
    precision: str = option("float32", "dtype policy", choices=("float32", "mixed_bfloat16", "mixed_float16"))
    steps_per_execution: int = option(1, "steps a call of the compiled function", **COUNT)
    jit: bool = option(False, "compile the step with XLA")
    name: str | None = option(
        None, "name of the run (default: made of dataset, model and methods)", **NAME, group="output"
    )
    runs_dir: str = option("runs", "where the run's folder goes")
    saved_models_dir: str = option("saved_models", "where the SavedModel goes: <dir>/<name>/<version>")
    quiet: bool = option(False, "one line an epoch instead of a progress bar")

    def __post_init__(self) -> None:
        for field, annotation in typed_fields(Config):
            object.__setattr__(self, field.name, checked(field, annotation, getattr(self, field.name)))
        if self.image_size is not None:
            if len(self.image_size) > 2:
                raise UserError(f"--image-size takes one number or two, not {len(self.image_size)}.")
            object.__setattr__(self, "image_size", (self.image_size[0], self.image_size[-1]))
        if self.mc_samples is not None and not self.dropout:
            raise UserError("--mc-samples does nothing without --dropout.")
        if self.decay_epochs is not None and self.decay_epochs > self.epochs:
            raise UserError(f"--decay-epochs {self.decay_epochs} is more than all {self.epochs} --epochs.")
        self._check_proximal()

    def _check_proximal(self) -> None:
        """What moves the factor of the penalty needs `Proximal`, and only one thing may move it."""
        scheduled, target, refit = self.strength_schedule != "constant", self.target_sparsity, self.refit_epochs
        given = {"--strength-schedule": scheduled, "--target-sparsity": target, "--refit-epochs": refit}
        if scheduled and target:
            raise UserError("--strength-schedule and --target-sparsity both move the penalty's factor. Leave one out.")
        for name in [name for name, on in given.items() if on and not self.pays_proximally]:
            raise UserError(
                f"{name} moves a penalty that Proximal pays. Give it one: --reg {' or '.join(SPARSE)}, and no "
                "--no-proximal."
            )
        for name in [name for name, on in given.items() if on and name != "--strength-schedule"]:
            if self.reg not in SPARSE:
                raise UserError(f"--reg {self.reg} makes no zeros. {name} needs --reg {' or '.join(SPARSE)}.")
            if self.early_stopping is not None:
                raise UserError(f"--early-stopping would bring back weights from before {name} took effect.")
        if target and self.target_of == "groups" and self.reg not in ("group", "sparse-group"):
            raise UserError("--target-of groups needs --reg group or --reg sparse-group.")
        if refit is not None and refit >= self.epochs:
            raise UserError(f"--refit-epochs must leave some of the {self.epochs} --epochs before it.")

    @property
    def pays_proximally(self) -> bool:
        """Whether the penalty is paid by `tf_reg.Proximal` and not in the loss."""
        return self.reg in SPARSE if self.proximal is None else self.proximal and self.reg != "none"

    def save(self, path: Path) -> None:
        """Write the configuration as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @property
    def methods(self) -> list[str]:
        """The regularisation methods that are switched on, as words for a name or a title."""
        switches = {
            self.reg: self.reg != "none",
            "dropout": self.dropout,
            "bn": self.batch_norm,
            "augment": self.augment,
            "wd": self.weight_decay,
            "es": self.early_stopping,
            "ls": self.label_smoothing,
        }
        return [word for word, on in switches.items() if on]


def parser(description: str | None = None) -> argparse.ArgumentParser:
    """Return a parser with a flag for every field of `Config`, which raises `UserError` for a mistake."""
    made = commandline.parser(Config, description)
    made.add_argument("--config", metavar="FILE", help="a config.json of an earlier run to start from")
    return made


def from_flags(flags: argparse.Namespace) -> Config:
    """Return the configuration that parsed flags ask for; they win over `--config FILE`.

    Raises:
        UserError: As `Config`, and if the file can't be read or has unknown names.
    """
    given = {field.name: vars(flags)[field.name] for field, _ in typed_fields(Config) if field.name in vars(flags)}
    config = Config(**(_read(Path(flags.config)) if flags.config else {}) | given)
    for name in [field for field in given if field in NEEDS]:
        other, values = NEEDS[name]
        if getattr(config, other) not in values:
            wanted = " or ".join(flag(other) if value is True else f"{flag(other)} {value}" for value in values)
            raise UserError(f"{flag(name)} does nothing without {wanted}.")
    if config.target_sparsity is None and "target_of" in given:
        raise UserError("--target-of does nothing without --target-sparsity.")
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--config {path} can't be read as JSON: {error}.") from error
    if not isinstance(loaded, dict):
        raise UserError(f"--config {path} must hold a JSON object, as the config.json of a run does.")
    unknown = sorted(set(loaded) - {field.name for field in dataclasses.fields(Config)})
    if unknown:
        raise UserError(f"--config {path} has unknown names: {', '.join(unknown)}.")
    return loaded
