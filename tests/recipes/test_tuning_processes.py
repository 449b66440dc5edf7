"""`tf-reg tune` in several processes: one is killed in mid-trial, and the database goes away and comes back."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.tools import ROOT, imported

for name in ("optuna", "psycopg"):
    imported(name, "tune")

from tests.recipes import postgres, studies  # noqa: E402

TRIALS = 12
FLAGS = (
    "--reg", "l1", "--hidden", "8", "--train-size", "200", "--epochs", "12", "--name", "s", "--trials", TRIALS,
    "--heartbeat", "2", "--retries", "5",
)  # fmt: skip


@pytest.fixture
def start(tmp_path):
    """Start `tf-reg tune` in a folder: a function of the folder's name and flags, to the process."""
    with contextlib.ExitStack() as stack:

        def process(folder, *flags):
            (tmp_path / folder).mkdir(exist_ok=True)
            log = stack.enter_context((tmp_path / f"log-{len(list(tmp_path.glob('log-*')))}").open("w+"))
            command = [sys.executable, ROOT / "scripts/tune.py", *map(str, (*FLAGS, *flags))]
            made = subprocess.Popen(
                command, cwd=tmp_path / folder, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                env=os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"},
            )  # fmt: skip
            made.log = log
            stack.callback(lambda: (made.kill(), made.wait()))
            return made

        yield process


def said(process):
    process.log.seek(0)
    return process.log.read()


class Trials:
    """The trials of a study, as another program sees them."""

    def __init__(self, url):
        self.url = url

    def read(self):
        found = studies.read(self.url)
        return [] if found is None else found.trials

    def wait_for(self, found, seconds=120):
        """Read until something is found among the trials, and return it."""
        deadline = time.monotonic() + seconds
        while not (seen := found(self.read())):
            assert time.monotonic() < deadline, self.read()
            time.sleep(0.05)
        return seen


def kill_in_mid_trial(trials, processes):
    """Kill a process that has reported of its trial, and return that trial's number."""
    by_pid = {process.pid: process for process in processes}

    def reported(found):
        running = [trial for trial in found if trial.state.name == "RUNNING" and trial.intermediate_values]
        return next(((trial.number, int(trial.user_attrs["worker"].rpartition(":")[2])) for trial in running), None)

    while True:
        number, pid = trials.wait_for(reported)
        os.kill(pid, signal.SIGSTOP)
        now = trials.read()  # nothing where the process has a lock
        if now and now[number].state.name == "RUNNING":
            by_pid[pid].kill()
            by_pid[pid].wait()
            return number, by_pid[pid]
        os.kill(pid, signal.SIGCONT)


def check(trials, lost):
    """No trial is lost and none doubled."""
    by_origin = {}
    for trial in trials:
        by_origin.setdefault(trial.system_attrs.get("failed_trial", trial.number), []).append(trial)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert len(by_origin) == TRIALS  # the budget counts a trial and those that repeat it once
    repeated = Counter(
        trial.system_attrs["retry_history"][-1] for trial in trials if "failed_trial" in trial.system_attrs
    )
    failed = {trial.number for trial in trials if trial.state.name == "FAIL"}
    assert repeated == dict.fromkeys(failed, 1)  # each lost one has one that repeats it and names it
    assert lost in failed
    assert trials[lost].intermediate_values
    for family in by_origin.values():
        assert sum(trial.state.name != "FAIL" for trial in family) == 1  # not two that came to an end
        assert all(trial.params == family[0].params for trial in family)
    return by_origin


def finish(processes):
    for process in processes:
        assert process.wait(240) == 0, said(process)
        assert "Traceback" not in said(process)
        assert "is the best, by validation examples" in said(process)


@pytest.mark.slow
def test_four_workers_one_killed_and_the_database_restarted(start):
    with postgres.server() as server:
        workers = [start(f"machine-{number}", "--storage", server.url) for number in range(4)]
        trials = Trials(server.url)
        lost, killed = kill_in_mid_trial(trials, workers)
        workers.remove(killed)
        trials.wait_for(lambda found: any(trial.state.name == "RUNNING" for trial in found if trial.number != lost))
        server.stop()
        time.sleep(1)
        server.start()
        finish(workers)
        by_origin = check(trials.read(), lost)
        first, *_, last = by_origin[lost]
        assert first.user_attrs["worker"] != last.user_attrs["worker"]  # another process has repeated it
        ends = {said(worker).split("\n\n", 1)[1].replace("\n", " ") for worker in workers}
        assert len(ends) == 1  # all have come to the same end
        assert f"optuna-dashboard {server.url}" in ends.pop()


@pytest.mark.slow
def test_two_workers_on_one_file_one_killed(start, tmp_path):
    workers = [start("here") for _ in range(2)]
    trials = Trials(f"sqlite:///{tmp_path}/here/runs/s/study.db")
    lost, killed = kill_in_mid_trial(trials, workers)
    workers.remove(killed)
    workers.append(start("here"))
    finish(workers)
    check(trials.read(), lost)
