"""The lock of .ci/run has everything that pyproject.toml asks for, each with hashes, and nothing of torch's builds."""

import json
import os
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tools import ROOT

LOCK = (ROOT / ".ci/lock.txt").read_text()
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK, flags=re.MULTILINE))
EXTRAS = ("serving", "tables", "tune", "test", "browser", "lint", "backends", "docs", "onnx", "litert", "openvino")


def wanted():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in (*project["dependencies"], *lines)]


def test_every_requirement_is_in_the_lock():
    names = [one for one in wanted() if one.name not in ("tf_reg", "torch")]
    assert len(names) > 30
    missing = [one.name for one in names if canonicalize_name(one.name) not in PINS]
    assert missing == []
    pins = [(one, PINS[canonicalize_name(one.name)]) for one in names]
    assert [f"{one} is {pin}" for one, pin in pins if not one.specifier.contains(pin)] == []


def test_the_build_of_the_package_is_in_the_lock():
    [builder] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert Requirement(builder).specifier.contains(PINS["setuptools"])


def test_every_pin_has_hashes():
    parts = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(parts) == len(PINS) > 100
    assert [part.split()[0] for part in parts if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", part)] == []


def test_no_build_of_torch_is_in_the_lock():
    assert [name for name in PINS if re.match(r"torch|triton|nvidia|cuda", name)] == []


def audit(tmp_path, said, code=0):
    """What .ci/audit ends with and prints where pip-audit prints that."""
    (tmp_path / "pip_audit.py").write_text(
        f"import sys\nprint({said!r})\nprint('no way', file=sys.stderr)\nsys.exit({code})"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, ROOT / ".ci/audit"], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


GOOD = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}
REPORTS = {
    "good": ([GOOD, UNKNOWN], 0, "1 of 2 packages looked up, 0 known weaknesses.\nNot in the database: c."),
    "weak": ([GOOD, WEAK], 1, "b 2: CVE-1, mended in 3\npip-audit: 2 of 2 packages looked up, 1 known weaknesses."),
    "nothing": ([UNKNOWN], 0, "can't be reached from here. Nothing was looked up: not found"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_audit_says_what_was_found(name, tmp_path):
    found, code, words = REPORTS[name]
    ended, said = audit(tmp_path, json.dumps({"dependencies": found}), code=int(name == "weak"))
    assert ended == code
    assert words in said


def test_the_audit_says_that_there_is_no_network(tmp_path):
    ended, said = audit(tmp_path, "", code=1)
    assert ended == 0
    assert "can't be reached from here. Nothing was looked up: no way" in said


@pytest.mark.parametrize("script", ["run", "lock"])
def test_the_scripts_are_shell(script):
    subprocess.run(["bash", "-n", ROOT / ".ci" / script], check=True)


def test_what_is_locked_installs_from_the_lock_alone():
    run = (ROOT / ".ci/run").read_text()
    installs = [line for line in run.splitlines() if re.search(r"\bpip\"? install", line) and not line.startswith("#")]
    free = [line for line in installs if not line.startswith("locked pip install")]
    assert len(installs) - len(free) == 3
    assert sorted(re.findall(r"tests/lowest|today|nightly|torch==", " ".join(free))) == [
        "nightly", "nightly", "tests/lowest", "today", "today", "torch==",
    ]  # fmt: skip
    assert 'locked bash -euo pipefail -c "$command"' in run
