"""The oldest versions that pyproject.toml allows are the ones in tests/lowest.txt, which CI tests."""

import tomllib

from packaging.requirements import Requirement

from tests.tools import ROOT


def pins():
    lines = [line.partition("#")[0].strip() for line in (ROOT / "tests" / "lowest.txt").read_text().splitlines()]
    return {Requirement(line).name: str(Requirement(line).specifier) for line in lines if line}


def test_the_floors_are_what_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        Requirement(line) for line in (*project["dependencies"], *extras["serving"], *extras["tune"], *extras["test"])
    ]
    floors = {one.name: str(one.specifier).replace(">=", "==") for one in wanted if one.specifier}
    tested = pins()
    assert floors.keys() <= tested.keys()
    assert [name for name, floor in floors.items() if not f"{tested[name]}.".startswith(f"{floor}.")] == []
