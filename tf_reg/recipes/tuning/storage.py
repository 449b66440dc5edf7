"""The database of a study: it is opened by several processes at once, and may be away for a while."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
import sqlalchemy.orm
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage

from tf_reg_cli.errors import FailedError, UserError

Returned = TypeVar("Returned")

LOST_AFTER = 3  # heartbeats that a lost trial has left out
PATIENCE = 300.0  # seconds for which a database may be away
LOCK = 7_353_117  # the number of the lock of PostgreSQL under which tables are made


class Database:
    """A database that keeps a study.

    Optuna's storage is used as it is. Added is what several processes need: tables are made by one of them, a step of
    the search is one transaction that no other process comes between, and a call is repeated while the database is
    away.

    Args:
        url: As SQLAlchemy takes it, of SQLite or PostgreSQL.
        heartbeat: Seconds between two signs of life of a trial.
        patience: Seconds for which a call is repeated.

    Raises:
        UserError: The database is of another kind, or can't be reached.
    """

    def __init__(self, url: str, heartbeat: int, patience: float = PATIENCE) -> None:
        self._url, self._heartbeat, self._patience = parsed(url), heartbeat, patience
        self._trouble = -float("inf")  # when a call failed last
        try:
            with _alone(self._url):
                self.trials = self._opened()
        except ImportError as error:
            raise UserError(f"--storage needs a driver that isn't installed: {error}. {DRIVER}") from error
        except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, RuntimeError, OSError) as error:
            raise UserError(f"--storage {shown(self._url)} can't be opened: {_reason(error)}") from error

        # The thread of the heartbeats has sessions of its own, which are in no transaction of `one_transaction`.
        self._beats = RDBStorage.__new__(RDBStorage)
        sessions = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(bind=self.trials.engine))
        vars(self._beats).update(vars(self.trials), scoped_session=sessions)

    def _opened(self) -> RDBStorage:
        """Optuna's storage. A second try is for another program, as the dashboard, that makes the tables too."""
        try:
            return self._once_opened()
        except (StorageInternalError, sqlalchemy.exc.DBAPIError):
            return self._once_opened()

    def _once_opened(self) -> RDBStorage:
        sqlite = self._url.get_backend_name() == "sqlite"
        settings: dict[str, Any] = {"connect_args": {"timeout": 60} if sqlite else {"connect_timeout": 10}}
        with quiet():
            storage = RDBStorage(
                self._url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
                {"pool_pre_ping": True, **settings},
                heartbeat_interval=self._heartbeat,
                grace_period=LOST_AFTER * self._heartbeat,
                heartbeat_stale_trial_callback=enqueue_lost,
            )
        if sqlite:
            _begin_by_writing(storage.engine)
        return storage

    @property
    def settled(self) -> bool:
        """Whether the database has answered for so long that a trial without heartbeats is a lost one."""
        return time.monotonic() - self._trouble > LOST_AFTER * self._heartbeat

    def beat(self, trial_id: int) -> None:
        """Write a sign of life of a trial, from any thread; one that fails is left out."""
        try:
            self._beats.record_heartbeat(trial_id)
        except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError):
            self._trouble = time.monotonic()
        finally:
            self._beats.remove_session()

    def close(self) -> None:
        """Close all connections."""
        self.trials.remove_session()
        self.trials.engine.dispose()

    def insist(self, call: Callable[[], Returned]) -> Returned:
        """Return what a call returns, and repeat it while the database is away.

        Raises:
            FailedError: The database was away for too long.
        """
        start, pause, said = time.monotonic(), 0.1, False
        while True:
            try:
                return call()
            except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
                self._trouble, trouble = time.monotonic(), _reason(error)
                if self._trouble - start > self._patience:
                    raise FailedError(
                        f"{shown(self._url)} hasn't answered for {self._patience:g} seconds: {trouble} The same "
                        "command goes on from here."
                    ) from error
            if not said and pause > 1:
                print(f"Note: {shown(self._url)} doesn't answer. Trying again: {trouble}", file=sys.stderr)
                said = True
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 5.0)

    @contextlib.contextmanager
    def one_transaction(self, study: str) -> Iterator[None]:
        """Let what the block does through `trials` be seen by others at its end, whole or not at all.

        Other processes' blocks about this study wait. A process that dies within a block has done nothing.

        Args:
            study: The name of the study.
        """
        sessions = self.trials.scoped_session
        with self.trials.engine.begin() as connection:
            if connection.dialect.name != "sqlite":  # which has begun by writing
                row = sqlalchemy.text("SELECT study_id FROM studies WHERE study_name = :name FOR UPDATE")
                connection.execute(row, {"name": study})
            sessions.remove()
            sessions.configure(bind=connection, join_transaction_mode="create_savepoint")
            try:
                yield
            finally:
                sessions.remove()
                sessions.configure(bind=self.trials.engine, join_transaction_mode="conditional_savepoint")


DRIVER = "Install it by pip install -e '.[tune]' and write postgresql+psycopg://USER@HOST/DATABASE."


def parsed(url: str) -> sqlalchemy.URL:
    """Return the parts of an address.

    Raises:
        UserError: It is no address of SQLite or PostgreSQL.
    """
    try:
        parts = sqlalchemy.make_url(url)
        parts.get_dialect()
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UserError("--storage must be an address, as postgresql+psycopg://USER@HOST/DATABASE.") from error
    except ImportError as error:
        raise UserError(f"--storage needs a driver that isn't installed: {error}. {DRIVER}") from error
    if parts.get_backend_name() not in ("sqlite", "postgresql"):
        wanted = "postgresql+psycopg://USER@HOST/DATABASE"
        raise UserError(f"--storage takes PostgreSQL: {wanted}. Received: {shown(parts)}.")
    return parts


def shown(url: sqlalchemy.URL | str) -> str:
    """Return an address without its password, which can stand among its settings too."""
    return sqlalchemy.make_url(url)._replace(password=None, query={}).render_as_string(hide_password=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what Optuna says of its parts that may change."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")  # it has its own thread: Study.alive
        yield


def enqueue_lost(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Enqueue a trial again whose process has gone, unless that has happened to it too often."""
    lost, most = trial.user_attrs.get("lost", 0) + 1, study.user_attrs["settings"]["retries"]
    if lost <= most:
        enqueue_again(study, trial, {"lost": lost})


def enqueue_again(study: optuna.Study, trial: optuna.trial.FrozenTrial, notes: dict[str, Any]) -> None:
    """Enqueue a trial with the same settings, which names the one that it repeats, as Optuna's own retries do.

    What a pruner has noted of the first one isn't taken over: the second one is measured from its beginning.
    """
    origin = trial.system_attrs.get("failed_trial", trial.number)
    history = [*trial.system_attrs.get("retry_history", []), trial.number]
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"lost": trial.user_attrs.get("lost", 0), **notes},
            system_attrs={"failed_trial": origin, "retry_history": history},
        )
    )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out of the block."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(url: sqlalchemy.URL) -> Iterator[None]:
    """Keep all other processes that open the database out of the block: two can't make its tables at once."""
    if url.get_backend_name() == "sqlite":
        with locked(Path(url.database or ".").absolute().parent):
            yield
        return
    engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": 10})
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(LOCK)))
            yield
    finally:
        engine.dispose()


def _begin_by_writing(engine: sqlalchemy.Engine) -> None:
    """Let a transaction of SQLite lock the file at its beginning, so that what it has read still holds as it writes.

    Python's own way is to begin at the first change: two processes would both find a trial waiting and both take it.
    """

    def leave_it_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(engine, "connect", leave_it_to_us)
    sqlalchemy.event.listen(engine, "begin", begin)
    engine.dispose()  # connections that were made before


def _reason(error: BaseException) -> str:
    """What a database says, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".") + "."
