"""What a study has found: the best trials as files that `tf-reg train --config` takes, pictures, and the last lines."""

from __future__ import annotations

import dataclasses
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tf_reg._text_table import aligned, number
from tf_reg.recipes import run_report
from tf_reg.recipes.tuning import pictures, report
from tf_reg.recipes.tuning.storage import shown
from tf_reg.recipes.tuning.study import DIRECTIONS
from tf_reg_cli.config import Config
from tf_reg_cli.errors import FailedError
from tf_reg_cli.files import whole

FEWEST = 10  # complete trials that say something of a setting's importance
ConfigOf = Callable[[Mapping[str, Any]], Config]


def write(study: optuna.Study, folder: Path, address: str, objectives: Sequence[str], config_of: ConfigOf) -> str:
    """Write the best trials' configurations and the pictures of a study, and return the last lines to print.

    Args:
        study: The study, at its end.
        folder: Where to write.
        address: Of its database.
        objectives: What was sought.
        config_of: Returns the configuration of the settings that were drawn for a trial.

    Raises:
        FailedError: No trial was completed.
    """
    trials = study.get_trials(deepcopy=False)
    top = best(trials, objectives[0])
    if top is None:
        reasons = [trial.user_attrs["reason"] for trial in trials if "reason" in trial.user_attrs]
        why = f" The last one failed: {reasons[-1]}." if reasons else ""
        raise FailedError(f"No trial was completed.{why} {_dashboard(address)}")
    if len(objectives) == 1:
        chosen = {"best.json": top}
    else:
        front = sorted(study.best_trials, key=lambda trial: trial.values)
        chosen = {f"front-{trial.number}.json": trial for trial in front}
    for old in {path.name for path in folder.glob("front-*.json")} - set(chosen):
        (folder / old).unlink(missing_ok=True)
    for name, trial in chosen.items():
        with whole(folder / name) as unfinished:
            dataclasses.replace(config_of(trial.user_attrs["settings"]), name=None).save(unfinished)
    weights = [importances(study, number) for number in range(len(objectives))]
    pictures.draw(trials, list(chosen.values()), objectives, weights, folder)
    report.write(trials, chosen, objectives, folder)
    return "\n".join(_last_lines(chosen, folder, address, objectives))


def complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that were trained to their end."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def best(trials: Sequence[FrozenTrial], objective: str) -> FrozenTrial | None:
    """Return the best of the complete trials, of equal ones the first; None where none is complete."""
    sign = 1 if DIRECTIONS[objective] == "minimize" else -1
    return min(complete(trials), key=lambda trial: sign * trial.values[0], default=None)


def importances(study: optuna.Study, objective: int) -> dict[str, float]:
    """Return each setting's share of the variance of an objective, the largest first.

    Empty where nobody can say: with few complete trials, one setting, or values that are all equal.

    Args:
        study: The study.
        objective: The number of the objective.
    """
    found = complete(study.get_trials(deepcopy=False))
    if len(found) < FEWEST or len({trial.values[objective] for trial in found}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights = optuna.importance.get_param_importances(
                study, evaluator=evaluator, target=lambda trial: trial.values[objective]
            )
    except (ValueError, RuntimeError):  # there is nothing that all trials have
        return {}
    return weights if len(weights) > 1 else {}


def _last_lines(
    chosen: Mapping[str, FrozenTrial], folder: Path, address: str, objectives: Sequence[str]
) -> Iterator[str]:
    yield ""
    if len(objectives) == 1:
        [trial] = chosen.values()
        yield f"Trial {trial.number} is the best, by validation examples: {objectives[0]} {number(trial.values[0])}."
        known = ("accuracy", "r2", "live_parameters", "parameters")
        notes = {name: trial.user_attrs[name] for name in known if name in trial.user_attrs}
        pairs = [*trial.user_attrs["settings"].items(), *notes.items()]
        yield from aligned([(name.replace("_", " "), number(value)) for name, value in pairs])
    else:
        yield "The Pareto front, by validation examples: no trial is better in all objectives than one of these."
        names = [one.replace("-", " ") for one in objectives]
        rows = [[str(trial.number), name, *map(number, map(_whole, trial.values))] for name, trial in chosen.items()]
        yield from aligned([["trial", "settings", *names], *rows], words=2)
    yield ""
    yield f"pictures    {', '.join(str(folder / name) for name in sorted(pictures.names(folder)))}"
    yield f"report      {folder / run_report.FILE}"
    yield f"train it    tf-reg train --config {shlex.quote(str(folder / next(iter(chosen))))}"
    yield _dashboard(address)


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() and value > 1 else value


def _dashboard(address: str) -> str:
    return f"optuna-dashboard {shlex.quote(shown(address))}"
