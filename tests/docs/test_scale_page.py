"""The scripts of the page about several machines can be read by what they are for, and have flags that exist."""

import re
import subprocess

import pytest
import yaml

from tests.docs.pages import blocks
from tests.tools import ROOT
from tf_reg_cli.main import parse

PAGE = ROOT / "docs/scale.md"
[SLURM], [KUBERNETES] = blocks(PAGE, "bash"), blocks(PAGE, "yaml")
SERVICE, JOB = yaml.safe_load_all(KUBERNETES.text)
[CONTAINER] = JOB["spec"]["template"]["spec"]["containers"]
SCRIPTS = {"SLURM": SLURM.text, "Kubernetes": CONTAINER["args"][0]}


@pytest.mark.parametrize("where", SCRIPTS)
def test_a_script_is_one_that_bash_reads_and_has_flags_that_exist(where, tmp_path, monkeypatch):
    subprocess.run(["bash", "-n"], input=SCRIPTS[where], text=True, check=True)
    begins, resumes = re.findall(r"what=\((--dataset .*|--resume .*)\)", SCRIPTS[where])[::-1]
    shared = ["--devices", "all", "--num-processes", "4", "--process-id", "3", "--coordinator", "train-0.train:12345"]
    assert all(flag in SCRIPTS[where] for flag in shared[::2])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/big").mkdir(parents=True)
    for what in (begins, resumes):
        _, bound = parse(["train", *what.split(), *shared])
        assert bound.arguments


def test_the_job_finds_its_processes_and_its_folder():
    spec = JOB["spec"]
    pods = spec["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 4
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["selector"] == {"job-name": JOB["metadata"]["name"]}
    assert pods["subdomain"] == SERVICE["metadata"]["name"]
    assert f"{JOB['metadata']['name']}-0.{pods['subdomain']}:" in CONTAINER["args"][0]
    assert CONTAINER["volumeMounts"][0]["name"] == pods["volumes"][0]["name"]
    assert CONTAINER["workingDir"] == CONTAINER["volumeMounts"][0]["mountPath"]
