"""Who runs which trial, and what becomes of lost ones: a study in a file, without training."""

import contextlib
import shutil
import threading
import time
import warnings

import pytest

from tests.recipes import postgres
from tests.tools import imported, require_module
from tf_reg_cli.errors import FailedError, UserError

optuna = imported("optuna", "tune")
sqlalchemy = imported("sqlalchemy", "tune")

from optuna.trial import TrialState  # noqa: E402

from tf_reg.recipes.tuning import storage  # noqa: E402
from tf_reg.recipes.tuning.storage import Database  # noqa: E402
from tf_reg.recipes.tuning.study import Study, TakenError, ended  # noqa: E402

SETTINGS = {"config": {"epochs": 3}, "space": {"x": {"low": 0, "high": 1}}, "retries": 2, "prune": True}


def draw(trial):
    return {"x": trial.suggest_float("x", 0.0, 1.0), "y": trial.suggest_float("y", 1e-3, 1.0, log=True)}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database with all tables and no study: making the tables takes longer than most tests."""
    file = tmp_path_factory.mktemp("empty") / "study.db"
    Database(f"sqlite:///{file}", heartbeat=1).close()
    return file


@pytest.fixture
def join(tmp_path, empty):
    """Join the study in the folder, as a process does: a function of settings that differ, to the study."""
    opened = []
    shutil.copy(empty, tmp_path / "study.db")

    def study(url=f"sqlite:///{tmp_path}/study.db", patience=5.0, objectives=("accuracy",), pruner=None, **settings):
        opened.append(Database(url, heartbeat=1, patience=patience))
        return Study(opened[-1], "s", SETTINGS | settings, objectives, pruner, 0)

    yield study
    for database in opened:
        database.close()


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


def test_a_budget_is_for_all_processes_together(join):
    one, other = join(), join()
    begun = [study.begin(3, draw) for study in (one, other, one)]
    assert [each.trial.number for each in begun] == [0, 1, 2]
    assert len({each.values["x"] for each in begun}) == 3
    assert one.begin(3, draw) is True  # some aren't at their end
    for each in begun:
        one.end(each.trial, TrialState.COMPLETE, [each.values["x"]])
    assert other.begin(3, draw) is False
    assert other.begin(4, draw).trial.number == 3
    assert ended(trials(one)) == 3


def test_a_lost_trial_fails_and_is_repeated_once(join):
    one, other = join(), join()
    lost = one.begin(2, draw)
    one.hopeless(lost.trial, 0.3, 1)
    lose(one, lost)
    again = other.begin(2, draw)
    assert again.values == lost.values
    first, second = trials(other)
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.RUNNING)
    assert (second.system_attrs["failed_trial"], second.system_attrs["retry_history"]) == (0, [0])
    assert second.params == first.params
    assert second.intermediate_values == {}
    assert one.begin(2, draw).trial.number == 2  # not the same one again, and the budget counts both once
    assert one.begin(2, draw) is True


def test_who_was_taken_for_lost_learns_of_it(join):
    one, other = join(), join()
    lost = one.begin(1, draw)
    lose(one, lost)
    again = other.begin(1, draw)
    with pytest.raises(TakenError):
        one.hopeless(lost.trial, 0.3, 1)
    assert one.end(lost.trial, TrialState.COMPLETE, [0.9], {"accuracy": 0.9}).state == TrialState.FAIL
    assert other.end(again.trial, TrialState.COMPLETE, [0.4]).state == TrialState.COMPLETE
    assert [trial.values for trial in trials(one)] == [None, [0.4]]
    assert one.begin(1, draw) is False


@pytest.mark.parametrize("retries", [0, 2])
def test_a_trial_that_is_lost_again_and_again_is_given_up(join, retries):
    study = join(retries=retries)
    for _ in range(retries + 1):
        lose(study, study.begin(1, draw))
    assert study.begin(1, draw) is False
    histories = [trial.system_attrs.get("retry_history", []) for trial in trials(study)]
    assert histories == [list(range(number)) for number in range(retries + 1)]
    assert {trial.system_attrs.get("failed_trial", 0) for trial in trials(study)} == {0}
    assert ended(trials(study)) == 1


def test_who_leaves_gives_the_trial_back_however_often(join):
    study = join(retries=1)
    for _ in range(4):
        study.end(study.begin(1, draw).trial, TrialState.FAIL, again=True)
    assert [trial.state.name for trial in trials(study)] == ["FAIL"] * 4 + ["WAITING"]
    assert ended(trials(study)) == 0
    lose(study, study.begin(1, draw))
    assert study.begin(1, draw).trial.number == 5  # lost for the first time


def test_a_pruner_sees_nothing_of_a_run_that_was_lost(join):
    study = join(pruner=optuna.pruners.SuccessiveHalvingPruner(1, 2))
    lost = study.begin(1, draw)
    assert not study.hopeless(lost.trial, 0.5, 1)
    assert "completed_rung_0" in trials(study)[0].system_attrs
    lose(study, lost)
    study.begin(1, draw)
    assert set(trials(study)[1].system_attrs) & {"completed_rung_0"} == set()


def test_a_trial_has_a_sign_of_life_from_its_beginning(join):
    """One without any would never be missed by Optuna."""
    study = join()
    study.begin(1, draw)
    with study._database.trials.engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM trial_heartbeats")).scalar() == 1


def test_signs_of_life(join):
    study = join()
    begun = study.begin(1, draw)
    with study.alive(begun.trial, 0.02):
        lose(study, begun)
        deadline = time.monotonic() + 10
        while study._database.trials._get_stale_trial_ids(1):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    lose(study, begun)
    time.sleep(0.1)
    assert study._database.trials._get_stale_trial_ids(1) == [begun.trial._trial_id]


def test_what_fails_in_its_middle_has_done_nothing(join):
    study = join()

    def fails(trial):
        draw(trial)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        study.begin(1, fails)
    assert trials(study) == []
    assert complete(study).trial.number == 0


def away(times):
    """A function that fails so often, as if the database were away."""
    left = [times]

    def call(*_):
        left[0] -= 1
        if left[0] >= 0:
            raise sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    return call


def test_a_database_that_is_away_for_a_while(join, monkeypatch, capsys):
    monkeypatch.setattr(storage.random, "uniform", lambda *_: 0.0)  # don't wait
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


@pytest.mark.slow
def test_an_interrupted_search_draws_what_one_without_a_break_draws(join, empty, tmp_path):
    whole = join()
    wanted = [complete(whole, value=number / 20).values for number in range(14)]
    shutil.copy(empty, tmp_path / "study.db")
    found = []
    for number in range(14):
        study = join()  # a process of its own
        if number in (3, 12):
            study.end(study.begin(14, draw).trial, TrialState.FAIL, again=True)
        found.append(complete(study, value=number / 20).values)
    assert found == wanted
    assert len({one["x"] for one in found}) == 14


def test_other_settings_are_refused(join):
    join()
    with pytest.raises(
        UserError, match=r"The study s exists with other settings \(epochs, prune, the search of z\), and"
    ):
        join(config={"epochs": 4}, prune=False, space=SETTINGS["space"] | {"z": {}})


def test_a_study_of_another_program_is_refused(join, tmp_path):
    foreign = optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.db", direction="maximize")
    foreign.add_trial(optuna.create_trial(value=1.0))
    foreign._storage._backend.engine.dispose()
    with pytest.raises(UserError, match="The study s exists and isn't one of tf-reg tune"):
        join()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nowhere", "--storage must be postgresql"),
        ("mysql://me@host/x", "--storage takes PostgreSQL"),
        ("postgresql+nodriver://me@host/x", "--storage must be postgresql"),
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


def test_optuna_says_nothing(join, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complete(join())
    assert capsys.readouterr() == ("", "")


def test_a_password_is_not_shown():
    assert storage.shown("postgresql+psycopg://me:secret@host/x") == "postgresql+psycopg://me@host/x"
