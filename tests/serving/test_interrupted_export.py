"""Exports that are killed, run out of space, may not write, or run at once: no version is ever half there."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

import tf_reg
from tests.exports import classifier, published
from tests.tools import ROOT, missing
from tf_reg.serving.write import versions

NOBODY = 65534

# Imports TensorFlow once, uses nothing of it, and forks: that saves each child the seconds of the import.
SERVER = """
    import os, resource, signal, sys
    import tf_reg
    from tests import loader
    from tests.exports import classifier, pixels
    from tf_reg.serving.verify import c_api

    def export(folder, report, count, limit, user):
        model, c_api.run_apart = classifier(), loader.run_here  # a second less each
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        os.write(report, b"ready\\n")
        if user:
            os.setuid(user)
        try:
            for _ in range(count):
                tf_reg.export(model, folder, examples=pixels(4))
            os.write(report, b"done\\n")
        except Exception as error:
            os.write(report, f"{type(error).__name__}: {error}\\n".encode())

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    print("up", flush=True)
    for line in sys.stdin:
        folder, report, *numbers = line.rstrip("\\n").split("\\t")
        process = os.fork()
        if not process:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            export(folder, os.open(report, os.O_WRONLY | os.O_CREAT), *map(int, numbers))
            os._exit(0)
        print(process, flush=True)
"""


class Child:
    """A process that exports."""

    def __init__(self, process, report):
        self.process, self._report = process, report

    @property
    def alive(self):
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        return True

    def says(self):
        return self._report.read_text() if self._report.exists() else ""

    def wait(self, until=lambda child: not child.alive):
        deadline = time.monotonic() + 120
        while not until(self):
            assert time.monotonic() < deadline, self.says()
            time.sleep(0.002)
        return self.says()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        return self.wait()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start a child that exports `count` times: `start(folder, count, limit=bytes a file, user=id)`."""
    reports = tmp_path_factory.mktemp("reports")
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert server.stdout.readline() == "up\n"

    def begin(folder, count=1, limit=0, user=0):
        report = reports / str(len(list(reports.iterdir())))
        report.touch()
        print(folder, report, count, limit, user, sep="\t", file=server.stdin, flush=True)
        child = Child(int(server.stdout.readline()), report)
        child.wait(lambda child: child.says() or not child.alive)
        return child

    with server:
        yield begin
        server.kill()


def contents(base):
    """Every byte of the versions that a server sees."""
    folders = [base / str(version) for version in versions.versions(base)]
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def check(base, before):
    """Every version that a server sees is a good one, and the old ones are what they were."""
    for version in versions.versions(base):
        tf_reg.verify_saved_model(base / str(version))
    after = contents(base)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("kills", [pytest.param(10, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.long)])
def test_killed_at_random_moments(start, tmp_path, kills):
    base, generator = tmp_path / "m", random.Random(0)
    clock = time.perf_counter()
    assert start(base).wait() == "ready\ndone\n"
    duration, before, reports = time.perf_counter() - clock, contents(base), []
    for _ in range(kills):
        child = start(base)
        time.sleep(generator.uniform(0, duration))
        reports.append(child.kill())
    assert reports.count("ready\n") > kills / 5, "most of them were done before they were killed"
    assert reports.count("ready\ndone\n") <= len(versions.versions(base)) - 1
    check(base, before)
    others = [name for name in published(base) if not name.isdecimal()]
    assert all(name.startswith(".") for name in others)
    assert tf_reg.export(classifier(), base).name == str(max(versions.versions(base)))


@pytest.mark.slow
def test_a_file_that_can_not_grow(start, tmp_path):
    base = tmp_path / "m"
    tf_reg.export(classifier(), base)
    before = contents(base)
    for limit in (64, 512, 2048, 4096, 16384):
        said = start(base, limit=limit).wait()
        assert "Error: " in said
        assert "done" not in said
        assert published(base) == ["1"]
    check(base, before)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few pages, and a function that fills it up to a number of bytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        missing("mount", f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_full_disk(start, small_disk):
    base = small_disk / "m"
    tf_reg.export(classifier(), base)
    before = contents(base)
    for left in (4096, 8192, 16384, 32768, 40960):
        (small_disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - left))
        said = start(base).wait()
        (small_disk / "filler").unlink()
        assert "Error: " in said, f"{left} bytes were enough"
        assert published(base) == ["1"]
    check(base, before)


@pytest.mark.slow
def test_a_folder_that_can_not_be_written(start):
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are for their owner alone
    try:
        folder.chmod(0o755)
        tf_reg.export(classifier(), folder / "m")
        before = contents(folder / "m")
        if os.geteuid():
            (folder / "m").chmod(0o555)
        said = start(folder / "m", user=0 if os.geteuid() else NOBODY).wait()
        assert "PermissionError" in said
        (folder / "m").chmod(0o755)
        check(folder / "m", before)
        assert published(folder / "m") == ["1"]
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_two_at_once(start, tmp_path):
    children = [start(tmp_path / "m", count=3) for _ in range(2)]
    assert [child.wait() for child in children] == ["ready\ndone\n"] * 2
    assert versions.versions(tmp_path / "m") == list(range(1, 7))
    check(tmp_path / "m", {})
    assert published(tmp_path / "m") == [str(version) for version in range(1, 7)]
