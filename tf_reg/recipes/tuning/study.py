"""A study that several processes work at: which trial is next, and what becomes of trials whose process has gone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from tf_reg.recipes.tuning.storage import Database, enqueue_again, quiet
from tf_reg_cli.errors import UserError

DIRECTIONS = {"accuracy": "maximize", "data-loss": "minimize", "live-parameters": "minimize"}


class TakenError(Exception):
    """A trial is no longer this process' own: others have missed its signs of life, and repeat it."""


@dataclasses.dataclass(frozen=True)
class Begun:
    """A trial that this process is to run, and the settings that were drawn for it."""

    trial: Trial
    values: dict[str, Any]


class Study:
    """The trials of a study, in a database that other processes use too.

    Args:
        database: Where it is kept.
        name: Its name there.
        settings: What all its trials and processes have in common, as JSON has it: `config`, `space`, and `retries`,
            how often a lost trial is repeated, among it.
        objectives: What is sought: keys of `DIRECTIONS`.
        pruner: Ends hopeless trials; None for none.
        seed: Of what is drawn.

    Raises:
        UserError: A study of this name has other settings.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        settings: Mapping[str, Any],
        objectives: Sequence[str],
        pruner: optuna.pruners.BasePruner | None,
        seed: int,
    ) -> None:
        self._database, self._name, self._seed = database, name, seed
        self._pruner = pruner or optuna.pruners.NopPruner()
        self._join(json.loads(json.dumps(settings)), [DIRECTIONS[one] for one in objectives])

    def _join(self, settings: dict[str, Any], directions: list[str]) -> None:
        def create() -> None:
            wanted = [optuna.study.StudyDirection[one.upper()] for one in directions]
            with quiet():
                optuna.create_study(
                    study_name=self._name, storage=self._database.trials, directions=wanted, load_if_exists=True
                )

        def agree() -> None:
            with self._database.one_transaction(self._name):
                study = self.read()
                found = study.user_attrs.get("settings")
                if found is None and not study.get_trials(deepcopy=False):
                    study.set_user_attr("settings", settings)
                elif found != settings:
                    raise UserError(other_settings(self._name, found, settings))

        self._database.insist(create)
        self._database.insist(agree)

    def read(self) -> optuna.Study:
        """The study as the database has it now."""
        with quiet():
            return optuna.load_study(study_name=self._name, storage=self._database.trials, pruner=self._pruner)

    def now(self) -> optuna.Study:
        """The study as the database has it now, waiting for the database where it is away."""
        return self._database.insist(lambda: _with_trials(self.read()))

    def begin(self, budget: int, draw: Callable[[Trial], dict[str, Any]]) -> Begun | bool:
        """Begin the next trial: one that waits to be repeated, or a new one.

        Args:
            budget: How many trials there may be, each counted once with all that repeat it.
            draw: Draws the settings.

        Returns:
            The trial. Where all have begun: whether some aren't at their end.
        """

        def attempt() -> Begun | bool:
            with quiet(), self._database.one_transaction(self._name):
                study = self.read()
                if self._database.settled:
                    optuna.storages.fail_stale_trials(study)
                trials = study.get_trials(deepcopy=False)
                states, origins = {trial.state for trial in trials}, sum(origin(one) == one.number for one in trials)
                if TrialState.WAITING not in states and origins >= budget:
                    return TrialState.RUNNING in states
                study.sampler = sampler(self._seed, origins)
                trial = study.ask()
                values = draw(trial)
                trial.set_user_attr("settings", values)
                trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
                self._database.trials.record_heartbeat(trial._trial_id)  # no trial without one, which nobody would miss
                return Begun(trial, values)

        return self._database.insist(attempt)

    @contextlib.contextmanager
    def alive(self, trial: Trial, seconds: float) -> Iterator[None]:
        """Give signs of life of a trial within the block."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(seconds):
                self._database.beat(trial._trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def hopeless(self, trial: Trial, value: float, step: int, last: bool = False) -> bool:
        """Report a value of a trial after some epochs, and return whether it should end.

        Args:
            trial: The trial.
            value: What is sought, as it is now.
            step: How many epochs are done.
            last: Whether these are all: then it is at its end in any case.

        Raises:
            TakenError: It is no longer this process' own.
        """

        def attempt() -> bool:
            trial.report(value, step)
            return not last and trial.should_prune()

        try:
            return self._database.insist(attempt)
        except UpdateFinishedTrialError:
            raise TakenError from None

    def end(
        self,
        trial: Trial,
        state: TrialState,
        values: Sequence[float] | None = None,
        notes: Mapping[str, Any] | None = None,
        again: bool = False,
    ) -> FrozenTrial:
        """Write how a trial has ended.

        Args:
            trial: The trial.
            state: COMPLETE, PRUNED or FAIL.
            values: Of a complete one, for each objective.
            notes: What is known of it besides.
            again: Whether somebody is to repeat it.

        Returns:
            The trial as it is kept. It is FAIL where others have taken it for lost meanwhile.
        """

        def attempt() -> FrozenTrial:
            with quiet(), self._database.one_transaction(self._name):
                study, trials = self.read(), self._database.trials
                if not trials.get_trial(trial._trial_id).state.is_finished():
                    for name, note in (notes or {}).items():
                        trials.set_trial_user_attr(trial._trial_id, name, note)
                    study.tell(trial.number, values, state)
                    if again:
                        enqueue_again(study, trials.get_trial(trial._trial_id), {})
                return trials.get_trial(trial._trial_id)

        return self._database.insist(attempt)


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return what draws the settings of a trial. It depends on no process, so that a resumed study draws the same."""
    return optuna.samplers.TPESampler(seed=(seed * 1_000_003 + number) % 2**32, multivariate=True, constant_liar=True)


def origin(trial: FrozenTrial) -> int:
    """Return the number of the trial that a trial repeats, or its own."""
    return trial.system_attrs.get("failed_trial", trial.number)


def ended(trials: Sequence[FrozenTrial]) -> int:
    """Return how many trials are at their end, each counted once with all that repeat it."""
    going = {origin(trial) for trial in trials if not trial.state.is_finished()}
    return len({origin(trial) for trial in trials} - going)


def other_settings(name: str, found: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> str:
    """Return the sentence that refuses to mix trials."""
    if found is None:
        return f"The study {name} exists and isn't one of tf-reg tune. Choose another --name."
    flat, wanted = _flat(found), _flat(settings)
    differ = sorted({key for key in flat.keys() | wanted.keys() if flat.get(key) != wanted.get(key)})
    return (
        f"The study {name} exists with other settings ({', '.join(differ)}), and trials are never mixed. Choose "
        "another --name, or the same settings."
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in settings.items() if key not in ("config", "space")}
    return flat | settings["config"] | {f"the search of {name}": one for name, one in settings["space"].items()}


def _with_trials(study: optuna.Study) -> optuna.Study:
    study.get_trials(deepcopy=False)
    return study
