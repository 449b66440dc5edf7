"""A study as another program sees it."""

import optuna
import sqlalchemy


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
