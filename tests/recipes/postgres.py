"""A PostgreSQL server of a test's own, of the binaries that are installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.tools import missing

DEBIAN = Path("/usr/lib/postgresql")  # each version's binaries, which aren't on the path


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`."""
    folders = sorted(DEBIAN.glob("*/bin"), key=lambda folder: int(folder.parent.name))[::-1]
    found = shutil.which("initdb")
    folders += [Path(found).parent] if found else []
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


class Server:
    """A server on a port of its own, run as a user without rights: PostgreSQL refuses to be root."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._data = binaries, folder / "data"
        self._as_user: dict[str, object] = {}
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            name = "postgres" if "postgres" in names else "nobody"
            entry = pwd.getpwnam(name)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
            self._as_user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://tester@127.0.0.1:{self.port}/postgres"
        self._log = folder / "log"
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "tester", "-E", "UTF8", "--locale=C", "--no-sync")

    def _run(self, name: str, *words: object) -> None:
        command = [str(self._binaries / name), *map(str, words)]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **self._as_user)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        places = ["-D", self._data, "-k", self._data, "-p", self.port, "-h", "127.0.0.1", "-c", "fsync=off"]
        with self._log.open("ab") as log:
            command = [str(self._binaries / "postgres"), *map(str, places)]
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self._as_user)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"host=127.0.0.1 port={self.port} user=tester dbname=postgres").close()
            return True
        return False

    def stop(self) -> None:
        """Stop the server, with all that is connected to it."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A running server; the test is skipped where there are no binaries."""
    found = binaries()
    if found is None:
        missing("postgresql", "PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # which the other user may reach
        made = Server(found, Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()
