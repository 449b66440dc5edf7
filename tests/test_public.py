"""Every public name is documented, and the examples in the documentation run."""

import doctest
import inspect
import operator

import keras
import numpy as np
import pytest

import tf_reg
from tf_reg import tf1

TF1 = [name for name, value in vars(tf1).items() if inspect.isroutine(value) and not name.startswith("_")]
TRAINS = {
    "GapController",
    "Proximal",
    "RegularizationLogger",
    "Resume",
    "TargetSparsity",
    "cross_validate",
    "mc_predict",
    "regularization_path",
    "report",
    "shrink",
    "stability_selection",
}  # examples of seconds
NAMES = sorted(tf_reg.__all__) + [f"tf1.{name}" for name in TF1]


def public(name):
    return operator.attrgetter(name)(tf_reg)


def test_all_is_what_is_public():
    modules = {name for name, value in vars(tf_reg).items() if inspect.ismodule(value)}
    assert {name for name in vars(tf_reg) if not name.startswith("_")} - modules == set(tf_reg.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_have_arguments_and_an_example(name):
    documentation = inspect.getdoc(public(name))
    parameters = [p for p in inspect.signature(public(name)).parameters if p not in ("args", "kwargs")]
    for parameter in parameters:
        assert f"\n    {parameter}: " in documentation, f"{parameter} isn't documented"
    assert ">>> " in documentation


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in TRAINS else ()) for name in NAMES]
)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"tf_reg": tf_reg, "keras": keras, "np": np}
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=options)
    for example in doctest.DocTestFinder(recurse=False).find(public(name), name, globs=names):
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 0
