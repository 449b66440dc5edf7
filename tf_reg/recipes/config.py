"""One dataclass that is the whole configuration of a run, its command line and its `config.json`."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any


class UserError(ValueError):
    """A mistake of the user's that one sentence explains; scripts print it and exit with code 2."""


def option(default: Any, text: str, **metadata: Any) -> Any:
    """Declare a field of a configuration together with its line of `--help`.

    Args:
        default: The default value; a tuple where the flag takes several.
        text: What `--help` says.
        **metadata: `choices`: the allowed values. `check` and `expected`: a predicate that a value which isn't None
            must meet, and what it demands in words. `const`: the value of the flag given alone. `group`: the title
            of the section of `--help` that this field begins.
    """
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def _number(check: Callable[[Any], bool], expected: str) -> dict[str, Any]:
    return {"check": check, "expected": expected}


MOST = 2**31 - 1
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

NEEDS = {  # a flag that does nothing but for certain values of another one
    "l1": ("reg", ("l1", "l1l2")),
    "l2": ("reg", ("l2", "l1l2")),
    "hidden": ("model", ("mlp",)),
    "flip": ("augment", (True,)),
    "momentum": ("optimizer", ("sgd", "rmsprop")),
}


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
    model: str = option("mlp", "the network", choices=("linear", "mlp", "cnn"), group="model")
    hidden: tuple[int, ...] = option((128,), "units of each hidden layer of the mlp", **COUNTS)
    normalization: str = option("dataset", "constants of the model's input layer", choices=("dataset", "imagenet"))
    reg: str = option("none", "penalty on every kernel", choices=("none", "l1", "l2", "l1l2"), group="regularisation")
    l1: float = option(1e-5, "strength of L1: l1 * sum|w|", **NOT_NEGATIVE)
    l2: float = option(1e-4, "strength of L2: l2 * sum w^2", **NOT_NEGATIVE)
    dropout: float = option(0.0, "dropout rate after each hidden dense layer (linear: of the pixels)", **SHARE)
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
        for field, annotation in _typed_fields():
            object.__setattr__(self, field.name, _checked(field, annotation, getattr(self, field.name)))
        if self.image_size is not None:
            if len(self.image_size) > 2:
                raise UserError(f"--image-size takes one number or two, not {len(self.image_size)}.")
            object.__setattr__(self, "image_size", (self.image_size[0], self.image_size[-1]))

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
    made = _Parser(description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--config", metavar="FILE", help="a config.json of an earlier run to start from")
    for field, annotation in _typed_fields():
        if "group" in field.metadata:
            group = made.add_argument_group(field.metadata["group"])
        group.add_argument(_flag(field.name), **_argument(field, annotation))
    return made


def from_flags(flags: argparse.Namespace) -> Config:
    """Return the configuration that parsed flags ask for; they win over `--config FILE`.

    Raises:
        UserError: As `Config`, and if the file can't be read or has unknown names.
    """
    given = {field.name: vars(flags)[field.name] for field, _ in _typed_fields() if field.name in vars(flags)}
    config = Config(**(_read(Path(flags.config)) if flags.config else {}) | given)
    for name in given.keys() & NEEDS.keys():
        other, values = NEEDS[name]
        if getattr(config, other) not in values:
            wanted = " or ".join(_flag(other) if value is True else f"{_flag(other)} {value}" for value in values)
            raise UserError(f"{_flag(name)} does nothing without {wanted}.")
    return config


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one sentence, with the flags that were perhaps meant."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        namespace, unknown = self.parse_known_args(*args, **kwargs)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "--help lists the flags."
            raise UserError(f"There is no flag {unknown[0]}. {hint}")
        return namespace

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}.")


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


def _typed_fields() -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(Config)
    return [(field, hints[field.name]) for field in dataclasses.fields(Config)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _base(annotation: Any) -> tuple[type, bool]:
    """Return the plain type of one value of a field, and whether it takes several."""
    if isinstance(annotation, types.UnionType):
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def _argument(field: dataclasses.Field[Any], annotation: Any) -> dict[str, Any]:
    kind, several = _base(annotation)
    argument: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field)}
    if kind is bool:
        return argument | {"action": argparse.BooleanOptionalAction}
    if "choices" not in field.metadata:
        argument["metavar"] = {int: "N", float: "X", str: "TEXT"}[kind]
    argument |= {"type": kind, "choices": field.metadata.get("choices")}
    if several:
        argument["nargs"] = "+"
    if "const" in field.metadata:
        argument |= {"nargs": "?", "const": field.metadata["const"]}
    return argument


def _help(field: dataclasses.Field[Any]) -> str:
    text, default = field.metadata["help"], field.default
    if default is None or default is False:
        return text
    return f"{text} (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"


def _checked(field: dataclasses.Field[Any], annotation: Any, value: Any) -> Any:
    flag = _flag(field.name)
    kind, several = _base(annotation)
    if value is None and types.NoneType in typing.get_args(annotation):
        return None
    if several and isinstance(value, list):
        value = tuple(value)
    if kind is float and type(value) is int and abs(value) <= MOST:
        value = float(value)
    parts = value if several and isinstance(value, tuple) and value else [value]
    if several is not isinstance(value, tuple) or any(type(part) is not kind for part in parts):
        raise UserError(f"{flag} must be {kind.__name__}{' values' if several else ''}. Received: {value!r}.")
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise UserError(f"{flag} must be one of {', '.join(choices)}. Received: {value!r}.")
    check = field.metadata.get("check")
    if check and not check(value):
        raise UserError(f"{flag} must be {field.metadata['expected']}. Received: {value!r}.")
    return value
