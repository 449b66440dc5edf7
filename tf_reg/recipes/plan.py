"""What a comparison compares, read from a file: methods, the settings to choose from, and the columns of the table."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_reg_cli.checks import did_you_mean
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.roles import AFTERWARDS, AROUND

FOLDER = Path(__file__).parent / "plans"
PLANS = ("methods", "zeros", "tables")
Overrides = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Column:
    """A number of a training that a table shows.

    Args:
        head: Its head in the table.
        metric: Its name in what `training.measure` returns; with `minus`, the difference of two.
        minus: What is taken away from it.
        factor: What it is multiplied by.
        form: Its format.
    """

    head: str
    metric: str
    minus: str | None = None
    factor: float = 1.0
    form: str = "{:.1f}"

    def value(self, metrics: Mapping[str, Any]) -> float:
        """Return the number of a training; without a penalty it has no zeros.

        Raises:
            UserError: The training has no such number, as a regression has no accuracy.
        """
        try:
            found = metrics.get("sparsity", 0.0) if self.metric == "sparsity" else metrics[self.metric]
            return self.factor * (found - (0.0 if self.minus is None else metrics[self.minus]))
        except KeyError as error:
            raise UserError(
                f"A training on these data has no {error.args[0]}, which the column {self.head!r} needs. Take a plan "
                "with the columns 'test score' and 'score gap', as `tables`."
            ) from error


COLUMNS = {
    "test accuracy": Column("test accuracy (%)", "test_accuracy", factor=100),
    "gap": Column("train - test (points)", "train_accuracy", minus="test_accuracy", factor=100),
    "zeros": Column("exact zeros (%)", "sparsity", factor=100),
    "live parameters": Column("live parameters", "live_parameters", form="{:,.0f}"),
    "test score": Column("test accuracy or R2", "test_score", form="{:.3f}"),
    "score gap": Column("train - test", "train_score", minus="test_score", form="{:.3f}"),
    "test loss": Column("test loss without penalty", "test_data_loss", form="{:.3f}"),
}


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Args:
        name: Its name.
        choose: The settings to choose from, each by fields of `Config`.
        beside: The name of the method that it is compared with, seed by seed; None for the first one.
        epochs_factor: Its epochs, as a multiple of those of the command.
    """

    name: str
    choose: tuple[Overrides, ...] = ({},)
    beside: str | None = None
    epochs_factor: int = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a comparison compares.

    Args:
        methods: The rows; the first is what the others are compared with.
        columns: The columns.
    """

    methods: tuple[Method, ...]
    columns: tuple[Column, ...]

    def reference(self, method: Method) -> Method | None:
        """Return the method that one is compared with; None for the first one."""
        if method.beside is not None:
            return next(one for one in self.methods if one.name == method.beside)
        return None if method is self.methods[0] else self.methods[0]


def load(name: str) -> Plan:
    """Read a plan.

    Args:
        name: `methods`, `zeros` or `tables`, or the path of a TOML file that is made like these.

    Raises:
        UserError: The file can't be read, or says something that no plan can say.
    """
    file = FOLDER / f"{name}.toml" if name in PLANS else Path(name)
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        known = _list([*PLANS, "linear"])
        raise UserError(f"The plan {name} can't be read as TOML: {error}. Take {known}, or a file.") from error
    _known(read, ("columns", "method"), f"{name}:")
    return Plan(_methods(read.get("method"), name), _columns(read.get("columns", ["test accuracy", "gap"]), name))


def _columns(names: Any, plan: str) -> tuple[Column, ...]:
    if not isinstance(names, list) or not names or any(one not in list(COLUMNS) for one in names):
        raise UserError(f"{plan}: columns is a list of {_list(list(COLUMNS))}. Received: {names!r}.")
    return tuple(COLUMNS[one] for one in names)


def _methods(read: Any, plan: str) -> tuple[Method, ...]:
    if not isinstance(read, list) or not read or not all(isinstance(one, dict) for one in read):
        raise UserError(f"{plan} needs a table [[method]] for each method.")
    methods: list[Method] = []
    for number, one in enumerate(read, start=1):
        where = f"{plan}, method {number}"
        _known(one, [field.name for field in dataclasses.fields(Method)], f"{where}:")
        if not isinstance(one.get("name"), str) or one["name"] in [other.name for other in methods]:
            raise UserError(f"{where} needs a name of its own, a text. Received: {one.get('name')!r}.")
        choose = one.get("choose", [{}])
        if not isinstance(choose, list) or not choose or not all(isinstance(settings, dict) for settings in choose):
            raise UserError(f"{where}: choose is a list of settings, as [{{ dropout = 0.5 }}]. Received: {choose!r}.")
        factor = one.get("epochs_factor", 1)
        if type(factor) is not int or factor < 1:
            raise UserError(f"{where}: epochs_factor is a whole number, 1 or more. Received: {factor!r}.")
        for settings in choose:
            _check_settings(settings, where)
            if "epochs" in settings and factor > 1:
                raise UserError(f"{where} has epochs and epochs_factor. Leave one out.")
        methods.append(Method(one["name"], tuple(choose), one.get("beside"), factor))
    for number, method in enumerate(methods):
        if method.beside is not None and method.beside not in [one.name for one in methods[:number]]:
            raise UserError(f"{plan}: {method.name} is beside {method.beside!r}, which is no method before it.")
    return tuple(methods)


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
    fields = [field.name for field in dataclasses.fields(Config) if field.name not in (*AROUND, *AFTERWARDS, "seed")]
    _known(settings, fields, f"{where}:")
    try:
        Config(**settings)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _known(read: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in [one for one in read if one not in names]:
        raise UserError(f"{where} unknown name {name!r}. {did_you_mean(name, names) or ''}".rstrip())


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
