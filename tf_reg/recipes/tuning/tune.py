"""The search for settings: what is searched, where it lies, and how it begins and ends."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna

from tf_reg.recipes import training
from tf_reg.recipes.data.fingerprint import fingerprint
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.models import networks
from tf_reg.recipes.naming import stem
from tf_reg.recipes.tuning import results
from tf_reg.recipes.tuning.halving import Halving
from tf_reg.recipes.tuning.storage import Database, locked, parsed
from tf_reg.recipes.tuning.study import Study, ended, other_settings
from tf_reg.recipes.tuning.worker import Wanted, Worker, config_of
from tf_reg_cli import search_space
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import filled
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import write_whole
from tf_reg_cli.roles import AROUND
from tf_reg_cli.search_space import Space

HALVING = 2  # of that many trials one goes on, twice as long


def tune(config: Config, given: set[str], flags: set[str], wanted: Wanted) -> str:
    """Run trials until all are at their end, and return what to print: the best settings, and where they lie.

    Args:
        config: The settings that all trials have in common.
        given: The settings that flags or a file give.
        flags: Those that flags give.
        wanted: What is searched.

    Raises:
        UserError: Something can't be searched, read or written.
        FailedError: No trial was completed, or the database was away for too long.
        KeyboardInterrupt: On Ctrl-C, after the trial that ran is back in the queue.
    """
    if wanted.storage is not None:
        parsed(wanted.storage)  # before anything is loaded or written
    images = training.load_data(config)
    if images.task == "regression" and "accuracy" in wanted.objectives:
        raise UserError("The accuracy is for classes, and the target is a number: take --objectives data-loss.")
    space = _space(config, given, flags, wanted, images)
    settings = _settings(config, space, wanted)
    folder = _folder(config, settings)
    address = wanted.storage or f"sqlite:///{folder / 'study.db'}"
    database = Database(address, wanted.heartbeat)
    try:
        study = Study(database, folder.name, settings, wanted.objectives, _pruner(config, wanted, images), config.seed)
        for line in _first_lines(study, folder, space, wanted):
            print(line, flush=True)
        Worker(study, config, space, wanted, images).work()
        return results.write(study.now(), folder, address, wanted.objectives, lambda one: config_of(config, one))
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or "Interrupted. The same command goes on from here.") from None
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error}") from error
    finally:
        database.close()


def _space(config: Config, given: set[str], flags: set[str], wanted: Wanted, images: Data) -> Space:
    space = search_space.default(config, given, images.train_size) if wanted.space is None else wanted.space
    if wanted.per_layer:
        space = space | search_space.per_layer(networks.penalised(training.build_model(config, images)), config)
    if not space:
        raise UserError("Nothing is left to search: all settings have flags. Leave some out, or give --search.")
    space = search_space.checked(space, config, flags)
    training.build_model(config_of(config, search_space.first(space)), images)  # before anything is written
    return space


def _settings(config: Config, space: Space, wanted: Wanted) -> dict[str, Any]:
    rules = {"objectives": wanted.objectives, "prune": wanted.prune}
    processes = {"heartbeat": wanted.heartbeat, "retries": wanted.retries}
    common = {name: value for name, value in dataclasses.asdict(config).items() if name not in AROUND}
    common["dataset"] = fingerprint(config.dataset)
    return {"config": common, "space": search_space.as_data(space), **rules, **processes}


def _folder(config: Config, settings: Mapping[str, Any]) -> Path:
    """Make the study's folder, or find that of a study with the same settings."""
    folder = Path(config.runs_dir) / (config.name or f"{stem(config)}-tune")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent):
            if not folder.exists():
                folder.mkdir()
                write_whole(folder / "tune.json", json.dumps(settings, indent=2) + "\n")
                return folder
            found = json.loads((folder / "tune.json").read_text())
    except FileNotFoundError:
        raise UserError(f"{folder} exists and is no folder of tf-reg tune. Choose another --name.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} can't be written or read: {error}. Choose another --name or --runs-dir.") from error
    if found != json.loads(json.dumps(settings)):
        raise UserError(other_settings(str(folder), found, json.loads(json.dumps(settings))))
    return folder


def _pruner(config: Config, wanted: Wanted, images: Data) -> optuna.pruners.BasePruner | None:
    """Successive halving: of the trials that have come to a quarter, and to a half, of the epochs a half goes on."""
    if not wanted.prunes:
        return None
    epochs = filled(config, images.train_size).epochs or 1
    return Halving(max(1, math.ceil(epochs / HALVING**2)), HALVING)


def _first_lines(study: Study, folder: Path, space: Space, wanted: Wanted) -> Iterator[str]:
    done = ended(study.now().get_trials(deepcopy=False))
    yield f"{folder}: {done} of {wanted.trials} trials are done."
    yield from (f"  {name}: {one}" for name, one in space.items())
    if len(wanted.objectives) > 1:
        yield "Several objectives: no trial ends early, and the result is the Pareto front."
    elif wanted.prunes:
        yield "Trials that fall behind end early, by successive halving."
