"""The compose file starts TensorFlow Serving without privileges: its YAML as docker reads it, merged and parsed."""

import ipaddress

import pytest

from tests.tools import ROOT, imported

yaml = imported("yaml", "tune")
FILE = ROOT / "saved_models" / "compose.yaml"
SERVICES = yaml.safe_load(FILE.read_text())["services"]
ASKED = {
    "privileged",
    "cap_add",
    "devices",
    "network_mode",
    "pid",
    "ipc",
    "userns_mode",
    "group_add",
    "env_file",
    "secrets",
}


def test_there_is_one_for_each_kind_of_machine():
    assert set(SERVICES) == {"cpu", "gpu"}
    assert [one["profiles"] for one in SERVICES.values()] == [["cpu"], ["gpu"]]


@pytest.mark.parametrize("name", SERVICES)
def test_a_server_has_no_privileges(name):
    service = SERVICES[name]
    user, group = map(int, service["user"].split(":"))
    assert user > 0
    assert group > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ASKED & service.keys() == set()
    assert service["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_server_reads_the_models_and_answers_this_machine(name):
    service = SERVICES[name]
    [mount] = service["volumes"]
    source, target, mode = mount.split(":")
    assert (source, target, mode) == (".", "/models", "ro")
    assert "/var/run" not in mount
    hosts = [port.rpartition(":")[0].rpartition(":")[0] for port in service["ports"]]
    assert len(hosts) == 2
    assert all(ipaddress.ip_address(host).is_loopback for host in hosts)


@pytest.mark.parametrize("name", SERVICES)
def test_no_word_of_the_command_goes_through_a_shell(name):
    service = SERVICES[name]
    assert all(word.startswith("--") for word in service["command"])
    assert "entrypoint" not in service
    test = service["healthcheck"]["test"]
    assert test[:3] == ["CMD", "bash", "-c"]
    assert "${MODEL" not in test[3]  # compose would put the text into the script; "$$MODEL" is a variable of bash
    assert '"$$MODEL"' in test[3]
