"""What one process does in a search: it trains trials one after the other until all are at their end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from optuna.trial import FrozenTrial, Trial, TrialState

from tf_reg._text_table import number
from tf_reg.compaction.plan import plan_compaction
from tf_reg.recipes import training
from tf_reg.recipes.data.sources import reason
from tf_reg.recipes.data.table_data import Data
from tf_reg.recipes.forgetting import forgotten
from tf_reg.recipes.retracing import expected_retracing
from tf_reg.recipes.tuning import results
from tf_reg.recipes.tuning.study import Begun, Study, TakenError, ended
from tf_reg_cli import search_space
from tf_reg_cli.agreement import NEEDS
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import factors
from tf_reg_cli.search_space import FACTOR, Choices, Space

LOGS = {"accuracy": "val_accuracy", "data-loss": "val_data_loss"}  # what a trial reports of each epoch
PAUSE = 0.5  # seconds between two looks at trials of other processes


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is searched, and by which rules.

    Args:
        space: The settings that are searched, as flags or a file give them; None for the usual ones.
        per_layer: Whether the strength of each layer is searched too.
        objectives: What is sought.
        trials: How many trials there are.
        prune: Whether hopeless trials end early.
        storage: The address of a database for several machines; None for a file in the run's folder.
        heartbeat: Seconds between two signs of life of a trial.
        retries: How often a lost trial is repeated.
    """

    space: Space | None = None
    per_layer: bool = False
    objectives: tuple[str, ...] = ("accuracy",)
    trials: int = 50
    prune: bool = True
    storage: str | None = None
    heartbeat: int = 30
    retries: int = 2

    @property
    def prunes(self) -> bool:
        """Whether trials that fall behind end early: only of one objective that is known after each epoch."""
        return self.prune and len(self.objectives) == 1 and self.objectives[0] in LOGS


class Worker:
    """This process' part of a search."""

    def __init__(self, study: Study, config: Config, space: Space, wanted: Wanted, images: Data) -> None:
        self._study, self._config, self._space, self._wanted, self._images = study, config, space, wanted, images

    def work(self) -> None:
        """Run trials until all are at their end."""
        while begun := self._study.begin(self._wanted.trials, lambda trial: drawn(trial, self._space, self._config)):
            if begun is True:  # others run the last ones, and may be lost
                time.sleep(PAUSE)
                continue
            start = time.perf_counter()
            try:
                with forgotten(), self._study.alive(begun.trial, self._wanted.heartbeat):
                    ended_as = self._run(begun)
            except KeyboardInterrupt:
                self._study.end(begun.trial, TrialState.FAIL, notes={"reason": "interrupted"}, again=True)
                raise KeyboardInterrupt(
                    f"Interrupted. Trial {begun.trial.number} has failed and is in the queue again. The same command "
                    "goes on from here."
                ) from None
            self._say(begun, ended_as, time.perf_counter() - start)

    def _run(self, begun: Begun) -> FrozenTrial | None:
        """Train a trial and write what came out; None where others have taken it for lost."""
        trial = begun.trial
        try:
            state, values, notes = self._trained(trial, config_of(self._config, begun.values))
        except TakenError:
            return None
        except UserError as error:  # settings that don't go together, which another trial hasn't
            state, values, notes = TrialState.FAIL, None, {"reason": str(error)}
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            state, values, notes = TrialState.FAIL, None, {"reason": f"no memory: {reason(error)}"}
        except Exception as error:
            self._study.end(trial, TrialState.FAIL, notes={"reason": f"{type(error).__name__}: {error}"})
            raise
        written = self._study.end(trial, state, values, notes)
        return written if written.state == state else None

    def _trained(self, trial: Trial, config: Config) -> tuple[TrialState, list[float] | None, dict[str, Any]]:
        watch = _Watch(self._study, trial, self._wanted.objectives)
        with expected_retracing(), _unsaid():
            model, images = training.prepare(config, self._images)
            training.fit(model, config, images, [watch], silent=True)
        if watch.taken:
            raise TakenError
        if watch.diverged:
            return TrialState.FAIL, None, {"reason": "the loss is no finite number", "epochs": watch.epochs}
        if watch.hopeless:
            return TrialState.PRUNED, None, {"epochs": watch.epochs}
        found = model.evaluate(images.validation, verbose=0, return_dict=True)
        parameters, live = plan_compaction(model).parameters
        measured = {"data-loss": found["data_loss"], "live-parameters": live}
        measured |= {name: found[name] for name in ("accuracy", "r2") if name in found}
        notes = {"epochs": watch.epochs, "parameters": parameters}
        notes |= {name.replace("-", "_"): value for name, value in measured.items()}
        return TrialState.COMPLETE, [float(measured[one]) for one in self._wanted.objectives], notes

    def _say(self, begun: Begun, ended_as: FrozenTrial | None, seconds: float) -> None:
        """Print a line of the trial that has ended."""
        trials = self._study.now().get_trials(deepcopy=False)
        said = _outcome(ended_as, self._wanted.objectives)
        if len(self._wanted.objectives) == 1 and (best := results.best(trials, self._wanted.objectives[0])):
            said += f" (best {number(best.values[0])})"
        again = trials[begun.trial.number].system_attrs.get("failed_trial")
        name = f"trial {begun.trial.number}" + (f", which repeats {again}" if again is not None else "")
        settings = ", ".join(f"{name} {number(value)}" for name, value in begun.values.items())
        done = f"{ended(trials)} of {self._wanted.trials} done"
        print(f"{name}: {said}, {seconds:.1f} s, {done}: {settings}", flush=True)


def _outcome(trial: FrozenTrial | None, objectives: tuple[str, ...]) -> str:
    if trial is None:
        return "taken for lost by another process, which repeats it"
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.user_attrs['reason']}"
    if trial.state == TrialState.PRUNED:
        return f"ended early, after {trial.user_attrs['epochs']} epochs"
    return ", ".join(
        f"{name.replace('-', ' ')} {number(value)}" for name, value in zip(objectives, trial.values, strict=True)
    )


class _Watch(keras.callbacks.Callback):
    """Reports each epoch of a trial, and ends it where it is hopeless, diverges, or is no longer this process' own."""

    def __init__(self, study: Study, trial: Trial, objectives: tuple[str, ...]) -> None:
        super().__init__()
        self._study, self._trial = study, trial
        self._key = LOGS.get(objectives[0]) if len(objectives) == 1 else None
        self.epochs, self.hopeless, self.diverged, self.taken = 0, False, False, False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch."""
        logs, self.epochs = logs or {}, epoch + 1
        self.diverged = not (math.isfinite(logs["loss"]) and math.isfinite(logs["val_data_loss"]))
        if not self.diverged and self._key is not None:
            try:
                last = self.epochs == self.params["epochs"]
                self.hopeless = self._study.hopeless(self._trial, float(logs[self._key]), self.epochs, last)
            except TakenError:
                self.taken = True
        if self.hopeless or self.diverged or self.taken:
            self.model.stop_training = True


def drawn(trial: Trial, space: Space, base: Config) -> dict[str, Any]:
    """Draw the settings of a trial; those that do nothing beside the others are left out.

    Args:
        trial: What draws.
        space: The space, in the order of `search_space.checked`.
        base: The settings that all trials have in common.
    """
    values: dict[str, Any] = {}
    for name, one in space.items():
        other, takes = NEEDS.get(name.partition(".")[0], ("", ()))
        if other and values.get(other, getattr(base, other)) not in takes:
            continue
        if isinstance(one, Choices):
            words = [json.dumps(value) if isinstance(value, list) else value for value in one.values]
            word = trial.suggest_categorical(name, words)
            values[name] = one.values[words.index(word)]
        elif search_space.is_whole(name):
            values[name] = trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
        else:
            values[name] = trial.suggest_float(name, one.low, one.high, log=one.log)
    return values


def config_of(base: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration of a trial: factors of layers that aren't searched stay."""
    kept = {f"{FACTOR}{name}": value for name, value in factors(base.layer_factors or ()).items()}
    searched = any(name.startswith(FACTOR) for name in values)
    return dataclasses.replace(base, **search_space.as_fields((kept if searched else {}) | dict(values)))


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """Hold back what the library warns of in a trial, which the next trial changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
