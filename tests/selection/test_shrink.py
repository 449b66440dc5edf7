"""`tf_reg.shrink` on small problems, end to end."""

import functools
import json
import re

import keras
import numpy as np
import pytest

import tf_reg
from tests.tools import slow_on_tensorflow
from tf_reg.selection import search
from tf_reg.selection.frontier import size_of

pytestmark = pytest.mark.contract
X = np.random.default_rng(0).normal(size=(700, 6)).astype("float32")
Y = (X[:, 0] > 0).astype("int32") + 2 * (X[:, 1] > 0).astype("int32")
TRAIN, VALIDATION = (X[:300], Y[:300]), (X[300:], Y[300:])
QUICK = {"refit_epochs": 4, "batch_size": 60, "verbose": 0, "max_drop": 0.1, "candidates": 1}


@functools.cache
def trained(path):
    """The path of a file with a trained model, which has regularizers and metrics."""
    keras.utils.set_random_seed(0)
    l2 = keras.regularizers.L2(1e-4)
    hidden = [keras.layers.Dense(n, "relu", kernel_regularizer=l2) for n in (32, 16)]
    model = keras.Sequential([keras.Input((6,)), *hidden, keras.layers.Dense(4, "softmax")])
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*TRAIN, epochs=15, verbose=0)
    model.save(path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("model") / "model.keras"


@pytest.fixture
def model(file):
    return keras.saving.load_model(trained(file))


def shrink(model, **changes):
    given = {"optimizer": keras.optimizers.Adam(0.02), **QUICK, **changes}
    return tf_reg.shrink(model, TRAIN, VALIDATION, **given)


def state(model):
    """What must stay as it is."""
    table, optimizer = tf_reg.regularizers_of(model), [np.array(v) for v in model.optimizer.variables]
    return [*model.get_weights(), *optimizer], str(table), id(model.optimizer), json.dumps(model.get_config())


@slow_on_tensorflow
def test_a_smaller_model_and_the_first_one_untouched(model, capsys):
    before = state(model)
    found = shrink(model, verbose=1)
    after = state(model)
    assert all(np.array_equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    [candidate] = found.frontier
    assert found.found
    assert found.chosen is candidate
    assert size_of(found.model).cost <= size_of(model).cost / 4
    accuracy = found.model.evaluate(*VALIDATION, verbose=0)[1]
    assert accuracy == pytest.approx(candidate.score, abs=1e-6)
    assert found.score - candidate.score == pytest.approx(candidate.drop)
    assert candidate.drop < candidate.upper < 0.1
    assert found.model.losses == []  # no regularizers are left
    assert found.model.optimizer is not model.optimizer
    found.model.fit(*TRAIN, epochs=1, verbose=0)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"original: {size_of(model).cost:,} multiply-adds, score {found.score:.4f} of 400")
    assert re.match(r"candidate 1: \d+\.\d% of the multiply-adds, .*: passed, \d+ s$", second)
    assert repr(found).splitlines()[-1].startswith("Candidate 1 has ")


def answers(passed):
    """A test that lets candidates pass, in this order."""
    passes = iter(passed)

    def compare(original, candidate, margin, level):
        return search.Comparison(0.0, 0.0, 0.0 if next(passes) else 1.0)

    return compare


@pytest.fixture
def decided(monkeypatch):
    """Decide which candidates pass, and make them without training: each with fewer units."""
    made = []

    def press(start, rules, optimizer, goal, epoch, batch):
        made.append((size_of(start).cost, goal))
        small = tf_reg.compact(start)
        units = [max(1, int(layer.units * (goal / size_of(start).cost) ** 0.7)) for layer in small.layers[:-1]]
        parts = [keras.layers.Dense(count, "relu") for count in units]
        return keras.Sequential([keras.Input((6,)), *parts, keras.layers.Dense(4, "softmax")]), 0.5

    def refitted(small, original, *others):
        small.compile("sgd", original.loss, metrics=["accuracy"])
        return small

    def decide(*passed):
        monkeypatch.setattr(search, "press", press)
        monkeypatch.setattr(search, "refitted", refitted)
        monkeypatch.setattr(search, "compare_scores", answers(passed))
        return made

    return decide


def test_the_search_is_bold_and_then_becomes_gentle(model, decided):
    made = decided(True, True, False, True, False, False, False, True)
    found = shrink(model, candidates=8)
    assert [one.made_from for one in found.frontier] == [0, 1, 2, 2, 4, 4, 4]
    assert found.chosen.number == 4
    assert size_of(found.model).cost == found.chosen.multiply_adds
    shares = [goal / before for before, goal in made]
    assert shares == pytest.approx([0.25, 0.25, 0.25, 0.5, 0.5, 0.5**0.5, 0.25**0.125])


def test_no_more_candidates_than_planned(model, decided):
    decided(True, True, True)
    assert len(shrink(model, candidates=2).frontier) == 2


def test_each_candidate_is_tested_at_its_part_of_the_level(model, decided, monkeypatch):
    decided(True, True)
    levels, compare = [], search.compare_scores
    monkeypatch.setattr(search, "compare_scores", lambda *given: (levels.append(given[-1]), compare(*given))[1])
    assert shrink(model, candidates=2, level=0.04).level == 0.04
    assert levels == [0.02, 0.02]


def test_nothing_passes(model, decided):
    decided(False, False, False, False)
    with pytest.warns(UserWarning, match="No smaller model passed"):
        found = shrink(model, candidates=8)
    assert (found.found, found.chosen, len(found.frontier)) == (False, None, 4)
    assert found.model is model
    assert "the model is the original" in repr(found)


@slow_on_tensorflow
def test_a_folder_goes_on_where_a_call_stopped(model, decided, tmp_path, monkeypatch, capsys):
    whole = {"candidates": 3, "folder": tmp_path / "whole", "verbose": 1}
    decided(True, False, True)
    expected = shrink(model, **whole)
    files = {path.name for path in (tmp_path / "whole").iterdir()}
    assert files == {"frontier.json", *(f"candidate-{number}.keras" for number in (1, 2, 3))}
    expected_lines = capsys.readouterr().out.splitlines()

    made = decided(True, False)
    monkeypatch.setattr(search, "compare_scores", stopping(search.compare_scores, after=2))
    part = {**whole, "folder": tmp_path / "part"}
    with pytest.raises(KeyboardInterrupt, match=r"Interrupted. 2 candidates lie in .*part; the same call goes on"):
        shrink(model, **part)
    made.clear()
    decided(True)
    capsys.readouterr()
    found = shrink(model, **part)
    assert len(made) == 1
    assert [one.made_from for one in found.frontier] == [one.made_from for one in expected.frontier]
    assert found.model.evaluate(*VALIDATION, verbose=0)[1] == pytest.approx(found.chosen.score, abs=1e-6)
    assert len(capsys.readouterr().out.splitlines()) == len(expected_lines)

    again = shrink(model, **part)  # nothing is left to do
    assert again.frontier == found.frontier
    assert len(made) == 1
    assert all(np.array_equal(a, b) for a, b in zip(again.model.get_weights(), found.model.get_weights(), strict=True))


def stopping(compare, after):
    """Ctrl-C in the test of a later candidate."""
    calls = []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise KeyboardInterrupt
        return compare(*arguments)

    return stopped


def test_another_call_in_the_same_folder_is_refused(model, decided, tmp_path):
    decided(True, True)
    shrink(model, folder=tmp_path)
    for changes, named in (({"max_drop": 0.2}, "max_drop"), ({"seed": 1}, "seed"), ({"penalty": "units"}, "penalty")):
        with pytest.raises(ValueError, match=rf"the same settings. Received: .*another {named}"):
            shrink(model, folder=tmp_path, **changes)
    with pytest.raises(ValueError, match="another validation"):
        tf_reg.shrink(model, TRAIN, (X[:400], Y[:400]), folder=tmp_path, optimizer=keras.optimizers.Adam(0.02), **QUICK)


def test_a_folder_of_something_else_is_refused(model, tmp_path):
    (tmp_path / "candidate-1.keras").touch()
    with pytest.raises(ValueError, match=r"with .keras files and without frontier.json"):
        shrink(model, folder=tmp_path)
    (tmp_path / "frontier.json").write_text("[]")
    with pytest.raises(ValueError, match=r"isn't what tf_reg.shrink writes"):
        shrink(model, folder=tmp_path)
    with pytest.raises(ValueError, match=r"a file\."):
        shrink(model, folder=tmp_path / "frontier.json")


def test_too_few_examples_to_prove_anything(model, tmp_path):
    with pytest.raises(ValueError, match=r"That takes 539 examples; 400 can prove a drop of 0.0068"):
        shrink(model, max_drop=0.005, folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_too_few_examples_if_answers_change(model, decided):
    decided(True)
    with pytest.warns(UserWarning, match=r"400 validation examples only if fewer than .* of the answers change. With"):
        shrink(model, max_drop=0.008)


def test_other_scores(model, decided):
    decided(True)
    with pytest.warns(UserWarning, match=r"only if the scores of single examples change by less than"):
        found = shrink(model, score=lambda y, p: np.log(p[np.arange(len(y)), y] + 1e-7), max_drop=1e-4)
    assert found.score == pytest.approx(
        -model.evaluate(*VALIDATION, verbose=0)[0]
        + sum(float(keras.ops.convert_to_numpy(one)) for one in model.losses),
        abs=1e-3,
    )


@pytest.mark.parametrize(("loss", "metric"), [("mse", "mae"), (keras.losses.Huber(), None), ({"dense_2": "mse"}, None)])
def test_a_model_that_is_no_classifier_needs_a_score(model, loss, metric):
    model.compile("adam", loss)
    with pytest.raises(ValueError, match=r"Without score=, model has one output.*Received: loss="):
        shrink(model)


def test_a_penalty_without_zeros_is_refused(model):
    with pytest.raises(ValueError, match=r"penalty makes weights of the model zero.*Received: penalty="):
        shrink(model, penalty=keras.regularizers.L2(0.1))
    with pytest.raises(ValueError, match="penalty is one of 'channels', 'units', 'inputs', 'weights'"):
        shrink(model, penalty="chanels")


def test_weights_of_validation_are_refused(model):
    with pytest.raises(ValueError, match="validation has no weights"):
        tf_reg.shrink(model, TRAIN, (*VALIDATION, np.ones(400)), 0.1)


def test_a_scheduled_rate_is_refused(model):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    with pytest.raises(ValueError, match="a rate that is a number"):
        shrink(model, optimizer=keras.optimizers.Adam(schedule))
