"""Successive halving among the trials that count: one that was lost and is repeated counts once."""

from __future__ import annotations

from typing import Any, cast

import optuna


class Halving(optuna.pruners.SuccessiveHalvingPruner):
    """Optuna's successive halving (Jamieson and Talwalkar 2016), in which trials that were repeated have no say.

    So a search whose process was killed ends the same trials as one that wasn't.
    """

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Return whether a trial should end."""
        return super().prune(cast(optuna.Study, _Counting(study)), trial)


class _Counting:
    """A study without the trials that others repeat."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **options: Any) -> list[optuna.trial.FrozenTrial]:
        found = self._study.get_trials(*args, **options)
        repeated = {number for trial in found for number in trial.system_attrs.get("retry_history", ())}
        return [trial for trial in found if trial.number not in repeated]
