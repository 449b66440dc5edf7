"""The report of each result, and what a browser makes of it."""

import dataclasses
import functools
import html
import re
import shutil

import keras
import pytest
from sklearn.datasets import load_diabetes

import tf_reg
from tests.recipes.test_comparison import of_the_seed
from tests.tools import missing, require_module
from tf_reg.recipes import comparison, comparison_report, linear_comparison, plan, trials
from tf_reg.selection.frontier import Candidate, Shrunk, Size
from tf_reg_cli.config import Config
from tf_reg_cli.main import main


def linear(l1_ratio=1.0):
    penalty = keras.regularizers.L1L2(l1=l1_ratio, l2=1 - l1_ratio)
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, kernel_regularizer=penalty, name="dense")])
    model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.05, momentum=0.9)), "mse")
    return model


@functools.cache
def data():
    x, y = load_diabetes(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def candidate(number, share, score, proven):
    size = {"parameters": int(1000 * share), "multiply_adds": int(900 * share)}
    return Candidate(number, 0, 0.1, **size, score=score, drop=0.9 - score, upper=0.95 - score, p_value=0.01,
                     proven=proven, seconds=1.0)  # fmt: skip


@functools.cache
def shrunk():
    frontier = (candidate(1, 0.5, 0.91, True), candidate(2, 0.2, 0.8, False))
    return Shrunk(linear(), True, frontier, frontier[0], Size(1000, 900), 0.9, 0.02, 0.05)


RESULTS = {
    "path": lambda: tf_reg.regularization_path(linear, data(), count=4, smallest=0.01, verbose=0),
    "network": lambda: tf_reg.regularization_path(
        linear, data(), validation=data(), strengths=[1e-2, 0.1], epochs=3, verbose=0
    ),
    "validation": lambda: tf_reg.cross_validate(
        linear, data(), [0.5, 0.05], grid={"l1_ratio": [0.5, 0.9]}, splitter=2, epochs=3, verbose=0
    ),
    "stability": lambda: tf_reg.stability_selection(linear, data(), [0.5, 0.1], samples=4, epochs=3, verbose=0),
    "shrink": shrunk,
}
EXPECTED = {
    "path": ["Regularization path", "4 strengths."],
    "network": ["validation loss"],
    "validation": ["2 folds. min is", "The first row was chosen.", "l1_ratio"],
    "stability": ["4 samples.", "in 90 % of the samples"],
    "shrink": ["Candidate 1 has 50.0% of the multiply-adds", "original"],
}


@functools.cache
def result(name):
    return RESULTS[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
def test_a_report_has_the_table_of_its_result(name, tmp_path):
    file = tf_reg.report(result(name), tmp_path / "a.html", title="A <title>")
    made = file.read_text(encoding="utf-8")
    assert "<h1>A &lt;title&gt;</h1>" in made
    cells = [html.unescape(cell) for cell in re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", made)]
    for row in result(name).rows:
        assert all(cell in cells for cell in row)
    assert made.count("data:image/png;base64,") >= 1
    tf_reg.report(result(name), tmp_path / "b.html")
    assert all(words in (tmp_path / "b.html").read_text(encoding="utf-8") for words in EXPECTED[name])


def test_a_file_that_exists_is_kept(tmp_path):
    file = tmp_path / "a.html"
    file.write_text("mine")
    with pytest.raises(ValueError, match=r"a.html exists. Choose another file, or overwrite=True"):
        tf_reg.report(shrunk(), file)
    assert file.read_text() == "mine"
    tf_reg.report(shrunk(), file, overwrite=True)
    assert "Shrink" in file.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["a.html"]


def test_a_shrink_that_found_nothing_has_a_report_too(tmp_path):
    nothing = dataclasses.replace(shrunk(), found=False, chosen=None, frontier=())
    made = tf_reg.report(nothing, tmp_path / "a.html").read_text()
    assert "No smaller model passed" in made


@pytest.fixture(scope="module")
def browser():
    require_module("playwright", "browser")
    if shutil.which("chromium") is None:
        missing("chromium", "chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield opened
        opened.close()


def looked_at(browser, file, width):
    """Open a page: what the console says, what is requested besides, and what the page measures."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.resolve().as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    wide = page.evaluate("document.documentElement.scrollWidth")
    images = page.evaluate(
        "[...document.images].map(one => [one.complete && one.naturalWidth > 0, one.getBoundingClientRect().width])"
    )
    page.close()
    return said, asked, wide, images


def of_a_comparison(folder, monkeypatch):
    """The report of a comparison whose trainings are made up."""
    monkeypatch.setattr(trials, "train", of_the_seed)
    made, known = plan.load("methods"), trials.Trials(folder / "a.jsonl")
    base = Config(epochs=20)
    rows = list(comparison.compare(base, 2, known, made))
    return comparison_report.write(rows, made, known, base, folder / "a.jsonl")


def of_a_search(folder):
    """The report of a study whose trials are made up."""
    require_module("optuna", "tune")
    import optuna

    from tf_reg.recipes.tuning import pictures, report

    space = {"dropout": optuna.distributions.FloatDistribution(0, 1)}
    made = [
        optuna.trial.create_trial(values=[0.9 - rate, 1000 * rate], params={"dropout": rate}, distributions=space)
        for rate in (0.1, 0.2, 0.4)
    ]
    made.append(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, params={}, distributions={}))
    for number, trial in enumerate(made):
        trial.number = number
    objectives, chosen = ("accuracy", "live-parameters"), {f"front-{one.number}.json": one for one in made[:2]}
    pictures.draw(made, list(chosen.values()), objectives, [{"dropout": 0.7, "l1": 0.3}, {}], folder)
    report.write(made, chosen, objectives, folder)
    return folder / "report.html"


def test_a_search_has_its_front_and_all_trials(tmp_path):
    made = of_a_search(tmp_path).read_text()
    assert "4 trials: 3 complete, 1 ended early." in made
    rows = re.findall(r"<tr>(.*?)</tr>", made)
    cells = [re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row) for row in rows]
    head = ["trial", "state", "dropout", "accuracy", "live-parameters"]
    assert cells[:3] == [head, ["0", "complete", "0.1", "0.8", "100"], ["1", "complete", "0.2", "0.7", "200"]]
    assert cells[-1] == ["3", "pruned", "", "", ""]
    assert made.count("data:image/png") == 3


def of_linear_models(folder):
    """The report of `tf-reg compare linear`."""
    return linear_comparison.write(linear_comparison.compare(0), folder / "linear")


def of_a_table(folder):
    """The report of a run on a table."""
    assert main(["train", "--dataset", "breast_cancer", "--reg", "group", "--epochs", "3", "--quiet"]) == 0
    return next(folder.glob("runs/*/report.html"))


def of_a_shrunk_run(folder):
    """The report of a run that was made smaller."""
    train = "train --hidden 24 --epochs 6 --validation-split 0.4 --quiet --name small"
    shrink = "shrink runs/small --max-drop 0.2 --candidates 1 --refit-epochs 10 --learning-rate 0.01"
    assert [main(train.split()), main(shrink.split())] == [0, 0]
    return folder / "runs/small-shrunk/report.html"


OTHERS = {"search": of_a_search, "linear": of_linear_models, "table": of_a_table, "shrunk": of_a_shrunk_run}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RESULTS, "run", "comparison", *OTHERS])
def test_a_browser_shows_it_on_a_phone_and_on_a_screen(name, browser, tmp_path, request, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "run":
        file = request.getfixturevalue("finished").run / "report.html"
    elif name == "comparison":
        file = of_a_comparison(tmp_path, monkeypatch)
    elif name in OTHERS:
        file = OTHERS[name](tmp_path)
    else:
        file = tf_reg.report(result(name), tmp_path / "a.html")
    for width in (375, 1200):
        said, asked, wide, images = looked_at(browser, file, width)
        assert said == []
        assert asked == [file.resolve().as_uri()]
        assert wide <= width
        assert images
        assert all(loaded and 300 <= shown <= width for loaded, shown in images)
