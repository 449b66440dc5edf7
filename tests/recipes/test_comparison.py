import dataclasses
import json
import logging

import pytest

from tf_reg.recipes import comparison
from tf_reg.recipes.comparison import STUDIES, Study, Trials
from tf_reg_cli.config import Config


def study(**methods):
    """The study of the methods' accuracies, with these methods alone."""
    return STUDIES["methods"]._replace(methods=methods)


class Fake(Trials):
    """Accuracies that depend on the configuration as a test wants it; counts what is trained."""

    def __init__(self, validation, test):
        self.asked, self._of = [], (validation, test)

    def metrics(self, config):
        self.asked.append(config)
        validation, test = (of(config) for of in self._of)
        return {"validation_accuracy": validation, "test_accuracy": test, "train_accuracy": 1.0}


def test_the_strength_is_chosen_on_validation_examples_alone():
    strengths = study(L1=[{"reg": "l1", "l1": value} for value in (1e-5, 1e-4, 1e-3)])
    trials = Fake(validation=lambda config: 1 - abs(config.l1 - 1e-4), test=lambda config: config.l1)
    (row,) = comparison.compare(Config(), 3, trials, strengths)
    assert row.chosen == {"reg": "l1", "l1": 1e-4}
    assert {config.seed for config in trials.asked if config.l1 != 1e-4} == {0, 1}
    assert {config.seed for config in trials.asked if config.l1 == 1e-4} == {0, 1, 2}


def test_means_and_deviations_over_the_seeds():
    trials = Fake(lambda config: 0, lambda config: 0.8 + 0.01 * config.seed)
    (row,) = comparison.compare(Config(seed=5), 3, trials, study(none=[{}]))
    assert row.numbers == [pytest.approx((86, 1)), pytest.approx((14, 1))]
    assert list(comparison.markdown([row], study()))[2:] == ["| none |  | 86.0 ± 1.0 | 14.0 ± 1.0 |"]


def test_every_method_is_there_alone():
    methods = dict(comparison.METHODS)
    combinations = methods.pop("combination")
    assert len(methods) == 1 + 8
    for candidates in methods.values():
        assert len({len(Config(**candidate).methods) for candidate in candidates}) == 1
        assert all(len(Config(**candidate).methods) <= 1 for candidate in candidates)
    assert all(len(Config(**candidate).methods) > 1 for candidate in combinations)


def test_the_command_prints_a_table_and_goes_on_where_it_stopped(command, tmp_path, monkeypatch):
    monkeypatch.setitem(STUDIES, "methods", study(none=[{}], dropout=[{"dropout": 0.5}, {"dropout": 0.2}]))
    monkeypatch.setattr(comparison, "_train", accuracy_of_the_seed)
    flags = ["--model", "linear", "--epochs", "1", "--train-size", "100", "--seeds", "2", "--results", "r/all.jsonl"]
    code, table, err = command("compare", *flags)
    assert (code, err) == (0, "")
    assert table.splitlines()[0].startswith("| method |")
    assert len(table.splitlines()) == 4
    lines = (tmp_path / "r/all.jsonl").read_text().splitlines()
    assert len(lines) == 2 + 4
    assert {json.loads(line)["config"]["seed"] for line in lines} == {0, 1}
    monkeypatch.setattr(comparison, "_train", lambda config: pytest.fail("trained again"))
    assert command("compare", *flags) == (0, table, "")


def test_a_setting_that_a_file_of_results_does_not_know_has_its_default():
    old = dataclasses.asdict(Config(epochs=3))
    del old["reweight"]
    assert comparison._key(old) == comparison._key(dataclasses.asdict(Config(epochs=3)))
    assert comparison._key(old) != comparison._key(dataclasses.asdict(Config(epochs=4)))


def test_steps_that_are_chosen_are_no_other_training():
    keys = {steps: comparison._key(dataclasses.asdict(Config(steps_per_execution=steps))) for steps in ("auto", 1, 2)}
    assert keys["auto"] == keys[1] != keys[2]


def accuracy_of_the_seed(config):
    return dict.fromkeys(["validation_accuracy", "test_accuracy", "train_accuracy"], 0.1 * config.seed)


@pytest.mark.slow
def test_many_trainings_warn_of_nothing(caplog, capsys):
    """TensorFlow warns where a function is traced again and again, and a comparison trains many models."""
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addHandler(caplog.handler)
    try:
        for seed in range(6):
            comparison._train(Config(reg="l1", epochs=2, train_size=100, seed=seed))
    finally:
        tensorflow.removeHandler(caplog.handler)
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "0"], "--seeds must be 1 or more"),
        (["--compact"], "--compact does nothing in a comparison, which writes no runs and no models. Leave it out."),
        (["--name", "a"], "--name does nothing in a comparison"),
        (["--quiet"], "--quiet does nothing in a comparison"),
        (["--results", "bad.jsonl"], "bad.jsonl is no file of results"),
        (["--results", "text.txt"], "text.txt is no file of results: its last line is no result"),
        (
            ["--reg", "l2", "--dropout", "0.5"],
            "compare switches the methods on itself. Leave out the flags of l2, dropout",
        ),
    ],
)
def test_mistakes_exit_with_2(command, tmp_path, flags, message):
    (tmp_path / "bad.jsonl").write_text("{}\n")
    (tmp_path / "text.txt").write_text("precious")
    code, _, err = command("compare", *flags)
    assert code == 2
    assert err.startswith(f"tf-reg compare: {message}")
    assert (tmp_path / "text.txt").read_text() == "precious"


def test_a_line_that_was_cut_off_is_trained_again(tmp_path, monkeypatch):
    file = tmp_path / "all.jsonl"
    monkeypatch.setattr(comparison, "_train", lambda config: {"seed": config.seed})
    for seed in range(3):
        Trials(file).metrics(Config(seed=seed))
    whole = file.read_text()
    file.write_text(whole[:-40])
    trained = []
    monkeypatch.setattr(comparison, "_train", lambda config: trained.append(config.seed) or {"seed": config.seed})
    trials = Trials(file)
    assert [trials.metrics(Config(seed=seed, quiet=True, compact=True))["seed"] for seed in range(3)] == [0, 1, 2]
    assert trained == [2]
    assert len(file.read_text().splitlines()) == 3


def test_one_seed_has_no_deviation():
    rows = comparison.compare(Config(), 1, Fake(lambda config: 0, lambda config: 0.8), study(none=[{}]))
    assert list(comparison.markdown(rows, study()))[2:] == ["| none |  | 80.0 | 20.0 |"]


@pytest.mark.slow
def test_a_study_of_zeros(tmp_path):
    """Keras' L1 has none; each way to zeros has some; the target's row is at the target; stronger leaves less."""
    base = Config(epochs=12, learning_rate=0.005, train_size=600, batch_size=32)
    stronger = {
        method: [{**chosen, **{name: 200 * chosen[name] for name in ("l1", "group_lasso") if name in chosen}}]
        for method, (chosen,) in comparison.ZEROS.items()
    }
    zeros = Study(stronger, STUDIES["zeros"].columns)
    rows = {row.method: row for row in comparison.compare(base, 1, Trials(tmp_path / "all.jsonl"), zeros)}
    shares = {method: row.numbers[1][0] for method, row in rows.items()}
    live = {method: row.numbers[2][0] for method, row in rows.items()}
    dense, in_loss, proximal, group, target, higher_target, stronger_group = rows
    assert shares[dense] == shares[in_loss] == 0
    assert min(shares[proximal], shares[group]) > 10
    assert shares[target] == pytest.approx(90, abs=1)
    assert shares[higher_target] == pytest.approx(95.5, abs=1)
    assert live[stronger_group] < live[group] < live[dense]
    assert next(iter(comparison.markdown(rows.values(), zeros))).endswith("| exact zeros (%) | live parameters |")
