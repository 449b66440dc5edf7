"""The configuration of a run: its fields, and what each of them may be."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Literal

import pydantic

from tf_reg_cli import agreement
from tf_reg_cli.checks import validated
from tf_reg_cli.defaults import ADAMW, FEW, FLAT_FROM, LARGE, SMALL, strength
from tf_reg_cli.field_types import (
    GROUPED,
    MAYBE_GROUPED,
    SPARSE,
    TABLES,
    AboveOne,
    Between,
    Count,
    CountOrAuto,
    CountOrNone,
    Counts,
    Dataset,
    Factors,
    Name,
    Names,
    Network,
    NotNegative,
    Penalty,
    Place,
    Positive,
    Seed,
    Share,
    Strength,
    Target,
    is_table,
)
from tf_reg_cli.fields import flags_of, option
from tf_reg_cli.files import write_whole


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train, how to regularise it, and where to put it. Every field is a flag of `tf-reg train`.

    Raises:
        UserError: A value has the wrong type, is out of range or contradicts another one; the message names the flag.
    """

    dataset: Dataset = option(
        "digits",
        "digits, the name of a TensorFlow Datasets image classification set, or folder:PATH; or a table: csv:FILE, "
        f"parquet:FILE, npz:FILE, {', '.join(TABLES)}",
        group="Data",
    )
    target: str | None = option(None, "the column of a table to predict")
    task: Literal["classification", "regression"] | None = option(
        None, "what the target is (default: text and up to 10 different whole numbers are classes, others a regression)"
    )
    categorical: Names | None = option(None, "columns of a table whose numbers are names, such as codes")
    drop: Names | None = option(None, "columns of a table to leave out")
    data_dir: Place | None = option(None, "where TensorFlow Datasets keeps its sets (default: $TFDS_DATA_DIR)")
    image_size: Counts | None = option(None, "resize images to this height and width, in pixels: one number or two")
    color_mode: Literal["grayscale", "rgb"] | None = option(
        None, "the channels of the images of a folder (default: grayscale where all are grey)"
    )
    skip_damaged: bool = option(False, "leave out the images of a folder that are damaged, and count them")
    train_size: Count | None = option(None, "train on that many examples only")
    validation_split: Between = option(0.1, "share of the training examples to validate on")
    model: Network = option(
        "mlp",
        "the network: linear, mlp, cnn, or the name of one of keras.applications, as MobileNetV2",
        group="Model",
    )
    weights: Place | None = option(
        None,
        "what to start from: the folder of an earlier run, its model.keras, or a .h5 file that Keras publishes for a "
        "network of keras.applications without its top",
    )
    hidden: Counts = option((128,), "units of each hidden layer of the mlp")
    normalization: Literal["dataset", "imagenet"] = option("dataset", "constants of the model's input layer")
    reg: Penalty = option("none", "penalty on every kernel", group="Regularisation")
    l1: Strength = strength("l1", "strength of L1: l1 * sum|w|")
    l2: Strength = strength("l2", "strength of L2: l2 * sum w^2")
    group_lasso: Strength = strength("group_lasso", "strength of the group lasso: group_lasso*sum_g sqrt(|g|) ||w_g||")
    channel_lasso: Strength = strength(
        "channel_lasso", "strength of the group lasso of channels, a unit or filter with all that goes with it"
    )
    size_weights: Literal["sizes", "flops", "none"] = option(
        "sizes",
        "what a channel's norm is multiplied by: the root of its size, a share of the multiply-adds, or nothing",
    )
    mcp: Strength = strength("mcp", "strength of the minimax concave penalty: its slope at zero, which falls to 0")
    mcp_gamma: Positive | None = option(
        None, f"mcp is flat for weights from mcp_gamma * mcp on (default: where that is {FLAT_FROM})"
    )
    scad: Strength = strength("scad", "strength of SCAD: its slope up to a weight of scad, which then falls to 0")
    scad_a: AboveOne | None = option(
        None, f"scad is flat for weights from scad_a * scad on (default: where that is {FLAT_FROM})"
    )
    log_sum: Strength = strength("log_sum", "strength of the log-sum penalty: its slope at zero")
    log_sum_epsilon: Positive = option(0.1, "the weight at which the slope of the log-sum penalty is halved")
    lq: Strength = strength("lq", "strength of the power penalty: lq * sum|w|^lq_power")
    lq_power: Literal["0", "1/2", "2/3"] = option("1/2", "the power of lq; 0 counts the weights that aren't zero")
    groups: Literal["inputs", "outputs"] | None = option(
        None,
        "the groups: all weights of an output of a layer, or of an input (of the last layer always an input); the "
        "inputs of a table are its columns (default: outputs with group and sparse-group, inputs for tables; with mcp, "
        "scad and log-sum single weights)",
    )
    layer_factors: Factors | None = option(
        None,
        "what the strengths are multiplied by in single layers: hidden_1=0.5 logits=2 (not with mcp, scad, channels)",
    )
    proximal: bool | None = option(
        None, "pay the penalty by tf_reg.Proximal, which makes exact zeros (default: but for l2)"
    )
    reweight: bool = option(
        False, "renew the penalty's factor of each weight or group every epoch: small ones pay more, large ones less"
    )
    dual_averaging: bool = option(
        False, "let the average of all gradients decide what is zero, so that zeros stay in mini-batches"
    )
    strength_schedule: Literal["constant", "rise", "gap"] = option(
        "constant",
        "factor of the penalty in Proximal: 1; from 0 to 1 in half the epochs; up while the gap between validation and "
        "training grows",
    )
    target_sparsity: Between | None = option(
        None, "move the factor until that share is exactly zero, then keep the zeros and refit the rest"
    )
    target_of: Target = option(
        "weights",
        "share of what: zero weights, dead groups, dead channels, or parameters or multiply-adds (flops) that "
        "compaction saves",
    )
    exact_target: bool = option(False, "meet the target exactly: the largest weights, groups or channels stay")
    round_to: Count | None = option(
        None,
        "what stays of each layer's groups or channels is a multiple of that, or all of them (with --exact-target)",
    )
    refit_epochs: CountOrNone | None = option(
        None,
        "last epochs, in which zeros stay and the rest is fitted without penalty (default: a third with a penalty that "
        "makes zeros by Proximal; none with --early-stopping or --strength-schedule gap)",
    )
    dropout: Share = option(0.0, "dropout rate after each hidden dense layer (linear: of the pixels)")
    mc_samples: Count | None = option(
        None, "after training, compare one pass with the mean of that many under --dropout, on the test images"
    )
    calibrate: bool = option(
        False, "fit a temperature to the validation images after training; the SavedModel's probabilities have it"
    )
    batch_norm: bool = option(False, "batch normalisation after each hidden layer (linear: of the pixels)")
    augment: bool = option(False, "random shifts, rotations, zooms, and flips where they keep the class")
    augment_strength: Positive = option(
        1.0, "factor of the changes of --augment: 1 for shifts and zooms of up to 10 % and turns of up to 11 degrees"
    )
    flip: bool | None = option(None, "mirror images in --augment (default: where that keeps the class)")
    rand_augment: Between | None = option(
        None,
        "two random changes of an image each time (RandAugment), of that strength (0.5 if none is given)",
        alone=0.5,
    )
    random_erasing: Between | None = option(
        None, "a random rectangle of noise on that share of the images (0.5 if none is given)", alone=0.5
    )
    mixup: Positive | None = option(
        None, "mix pairs of images and labels; alpha of the share's beta distribution (0.2 if none is given)", alone=0.2
    )
    cutmix: Positive | None = option(
        None,
        "paste a piece of another image, and that share of its label; alpha as in --mixup (1 if none is given)",
        alone=1,
    )
    max_norm: Positive | None = option(
        None,
        "the largest norm of the weights into a unit or filter (Keras' constraint MaxNorm; 3 if none is given)",
        alone=3,
    )
    ema: Between | None = option(
        None,
        "validate and end with a moving average of the weights, of that momentum (0.99 if none is given)",
        alone=0.99,
    )
    swa: Count | None = option(
        None, "end with the mean of the weights of the last epochs, that many (5 if none is given)", alone=5
    )
    weight_decay: NotNegative = option(0.0, "the optimizer's own decoupled weight decay, for kernels")
    early_stopping: Count | None = option(
        None,
        "stop after that many epochs (5 if no number is given) without a lower val_data_loss and restore the best "
        "weights",
        alone=5,
    )
    label_smoothing: Share = option(0.0, "share of the label spread over all classes")
    epochs: Count | None = option(
        None,
        f"passes over the training examples (default: {SMALL.epochs} with fewer than {FEW:,} training images, else "
        f"{LARGE.epochs})",
        group="Training",
    )
    batch_size: Count = option(128, "examples a step at most; the steps of an epoch have about as many each")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "adagrad"] = option(
        "adam", f"the optimizer; adamw is adam with a --weight-decay of {ADAMW:g} where none is given"
    )
    learning_rate: Positive | None = option(
        None,
        f"learning rate, at the start of a schedule (default: {SMALL.learning_rate:g} with fewer than {FEW:,} training "
        f"images, else {LARGE.learning_rate:g}; of keras.applications always {LARGE.learning_rate:g})",
    )
    clipnorm: Positive | None = option(None, "the largest norm of a weight's gradient")
    momentum: Share = option(0.0, "momentum of sgd and rmsprop")
    schedule: Literal["constant", "cosine"] = option("constant", "course of the learning rate")
    decay_epochs: Count | None = option(
        None, "the last epochs, in which --schedule cosine falls; constant before (default: all)"
    )
    seed: Seed = option(0, "seed of the split, the weights and the batches")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option("float32", "dtype policy")
    steps_per_execution: CountOrAuto = option(
        "auto",
        "steps a call of the compiled function; callbacks run between calls. auto: as many as take about 0.1 s on a "
        "small machine, by the sizes of network and batch; 1 with --target-sparsity",
    )
    jit: bool = option(False, "compile the step with XLA")
    compact: bool = option(
        False,
        "cut out what has no effect after training, export the small model, and print what that saves",
        group="Output",
    )
    baseline: bool | None = option(
        None,
        "train the same network without the penalty too, for the last line, which says what the penalty has gained and "
        "cost (default: with a penalty that makes zeros, where that takes some seconds)",
    )
    name: Name | None = option(None, "name of the run (default: made of dataset, model and methods)")
    runs_dir: Place = option("runs", "where the run's folder goes")
    saved_models_dir: Place = option("saved_models", "where the SavedModel goes: <dir>/<name>/<version>")
    quiet: bool = option(False, "one line an epoch instead of a progress bar")

    def __post_init__(self) -> None:
        for name, value in validated(_FIELDS, vars(self)).items():
            object.__setattr__(self, name, value)
        agreement.check(self)
        if self.image_size is not None:
            object.__setattr__(self, "image_size", (self.image_size[0], self.image_size[-1]))

    @property
    def pays_proximally(self) -> bool:
        """Whether the penalty is paid by `tf_reg.Proximal` and not in the loss."""
        return self.reg in SPARSE if self.proximal is None else self.proximal and self.reg != "none"

    @property
    def is_table(self) -> bool:
        """Whether the data set is a table, and not one of images."""
        return is_table(self.dataset)

    def save(self, path: Path) -> None:
        """Write the configuration as JSON, whole or not at all."""
        write_whole(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @property
    def has_groups(self) -> bool:
        """Whether the penalty is one of the groups that `groups` says."""
        return self.reg in GROUPED or (self.reg in MAYBE_GROUPED and self.groups is not None)

    @property
    def methods(self) -> list[str]:
        """The regularisation methods that are switched on, as words for a name or a title."""
        switches = {
            self.reg: self.reg != "none",
            "reweight": self.reweight,
            "dropout": self.dropout,
            "bn": self.batch_norm,
            "augment": self.augment,
            "wd": self.weight_decay,
            "es": self.early_stopping,
            "ls": self.label_smoothing,
            "randaugment": self.rand_augment,
            "erasing": self.random_erasing,
            "mixup": self.mixup,
            "cutmix": self.cutmix,
            "maxnorm": self.max_norm,
            "ema": self.ema,
            "swa": self.swa,
        }
        return [word for word, on in switches.items() if on]


if typing.TYPE_CHECKING:
    Flags = dict[str, typing.Any]
else:
    Flags = flags_of(Config)
_FIELDS = pydantic.TypeAdapter(Flags)
