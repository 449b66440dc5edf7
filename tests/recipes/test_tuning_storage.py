"""The database of a study: it is away, several processes open and use it at once, and its address is wrong."""

import contextlib
import threading
import time
from types import SimpleNamespace

import pytest

from tests.recipes import postgres
from tests.tools import imported, require_module
from tf_reg_cli.errors import FailedError, UserError

optuna = imported("optuna", "tune")
sqlalchemy = imported("sqlalchemy", "tune")

from optuna.trial import TrialState  # noqa: E402

from tests.recipes.studies import draw, lose, trials  # noqa: E402
from tf_reg.recipes.tuning import storage  # noqa: E402
from tf_reg.recipes.tuning.storage import Database  # noqa: E402


def away(times):
    """A function that fails so often, as if the database were away."""
    left = [times]

    def call(*_):
        left[0] -= 1
        if left[0] >= 0:
            raise sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    return call


def test_a_database_that_is_away_for_a_while(join, monkeypatch, capsys):
    now = time.monotonic()
    monkeypatch.setattr(storage, "time", SimpleNamespace(monotonic=lambda: now, sleep=lambda seconds: None))
    study = join()
    fails = away(6)
    begun = study.begin(1, lambda trial: fails() or draw(trial))
    assert begun.trial.number == 0
    assert len(trials(study)) == 1
    assert not study._database.settled  # for a while, nobody is taken for lost
    lose(study, begun)
    assert study.begin(1, draw) is True
    assert trials(study)[0].state == TrialState.RUNNING
    assert capsys.readouterr().err.count("doesn't answer. Trying again: server closed the connection.") == 1


def test_a_database_that_is_away_for_long(join):
    study = join(patience=0.0)
    fails = away(100)
    with pytest.raises(FailedError, match=r"hasn't answered for 0 seconds: server closed .* The same command goes on"):
        study.begin(1, fails)


def test_an_end_that_is_written_though_the_answer_is_lost(join, monkeypatch):
    """The second call finds that the first one did it."""
    study = join()
    begun, lost = study.begin(1, draw), away(1)
    insist = study._database.insist
    monkeypatch.setattr(study._database, "insist", lambda call: insist(lambda: (call(), lost())[0]))
    found = study.end(begun.trial, TrialState.COMPLETE, [0.25])
    assert (found.state, found.values) == (TrialState.COMPLETE, [0.25])
    lost = away(1)
    again = study.begin(3, draw)
    assert again.trial.number == 2  # that of the lost answer is nobody's, and will be missed
    lost = away(1)
    study.end(again.trial, TrialState.FAIL, again=True)
    assert [trial.state.name for trial in trials(study)] == ["COMPLETE", "RUNNING", "FAIL", "WAITING"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Python's filters are for one thread alone, as a process has it
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_at_once(join, kind):
    """Threads with connections of their own stand for processes: no number twice, no waiting trial taken twice."""
    with postgres.server() if kind == "postgresql" else contextlib.nullcontext() as server:
        where = {} if server is None else {"url": server.url}
        studies, begun, budget = [join(**where) for _ in range(4)], [], 12
        waiting = [studies[0].begin(budget, draw).trial for _ in range(6)]
        for trial in waiting:
            studies[0].end(trial, TrialState.FAIL, again=True)

        def work(study):
            while (one := study.begin(budget, draw)) not in (True, False):
                begun.append(one.trial.number)
                study.end(one.trial, TrialState.COMPLETE, [0.5])

        threads = [threading.Thread(target=work, args=(study,)) for study in studies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = trials(studies[0])
        assert [trial.number for trial in found] == list(range(6 + budget))
        assert sorted(begun) == list(range(6, 6 + budget))
        assert all(study._database.settled for study in studies)  # they wait for each other, and nobody is refused
        for study in studies:
            study._database.close()


@pytest.mark.filterwarnings("ignore")
def test_tables_are_made_by_one_at_a_time(join, tmp_path, monkeypatch):
    (tmp_path / "study.db").unlink()
    once_opened, inside, most = Database._once_opened, [], []

    def watched(database):
        inside.append(database)
        most.append(len(inside))
        try:
            return once_opened(database)
        finally:
            inside.pop()

    monkeypatch.setattr(Database, "_once_opened", watched)
    threads = [threading.Thread(target=join) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert trials(join()) == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nowhere", "--storage must be an address, as postgresql"),
        ("mysql://me@host/x", "--storage takes PostgreSQL"),
        ("postgresql+nodriver://me@host/x", "--storage must be an address, as postgresql"),
        ("postgresql+pg8000://me@host/x", "--storage needs a driver that isn't installed: "),
        ("sqlite:////nowhere/at/all/study.db", "--storage sqlite:////nowhere/at/all/study.db can't be opened: "),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/x",
            r"--storage postgresql\+psycopg://me@127.0.0.1:1/x can't be opened: connection ",
        ),
    ],
)
def test_addresses(url, sentence):
    if "psycopg" in url:
        require_module("psycopg", "tune")
    with pytest.raises(UserError, match=sentence) as caught:
        Database(url, heartbeat=1)
    assert "secret" not in str(caught.value) or "secret" not in url
    assert len(str(caught.value).splitlines()) == 1


def test_a_password_is_not_shown():
    assert storage.shown("postgresql+psycopg://me:secret@host/x") == "postgresql+psycopg://me@host/x"
