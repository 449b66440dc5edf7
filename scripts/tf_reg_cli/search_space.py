"""What `tf-reg tune` searches: settings of a configuration, each with a range of numbers or some choices."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_reg_cli.agreement import NEEDS, one_of
from tf_reg_cli.checks import did_you_mean, flag
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import STRENGTHS, missing
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import SCALED
from tf_reg_cli.fields import plain
from tf_reg_cli.roles import AFTERWARDS, AROUND, DATA

FACTOR = "layer_factors."  # and the name of a layer
FACTORS = (0.1, 10.0)  # of a layer's strength, where --per-layer searches them
MOST_LAYERS = 20
# What is no part of a search: the data, what makes trials comparable, and what a run writes.
FIXED = (
    *DATA, *AROUND, *AFTERWARDS, "weights", "layer_factors", "epochs", "batch_size", "seed", "precision",
    "steps_per_execution", "jit",
)  # fmt: skip
_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_HINTS = typing.get_type_hints(Config)


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: equally many in each factor of ten."""

    low: float
    high: float
    log: bool

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of some values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return one_of([json.dumps(value) if isinstance(value, (list, bool)) else str(value) for value in self.values])


Space = dict[str, Range | Choices]


def from_words(words: Iterable[str]) -> Space:
    """Return the space that the words of `--search` give: `dropout=0:0.5`, `l1=1e-6:1e-3` or `model=mlp,cnn`.

    Raises:
        UserError: A word isn't such, or the setting can't be searched.
    """
    space: Space = {}
    for word in words:
        name, equals, given = word.partition("=")
        if not equals or not given or not name or _name(name, "--search") in space:
            raise UserError(f"--search takes NAME=LOW:HIGH or NAME=A,B, each name once. Received: {word!r}.")
        name = _name(name, "--search")
        if ":" in given:
            ends = given.split(":")
            if len(ends) > 2:
                raise UserError(f"--search takes NAME=LOW:HIGH, of two numbers. Received: {word!r}.")
            space[name] = _range(name, dict(zip(("low", "high"), map(_number, ends), strict=False)), word)
        else:
            space[name] = Choices(tuple(_value(name, one) for one in given.split(",")))
    return space


def from_file(file: Path) -> Space:
    """Return the space of a TOML or JSON file: a table for each setting, of `low`, `high` and `log`, or `choices`.

    Raises:
        UserError: The file can't be read, or something in it isn't such.
    """
    loads: Callable[[str], Any] = json.loads if file.suffix == ".json" else tomllib.loads
    try:
        loaded = loads(file.read_text())
    except (OSError, ValueError) as error:
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise UserError(f"--space {file} can't be read as {kind}: {error}.") from error
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"--space {file} must hold settings, such as dropout = {{low = 0.0, high = 0.5}}.")
    if isinstance(loaded.get("layer_factors"), dict):  # a table of tables
        loaded |= {f"{FACTOR}{name}": entry for name, entry in loaded.pop("layer_factors").items()}
    return {(known := _name(name, f"--space {file}")): _entry(known, entry, file) for name, entry in loaded.items()}


def _entry(name: str, entry: Any, file: Path) -> Range | Choices:
    where = f"--space {file}: {name}"
    choices = entry.get("choices") if isinstance(entry, dict) and len(entry) == 1 else None
    if isinstance(choices, list) and choices:
        return Choices(tuple(choices))
    if isinstance(entry, dict) and {"low", "high"} <= set(entry) <= {"low", "high", "log"}:
        return _range(name, entry, where)
    raise UserError(f"{where} must have low, high and maybe log, or choices, a list. Received: {entry!r}.")


def _name(name: str, where: str) -> str:
    """The name of a setting that can be searched, with underscores."""
    head, dot, layer = name.partition(".")
    head = head.replace("-", "_")
    if dot and head == "layer_factors" and layer:
        return f"{FACTOR}{layer}"
    known = [one for one in _FIELDS if one not in FIXED]
    if not dot and head in known:
        return head
    if head in FIXED and not dot:
        raise UserError(f"{where}: {head} is the same for all trials. What can be searched: {', '.join(known)}.")
    raise UserError(f"{where}: there is no setting {name}. {did_you_mean(head, known, f'There are {one_of(known)}.')}")


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def _end(value: Any) -> float:
    """The end of a range; NaN for what can be none."""
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else math.nan


def _range(name: str, ends: Mapping[str, Any], where: str) -> Range:
    ends_given = f"{ends.get('low')} and {ends.get('high')}"
    low, high = _end(ends.get("low")), _end(ends.get("high"))
    if not low < high:
        raise UserError(f"{where}: a range goes from a number to a larger one. Received: {ends_given}.")
    kind = float if name.startswith(FACTOR) else plain(_HINTS[name])
    if kind not in (int, float) or "tuple" in str(_HINTS.get(name)):
        raise UserError(f"{where}: {name} has no range. Give its choices: {name}=A,B.")
    if kind is int and not (low.is_integer() and high.is_integer()):
        raise UserError(f"{where}: {name} takes whole numbers. Received: {ends_given}.")
    log = ends.get("log", low > 0 and high >= 10 * low)
    if not isinstance(log, bool) or (log and low <= 0):
        raise UserError(f"{where}: log is true or false, and true takes a low end above 0. Received: {log}, {low:g}.")
    return Range(low, high, log)


def _value(name: str, word: str) -> Any:
    """The value that a word stands for, as a configuration has it."""
    if name.startswith(FACTOR):
        return _number(word)
    hint = _HINTS[name]
    kind = plain(hint)
    if word in ("true", "false") and kind is bool:
        return word == "true"
    number = _number(word)
    if isinstance(number, float) and kind in (int, float):
        number = int(number) if kind is int and number.is_integer() else number
        return [number] if "tuple" in str(hint) else number
    return word


def is_whole(name: str) -> bool:
    """Return whether a setting takes whole numbers."""
    return not name.startswith(FACTOR) and plain(_HINTS[name]) is int


def checked(space: Space, base: Config, given: Iterable[str]) -> Space:
    """Return a space whose every setting has an effect, in the order in which they are drawn.

    Args:
        space: The space.
        base: The settings of all trials.
        given: The settings whose flags were given.

    Raises:
        UserError: A value isn't allowed, a setting has no effect, or has a flag too.
    """
    given, heads = set(given), {name.partition(".")[0] for name in space}
    for name in sorted(given & heads):
        raise UserError(f"{flag(name)} is given and searched. Leave one out.")
    for name, one in space.items():
        other, values = NEEDS.get(name.partition(".")[0], ("", ()))
        if other and other not in space and getattr(base, other) not in values:
            raise UserError(f"{name} does nothing without {flag(other)} {one_of(list(map(str, values)))}.")
        for value in one.values if isinstance(one, Choices) else (one.low, one.high):
            _check_value(name, value, base)
    needed = {other for other, _ in NEEDS.values()}
    return dict(sorted(space.items(), key=lambda item: item[0] not in needed))


def _check_value(name: str, value: Any, base: Config) -> None:
    """Check a value as the flag would, beside values that take it."""
    other, values = NEEDS.get(name.partition(".")[0], ("", ()))
    suited = {other: values[0]} if other and getattr(base, other) not in values else {}
    config = dataclasses.replace(base, **{**suited, **as_fields({name: value})})
    if isinstance(value, (list, str)) and name not in vars(config):
        raise UserError(f"{name} takes numbers. Received: {value!r}.")


def as_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a configuration, of the drawn values by name: whole numbers as such, factors in one tuple."""
    fields = {
        name: int(value) if isinstance(value, float) and is_whole(name) else value
        for name, value in values.items()
        if not name.startswith(FACTOR)
    }
    factors = tuple(f"{name.removeprefix(FACTOR)}={value!r}" for name, value in values.items() if name not in fields)
    return fields | ({"layer_factors": factors} if factors else {})


def default(base: Config, given: Iterable[str], train_size: int) -> Space:
    """Return what is searched where nobody says: the strengths, dropout, weight decay and learning rate not given.

    Args:
        base: The settings of all trials.
        given: The settings whose flags were given.
        train_size: How many training images there are, on which the strengths' and the rate's defaults depend.
    """
    usual = missing(base, train_size)
    space: Space = {
        name: Range(_two_digits(value / 100), _two_digits(value * 10), True)
        for name, value in usual.items()
        if name in STRENGTHS
    }
    space |= {"dropout": Range(0.0, 0.6, False), "weight_decay": Range(1e-4, 0.1, True)}
    if "learning_rate" in usual:
        space["learning_rate"] = Range(usual["learning_rate"] / 10, usual["learning_rate"] * 10, True)
    return {name: one for name, one in space.items() if name not in set(given)}


def per_layer(layers: Sequence[str], base: Config) -> Space:
    """Return a space of factors of the strengths, one for each layer.

    Args:
        layers: The layers that have a penalty.
        base: The settings of all trials.

    Raises:
        UserError: Layers have no factors under this penalty, or there are very many.
    """
    if base.reg not in SCALED:
        raise UserError(f"--per-layer needs --reg {one_of(SCALED)}. Received: --reg {base.reg}.")
    if len(layers) > MOST_LAYERS:
        name = FACTOR.replace("_", "-") + layers[0]
        raise UserError(
            f"--per-layer takes up to {MOST_LAYERS} layers. --model {base.model} has {len(layers)}. Choose some: "
            f"--search {name}=0.1:10."
        )
    return {f"{FACTOR}{name}": Range(*FACTORS, log=True) for name in layers}


def first(space: Space) -> dict[str, Any]:
    """Return one value of each setting: the low end, or the first choice."""
    return {name: one.values[0] if isinstance(one, Choices) else one.low for name, one in space.items()}


def _two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def as_data(space: Space) -> dict[str, Any]:
    """Return a space as JSON has it, in the form of a file."""
    return {
        name: {"choices": list(one.values)} if isinstance(one, Choices) else dataclasses.asdict(one)
        for name, one in space.items()
    }
