"""Comparisons: settings chosen on validation examples, pairs over seeds, progress, resumption and the report."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from scipy import stats

from tests.recipes.test_comparison_plan import PLAN
from tf_reg.recipes import comparison, plan, trials
from tf_reg.recipes.plan import COLUMNS, Method, Plan
from tf_reg.recipes.trials import Trials
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError

CURVE = [1.0, 0.5]


def of(**methods):
    """A plan of these methods, with the accuracy and the gap."""
    made = tuple(Method(name, tuple(choose)) for name, choose in methods.items())
    return Plan(made, (COLUMNS["test accuracy"], COLUMNS["gap"]))


class Fake(Trials):
    """Accuracies that depend on the configuration as a test wants it; counts what is trained."""

    def __init__(self, validation, test):
        self.asked, self._of = [], (validation, test)

    def knows(self, config):
        return config in self.asked

    def record(self, config):
        self.asked.append(config)
        validation, test = (of(config) for of in self._of)
        return {"metrics": {"validation_accuracy": validation, "test_accuracy": test, "train_accuracy": 1.0}}


def test_the_strength_is_chosen_on_validation_examples_alone():
    strengths = of(L1=[{"reg": "l1", "l1": value} for value in (1e-5, 1e-4, 1e-3)])
    fake = Fake(validation=lambda config: 1 - abs(config.l1 - 1e-4), test=lambda config: config.l1)
    (row,) = comparison.compare(Config(), 3, fake, strengths)
    assert row.chosen == {"reg": "l1", "l1": 1e-4}
    assert {config.seed for config in fake.asked if config.l1 != 1e-4} == {0, 1}
    assert {config.seed for config in fake.asked if config.l1 == 1e-4} == {0, 1, 2}


def test_means_and_deviations_over_the_seeds():
    fake = Fake(lambda config: 0, lambda config: 0.8 + 0.01 * config.seed)
    (row,) = comparison.compare(Config(seed=5), 3, fake, of(none=[{}]))
    assert row.numbers == (pytest.approx((86, 1)), pytest.approx((14, 1)))
    assert list(comparison.markdown([row], of(none=[{}])))[2:] == ["| none |  | 86.0 ± 1.0 | 14.0 ± 1.0 |  |  |"]


def test_a_method_is_compared_with_another_one_seed_by_seed():
    scores = {0.0: [0.8, 0.9, 0.7, 0.85], 0.5: [0.82, 0.93, 0.7, 0.88]}
    fake = Fake(lambda config: 0, lambda config: scores[config.dropout][config.seed])
    first, second = comparison.compare(Config(), 4, fake, of(none=[{}], dropout=[{"dropout": 0.5}]))
    assert (first.difference, first.p_value) == (None, None)
    gain = np.subtract(scores[0.5], scores[0.0])
    assert second.difference == pytest.approx((gain.mean(), stats.sem(gain)))
    assert second.p_value == pytest.approx(stats.ttest_1samp(gain, 0).pvalue)
    *_, line = comparison.markdown([first, second], of(none=[{}], dropout=[{}]))
    assert line.endswith(f"| +2.00 ± 0.71 | {second.p_value:.3f} |")


def test_a_score_that_is_no_number_is_never_chosen():
    fake = Fake(lambda config: float("nan") if config.dropout == 0.7 else config.dropout, lambda config: 0)
    (row,) = comparison.compare(Config(), 2, fake, of(dropout=[{"dropout": rate} for rate in (0.2, 0.7, 0.5)]))
    assert row.chosen == {"dropout": 0.5}


def test_a_list_is_shown_too():
    row = next(comparison.compare(Config(), 1, Fake(lambda c: 0, lambda c: 0), of(a=[{"hidden": [64, 32]}])))
    assert [*comparison.cells([row], of(a=[{}]))][1][1] == "hidden 64 32"


def test_a_column_that_the_data_have_not_is_one_sentence():
    fake = Fake(lambda config: 0, lambda config: 0)
    fake.record = lambda config: {"metrics": {"validation_r2": 0.5, "test_r2": 0.4, "train_r2": 0.6}}
    with pytest.raises(UserError, match="has no test_accuracy, which the column 'test accuracy \\(%\\)' needs"):
        next(comparison.compare(Config(), 1, fake, of(none=[{}])))
    made = Plan((Method("none"),), (COLUMNS["test score"], COLUMNS["score gap"]))
    (row,) = comparison.compare(Config(), 1, fake, made)
    assert [mean for mean, _ in row.numbers] == pytest.approx([0.4, 0.2])


def test_new_contents_of_a_file_are_new_trainings(tmp_path, monkeypatch):
    trained, file = [], tmp_path / "a.csv"
    monkeypatch.setattr(trials, "train", lambda config, load: trained.append(1) or {"metrics": {}})
    for contents, expected in (("x,y\n1,2\n", 1), ("x,y\n1,2\n", 1), ("x,y\n1,3\n", 2)):
        file.write_text(contents)
        Trials(tmp_path / "all.jsonl").record(Config(dataset=f"csv:{file}", target="y"))
        assert len(trained) == expected
    file.rename(tmp_path / "b.csv")
    Trials(tmp_path / "all.jsonl").record(Config(dataset=f"csv:{tmp_path}/b.csv", target="y"))
    assert len(trained) == 2


def test_the_report_is_never_the_file_of_results(command, tmp_path):
    code, _, err = command("compare", "--results", "a.html")
    assert code == 2
    assert err.startswith("tf-reg compare: --results a.html would be the file of the report.")


def test_a_difference_that_is_always_the_same_has_no_test():
    fake = Fake(lambda config: 0, lambda config: 0.8 + 0.01 * (config.dropout > 0))
    *_, row = comparison.compare(Config(), 3, fake, of(none=[{}], dropout=[{"dropout": 0.5}]))
    assert row.p_value is None
    assert [*comparison.cells([row], of(none=[{}]))][1][-2:] == ["+1.00 ± 0.00", "-"]


def test_a_method_can_have_more_epochs_and_a_reference_of_its_own():
    made = Plan(
        (Method("none"), Method("longer", epochs_factor=4), Method("a", ({"augment": True},), "longer", 4)),
        (COLUMNS["test accuracy"],),
    )
    fake = Fake(lambda config: 0, lambda config: 0.5 + 0.01 * config.seed + 0.1 * config.augment + config.epochs / 1e3)
    rows = list(comparison.compare(Config(epochs=3), 2, fake, made))
    assert [row.configs[0].epochs for row in rows] == [3, 12, 12]
    assert [None if row.difference is None else round(row.difference[0], 6) for row in rows] == [None, 0.009, 0.1]


def test_mistakes_of_a_plan_are_said_before_anything_is_trained():
    fake = Fake(lambda config: 0, lambda config: 0)
    with pytest.raises(UserError, match="swa: --swa 5 is more than all 2 --epochs"):
        comparison.compare(Config(epochs=2), 1, fake, of(none=[{}], swa=[{"swa": 5}]))
    assert fake.asked == []


def test_progress_counts_every_training_once(capsys):
    made = of(none=[{}], dropout=[{"dropout": rate} for rate in (0.2, 0.5, 0.7)])
    list(comparison.compare(Config(), 3, Fake(lambda config: config.dropout, lambda config: 0), made))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("]")[0] for line in lines] == [f"[{number}/10" for number in range(1, 11)]
    assert lines[0].startswith("[1/10] none, seed 0: validation 0.0000, ")
    assert all(line.endswith("left at most") for line in lines)


def test_the_command_prints_a_table_and_goes_on_where_it_stopped(command, tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text(PLAN)
    monkeypatch.setattr(trials, "train", of_the_seed)
    flags = [
        "a.toml",
        "--model",
        "linear",
        "--epochs",
        2,
        "--train-size",
        100,
        "--seeds",
        2,
        "--results",
        "r/all.jsonl",
    ]
    code, table, err = command("compare", *flags)
    assert code == 0
    assert len(err.splitlines()) == 2 + 4
    assert table.splitlines()[0].startswith("| method |")
    assert table.splitlines()[4:] == ["", "report  r/all.html"]
    lines = (tmp_path / "r/all.jsonl").read_text().splitlines()
    assert len(lines) == 2 + 4
    assert {json.loads(line)["config"]["seed"] for line in lines} == {0, 1}
    names = ["all-curves.png", "all-gap.png", "all-weights.png", "all-zeros.png", "all.html", "all.jsonl"]
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == names
    assert (tmp_path / "r/all.html").read_text().count("data:image/png") == 4
    monkeypatch.setattr(trials, "train", lambda config, load: pytest.fail("trained again"))
    assert command("compare", *flags) == (0, table, "")


def test_results_of_an_older_version_have_fewer_pictures(command, tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text(PLAN)
    monkeypatch.setattr(trials, "train", lambda config, load: {"metrics": of_the_seed(config)["metrics"]})
    code, _, _ = command("compare", "a.toml", "--epochs", 2, "--seeds", 1, "--results", "r/all.jsonl")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["all-gap.png", "all.html", "all.jsonl"]


def test_a_setting_that_a_file_of_results_does_not_know_has_its_default():
    old = dataclasses.asdict(Config(epochs=3))
    del old["reweight"]
    assert trials._key(old) == trials._key(dataclasses.asdict(Config(epochs=3)))
    assert trials._key(old) != trials._key(dataclasses.asdict(Config(epochs=4)))


def test_steps_that_are_chosen_are_no_other_training():
    keys = {steps: trials._key(dataclasses.asdict(Config(steps_per_execution=steps))) for steps in ("auto", 1, 2)}
    assert keys["auto"] == keys[1] != keys[2]


def of_the_seed(config, load=None):
    metrics = dict.fromkeys(["validation_accuracy", "test_accuracy", "train_accuracy"], 0.1 * config.seed)
    history = dict.fromkeys(["data_loss", "val_data_loss", "sparsity"], CURVE)
    return {"metrics": metrics, "history": history, "weights": {"bins": [1] * (len(trials.EDGES) - 1), "zeros": 9}}


@pytest.mark.slow
def test_many_trainings_warn_of_nothing(caplog, capsys):
    """TensorFlow warns where a function is traced again and again, and a comparison trains many models."""
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addHandler(caplog.handler)
    try:
        for seed in range(6):
            trials.train(Config(reg="l1", epochs=2, train_size=100, seed=seed))
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
    monkeypatch.setattr(trials, "train", lambda config, load: {"metrics": {"seed": config.seed}})
    for seed in range(3):
        Trials(file).metrics(Config(seed=seed))
    whole = file.read_text()
    file.write_text(whole[:-40])
    trained = []
    monkeypatch.setattr(
        trials, "train", lambda config, load: trained.append(config.seed) or {"metrics": {"seed": config.seed}}
    )
    again = Trials(file)
    assert [again.metrics(Config(seed=seed, quiet=True, compact=True))["seed"] for seed in range(3)] == [0, 1, 2]
    assert trained == [2]
    assert len(file.read_text().splitlines()) == 3


def test_one_seed_has_no_deviation_and_no_pair():
    fake = Fake(lambda config: 0, lambda config: 0.8)
    made = of(none=[{}], dropout=[{"dropout": 0.5}])
    lines = list(comparison.markdown(comparison.compare(Config(), 1, fake, made), made))
    assert lines[2:] == ["| none |  | 80.0 | 20.0 |  |  |", "| dropout | dropout 0.5 | 80.0 | 20.0 |  |  |"]


@pytest.mark.slow
def test_a_study_of_zeros(tmp_path):
    """Keras' L1 has none; each way to zeros has some; the target's row is at the target; stronger leaves less."""
    base = Config(epochs=12, learning_rate=0.005, train_size=600, batch_size=32)
    zeros = plan.load("zeros")
    stronger = tuple(
        dataclasses.replace(method, choose=({**settings, **{name: 200 * settings[name] for name in names}},))
        for method in zeros.methods
        for settings in method.choose
        for names in [[name for name in ("l1", "group_lasso") if name in settings]]
    )
    made = dataclasses.replace(zeros, methods=stronger)
    known = Trials(tmp_path / "all.jsonl")
    rows = {row.method.name: row for row in comparison.compare(base, 1, known, made)}
    shares = {method: row.numbers[1][0] for method, row in rows.items()}
    live = {method: row.numbers[2][0] for method, row in rows.items()}
    dense, in_loss, proximal, group, target, higher_target, stronger_group = rows
    assert shares[dense] == shares[in_loss] == 0
    assert min(shares[proximal], shares[group]) > 10
    assert shares[target] == pytest.approx(90, abs=1)
    assert shares[higher_target] == pytest.approx(95.5, abs=1)
    assert live[stronger_group] < live[group] < live[dense]
    head = next(iter(comparison.markdown(rows.values(), made)))
    assert head.endswith("| exact zeros (%) | live parameters | better by (points) | p |")
    record = known.record(rows[proximal].configs[0])
    assert record["history"]["sparsity"][-1] == pytest.approx(shares[proximal] / 100, abs=1e-6)
    assert len(record["history"]["val_accuracy"]) == 12
    weights = record["weights"]
    assert weights["zeros"] + sum(weights["bins"]) == 64 * 128 + 128 * 10
    assert weights["zeros"] / (64 * 128 + 128 * 10) == pytest.approx(shares[proximal] / 100, abs=1e-3)
