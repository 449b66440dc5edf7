"""A study as another program sees it."""

import contextlib

import optuna
from sqlalchemy import pool


def read(url, name="s"):
    """Return a study, or None where there is none yet. No table is made and no connection stays open."""
    settings = {"connect_args": {"timeout": 60} if url.startswith("sqlite") else {}, "poolclass": pool.NullPool}
    with contextlib.suppress(KeyError, RuntimeError, optuna.exceptions.StorageInternalError):
        storage = optuna.storages.RDBStorage(url, settings, skip_table_creation=True)
        return optuna.load_study(study_name=name, storage=storage)
    return None
