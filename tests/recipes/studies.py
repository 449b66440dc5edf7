"""A study as another program sees it, and what the tests of studies do with trials."""

import optuna
import sqlalchemy
from optuna.trial import TrialState

SETTINGS = {"config": {"epochs": 3}, "space": {"x": {"low": 0, "high": 1}}, "retries": 2, "prune": True}


def read(url, name="s"):
    """Return a study, or None where its settings aren't there yet. No connection stays open.

    Optuna's storage would make tables where there are none, at the same time as the process that is watched.
    """
    patience = {"timeout": 60} if url.startswith("sqlite") else {}
    settings = {"connect_args": patience, "poolclass": sqlalchemy.pool.NullPool}
    ready = "SELECT 1 FROM studies NATURAL JOIN study_user_attributes WHERE study_name = :name AND key = 'settings'"
    try:
        with sqlalchemy.create_engine(url, **settings).connect() as connection:
            if connection.execute(sqlalchemy.text(ready), {"name": name}).first() is None:
                return None
    except sqlalchemy.exc.DBAPIError:
        return None
    return optuna.load_study(study_name=name, storage=optuna.storages.RDBStorage(url, settings))


def draw(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0), "y": trial.suggest_float("y", 1e-3, 1.0, log=True)}


def execute(study, text, **values):
    with study._database.trials.engine.begin() as connection:
        connection.execute(sqlalchemy.text(text), values)


def lose(study, begun):
    """Let the last sign of life of a trial be long ago."""
    past = "UPDATE trial_heartbeats SET heartbeat = '2001-01-01 00:00:00' WHERE trial_id = :one"
    execute(study, past, one=begun.trial._trial_id)


def trials(study):
    return study.now().trials


def complete(study, budget=14, value=0.5):
    begun = study.begin(budget, draw)
    study.end(begun.trial, TrialState.COMPLETE, [value])
    return begun
