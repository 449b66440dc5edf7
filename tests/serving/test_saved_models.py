"""What saved_models/README.md and compose.yaml tell people to do works, as far as that shows without a server."""

import json
import re
import shlex
import shutil
import subprocess
import urllib.request

import keras
import pytest
from keras import layers

import tf_reg
from tests import model_server
from tests.servers import stand_in
from tests.tools import ROOT, require_module
from tf_reg.serving import server_config
from tf_reg.serving.verify import server_tables
from tf_reg_cli.main import main, parse

README = (ROOT / "saved_models/README.md").read_text()
COMPOSE = (ROOT / "saved_models/compose.yaml").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)).replace("\\\n", " ")
COMMANDS = [line for line in SHELL.splitlines() if line]
NAME = "digits-mlp-l1l2"
# of tensorflow_model_server; the image's own script adds --port, --rest_api_port, --model_name and --model_base_path
KNOWN_FLAGS = {
    "model_config_file", "model_config_file_poll_wait_seconds", "allow_version_labels_for_unavailable_models",
    "enable_batching", "batching_parameters_file", "monitoring_config_file", "tensorflow_session_config_file",
}  # fmt: skip


def commands(start):
    return [command for command in COMMANDS if command.startswith(start)]


def server_flags(text):
    flags = re.findall(r"--(\w+)=(\S+)", text)
    return {name: value for name, value in flags if name in KNOWN_FLAGS or "_" in name}


def test_both_ways_to_start_the_server_are_the_same():
    [docker] = commands("docker run")
    compose = COMPOSE.replace("${MODEL}", NAME)
    assert server_flags(docker) == server_flags(compose)
    assert set(server_flags(docker)) == KNOWN_FLAGS
    for option, setting in (
        ("-p 127.0.0.1:8500:8500", '"127.0.0.1:8500:8500"'), ("-p 127.0.0.1:8501:8501", '"127.0.0.1:8501:8501"'),
        ('-v "$PWD/saved_models:/models:ro"', ".:/models:ro"), ("--user 65534:65534", 'user: "65534:65534"'),
        ("--read-only", "read_only: true"), ("--tmpfs /tmp", "tmpfs:\n    - /tmp"),
        ("--cap-drop ALL", "cap_drop: [ALL]"), ("--security-opt no-new-privileges", "no-new-privileges:true"),
    ):  # fmt: skip
        assert option in docker
        assert setting in compose
    assert "-e CUDA_CACHE_PATH=/tmp/cuda" in README
    assert "CUDA_CACHE_PATH: /tmp/cuda" in compose
    assert "MODEL_NAME" not in compose  # the image's own script doesn't quote it


def test_the_server_is_pinned_to_a_version_that_an_export_can_be_checked_for():
    [docker] = commands("docker run")
    cpu, gpu = re.findall(r"image: tensorflow/serving:(\S+)", COMPOSE)
    assert gpu == f"{cpu}-gpu"
    assert f" tensorflow/serving:{cpu} " in docker
    assert f"`tensorflow/serving:{gpu}`" in README
    server = cpu.rpartition(".")[0]
    assert server in server_tables.versions()
    for page in (README, (ROOT / "docs" / "export.md").read_text()):
        assert f'server="{server}"' in page
        assert f"--server {server}" in page


def test_the_files_are_those_that_an_export_writes(tmp_path):
    (tmp_path / NAME).mkdir()
    server_config.write(tmp_path / NAME)
    used = {
        value.removeprefix("/models/")
        for value in server_flags(COMPOSE.replace("${MODEL}", NAME)).values()
        if "/" in value
    }
    assert used == {f"{NAME}/{path.name}" for path in (tmp_path / NAME).iterdir()}
    assert all(path.name in README for path in (tmp_path / NAME).iterdir())
    assert "/monitoring/prometheus/metrics" in (tmp_path / NAME / "monitoring.config").read_text()
    assert "/monitoring/prometheus/metrics" in README


def test_labels_and_roll_back(tmp_path, monkeypatch, capsys):
    base = tmp_path / "saved_models" / NAME
    for version in ("1", "2", "3"):
        (base / version).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    made = commands("tf-reg serving-config")
    assert len(made) == 6
    server = model_server.Model(base)
    for command in made:
        assert main(shlex.split(command)[1:]) == 0
        marks = re.findall(r'key: "(.*)" value: (\d+)', (base / "models.config").read_text())
        server.label({label: int(version) for label, version in marks})
    assert "latest" in capsys.readouterr().out.split("model_config_list")[-1]
    [move] = commands("mv")
    subprocess.run(shlex.split(move), check=True)
    assert server_config.versions.versions(base) == [1, 2]


@pytest.mark.parametrize("command", [*commands("tf-reg predict")])
def test_commands_have_flags_that_exist(command):
    _, bound = parse(shlex.split(command)[1:])
    assert bound.kwargs["options"].model == NAME


def test_check_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, activation="softmax")])
    tf_reg.export(model, f"saved_models/{NAME}")
    [command] = commands("tf-reg verify")
    assert main(shlex.split(command)[1:]) == 0
    assert "checksums" in capsys.readouterr().out


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    require_module("tensorflow_serving", "serving")
    folder = tmp_path_factory.mktemp("saved_models")
    model = keras.Sequential([keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    tf_reg.export(model, folder / "tiny")
    shutil.copytree(folder / "tiny", folder / "my \u00e9t\u00e9: 100%")
    with stand_in(folder) as running:
        yield running


def test_curl(served):
    [command] = commands("curl")
    _, _, body, url = shlex.split(command)
    request = urllib.request.Request(url.replace("8501", str(served.rest)), body.encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        [row] = json.loads(answer.read())["predictions"]
    assert sum(row) == pytest.approx(1)


@pytest.mark.parametrize(("model", "code"), [("tiny", 0), ("my \u00e9t\u00e9: 100%", 0), ("trees", 1)])
def test_the_health_check(served, model, code):
    lines = COMPOSE[COMPOSE.index(">-") + 2 : COMPOSE.index("interval:")].split("\n")
    command = " ".join(line.strip() for line in lines).strip().replace("$$", "$").replace("8501", str(served.rest))
    done = subprocess.run(["bash", "-c", command], env={"MODEL": model, "PATH": "/usr/bin:/bin"}, check=False)
    assert done.returncode == code
