"""What TensorFlow writes while it is imported is held back, and shown if the import fails or the process dies."""

import os
import subprocess
import sys

import pytest

from tests.tools import ROOT

NOISY = """
import os
import sys
sys.path.insert(0, {scripts!r})
from tf_reg_cli.start import occupy_standard_descriptors, quiet_start
occupy_standard_descriptors()
try:
    with quiet_start():
        os.write(2, b"noise")
        {what}
except (ImportError, KeyboardInterrupt):
    pass
if sys.stderr is not None:
    print("after", file=sys.stderr)
"""


def start(what, **options):
    """Run the block in a process that doesn't import TensorFlow: exit code and what it wrote to standard error."""
    code = NOISY.format(scripts=str(ROOT / "scripts"), what=what)
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= options.pop("env", {})
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, **options
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("what", "code", "shown"),
    [
        ("pass", 0, "after\n"),
        ("raise ImportError", 0, "noiseafter\n"),
        ("raise KeyboardInterrupt", 0, "after\n"),
        ("os.abort()", -6, "noise"),
        ("os.kill(os.getpid(), 11)", -11, "noise"),
        ("os._exit(3)", 3, "noise"),
        ("print('x' * 10**6, file=sys.stderr)", 0, "after\n"),
    ],
)
def test_what_is_held_back(what, code, shown):
    assert start(what) == (code, shown)


def test_all_messages_can_be_asked_for():
    assert start("pass", env={"TF_CPP_MIN_LOG_LEVEL": "0"}) == (0, "noiseafter\n")


def test_closed_descriptors(tmp_path):
    """No file gets the number 2, to which TensorFlow writes."""
    what = "file = open('file', 'w'); assert file.fileno() > 2; file.close()"
    code = NOISY.format(scripts=str(ROOT / "scripts"), what=what)
    (tmp_path / "code.py").write_text(code)
    command = f"{sys.executable} code.py 0<&- 1>&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == ""
