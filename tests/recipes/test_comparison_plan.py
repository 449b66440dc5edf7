"""Plans of comparisons: those that come along, one's own, and their mistakes."""

import pytest

from tf_reg.recipes import plan
from tf_reg.recipes.plan import Method
from tf_reg_cli.config import Config


@pytest.mark.parametrize("name", plan.PLANS)
def test_the_plans_that_come_along(name):
    loaded = plan.load(name)
    assert loaded.methods[0] == Method("none")
    assert all(loaded.reference(method) in loaded.methods for method in loaded.methods[1:])
    for method in loaded.methods:
        switched = [len(Config(**settings).methods) for settings in method.choose]
        if name == "methods" and method.name not in ("combination", "AdamW"):
            assert max(switched) <= 1, method.name


PLAN = """
columns = ["test accuracy", "zeros"]
[[method]]
name = "none"
[[method]]
name = "dropout"
choose = [{ dropout = 0.5 }, { dropout = 0.2 }]
"""


def test_a_plan_of_ones_own(tmp_path):
    (tmp_path / "a.toml").write_text(PLAN)
    loaded = plan.load(str(tmp_path / "a.toml"))
    assert loaded.methods == (Method("none"), Method("dropout", ({"dropout": 0.5}, {"dropout": 0.2})))
    assert [column.head for column in loaded.columns] == ["test accuracy (%)", "exact zeros (%)"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dropout = 0.5", "dropuot = 0.5", "method 2: unknown name 'dropuot'. Did you mean dropout"),
        ("dropout = 0.5", "dropout = 1.5", "method 2: --dropout"),
        ("dropout = 0.5", "seed = 5", "method 2: unknown name 'seed'"),
        ('name = "none"', "", "method 1 needs a name of its own"),
        ('name = "dropout"', 'name = "none"', "method 2 needs a name of its own"),
        ('name = "none"', 'name = "none"\nbeside = "x"', "none is beside 'x', which is no method before it"),
        ('name = "none"', 'name = "none"\nepochs_factor = 0.5', "epochs_factor is a whole number"),
        ('name = "none"', 'name = "none"\nchoose = []', "choose is a list of settings"),
        ('"zeros"]', '"zeroes"]', "columns is a list of test accuracy, gap"),
        ("[[method]]", "[[methods]]", "unknown name 'methods'. Did you mean method?"),
        ("choose = [{ dropout = 0.5 }", "epochs_factor = 2\nchoose = [{ epochs = 3 }", "has epochs and epochs_factor"),
        ('["test accuracy", "zeros"]', '[["zeros"]]', "columns is a list of test accuracy, gap"),
        ("columns =", "columns", "can't be read as TOML"),
    ],
)
def test_mistakes_in_a_plan(command, tmp_path, old, new, message):
    (tmp_path / "a.toml").write_text(PLAN.replace(old, new))
    code, out, err = command("compare", "a.toml")
    assert (code, out) == (2, "")
    assert err.startswith("tf-reg compare: ")
    assert message in err
    assert len(err.splitlines()) == 1
