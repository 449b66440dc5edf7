"""Who runs which trial, and what becomes of lost ones: a study in a file, without training."""

import shutil
import time
import warnings

import pytest

from tests.tools import imported
from tf_reg_cli.errors import UserError

optuna = imported("optuna", "tune")
sqlalchemy = imported("sqlalchemy", "tune")

from optuna.trial import TrialState  # noqa: E402

from tests.recipes.studies import SETTINGS, complete, draw, lose, trials  # noqa: E402
from tf_reg.recipes.tuning.halving import Halving  # noqa: E402
from tf_reg.recipes.tuning.study import TakenError, ended  # noqa: E402


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
    assert not study.hopeless(study.begin(2, draw).trial, 0.1, 1, last=True)  # at its end in any case
    assert study.hopeless(study.begin(3, draw).trial, 0.1, 1)
    assert "completed_rung_0" in trials(study)[0].system_attrs
    lose(study, lost)
    study.begin(1, draw)
    assert set(trials(study)[-1].system_attrs) & {"completed_rung_0"} == set()


def test_a_run_that_was_lost_ends_no_other_trial(join):
    """Of four values the two best go on. If 0.7 counted twice, 0.65 would be the third of five."""
    study = join(pruner=Halving(1, 2))
    lost = study.begin(4, draw)
    assert not study.hopeless(lost.trial, 0.7, 1)
    lose(study, lost)
    found = [study.hopeless(study.begin(4, draw).trial, value, 1) for value in (0.7, 0.5, 0.6, 0.65)]
    assert found == [False, True, True, False]


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


@pytest.mark.slow
def test_an_interrupted_search_draws_what_one_without_a_break_draws(join, empty_database, tmp_path):
    whole = join()
    wanted = [complete(whole, value=number / 20).values for number in range(14)]
    shutil.copy(empty_database, tmp_path / "study.db")
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


def test_optuna_says_nothing(join, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        complete(join())
    assert capsys.readouterr() == ("", "")
