"""The server's configuration files against their protocol: the real one where it is installed, a copy elsewhere."""

import re

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow.core.protobuf import config_pb2

from tests.tools import require_module
from tf_reg.serving import server_config

FIELD = descriptor_pb2.FieldDescriptorProto
# what TensorFlow Serving's session_bundle_config.proto and monitoring_config.proto say, which no package has
MESSAGES = {
    "Int64Value": [("value", 1, FIELD.TYPE_INT64)],
    "BoolValue": [("value", 1, FIELD.TYPE_BOOL)],
    "BatchingParameters": [
        ("max_batch_size", 1, "Int64Value"),
        ("batch_timeout_micros", 2, "Int64Value"),
        ("max_enqueued_batches", 3, "Int64Value"),
        ("num_batch_threads", 4, "Int64Value"),
        ("enable_large_batch_splitting", 8, "BoolValue"),  # text has no numbers: these two are made up
        ("max_execution_batch_size", 9, "Int64Value"),
    ],
    "PrometheusConfig": [("enable", 1, FIELD.TYPE_BOOL), ("path", 2, FIELD.TYPE_STRING)],
    "MonitoringConfig": [("prometheus_config", 1, "PrometheusConfig")],
}


def message(name):
    """A class of the protocol above."""
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="serving", syntax="proto3")
    for title, fields in MESSAGES.items():
        made = file.message_type.add(name=title)
        for field, number, kind in fields:
            added = made.field.add(name=field, number=number, label=FIELD.LABEL_OPTIONAL)
            if isinstance(kind, str):
                added.type, added.type_name = FIELD.TYPE_MESSAGE, f".serving.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))


def parse(path, kind):
    return text_format.Parse(path.read_text(), kind())


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "flowers"
    for version in (1, 2, 10):
        (folder / str(version)).mkdir(parents=True)
    return folder


def test_batching(base):
    server_config.write(base)
    found = parse(base / "batching.config", message("BatchingParameters"))
    assert found.enable_large_batch_splitting.value
    assert found.max_execution_batch_size.value >= 8
    queue = found.max_enqueued_batches.value * found.max_execution_batch_size.value
    assert found.max_execution_batch_size.value < found.max_batch_size.value <= queue
    assert found.batch_timeout_micros.value > 0
    assert found.max_enqueued_batches.value > 0
    assert found.num_batch_threads.value > 0


def test_monitoring(base):
    server_config.write(base)
    found = parse(base / "monitoring.config", message("MonitoringConfig"))
    assert found.prometheus_config.enable
    assert found.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_session(base):
    server_config.write(base)
    assert parse(base / "session.config", config_pb2.ConfigProto).gpu_options.allow_growth


def models(path):
    require_module("tensorflow_serving", "serving")
    from tensorflow_serving.config import model_server_config_pb2

    [config] = parse(path, model_server_config_pb2.ModelServerConfig).model_config_list.config
    return config


def test_models(base):
    server_config.write(base)
    config = models(base / "models.config")
    assert (config.name, config.base_path, config.model_platform) == ("flowers", "/models/flowers", "tensorflow")
    assert config.model_version_policy.latest.num_versions == 1
    assert not config.version_labels


def test_labels(base):
    config = models(server_config.label(base, {"stable": 2, "canary": 10}))
    assert list(config.model_version_policy.specific.versions) == [2, 10]
    assert dict(config.version_labels) == {"stable": 2, "canary": 10}
    config = models(server_config.label(base, {"stable": 10, "last-good": 10}))
    assert dict(config.version_labels) == {"stable": 10, "last-good": 10}
    assert list(config.model_version_policy.specific.versions) == [10]
    server_config.label(base, {"stable": 10, "again": 2})
    config = models(server_config.label(base, {"stable": 2}))
    assert list(config.model_version_policy.specific.versions) == [2]
    assert models(server_config.label(base, {})).model_version_policy.latest.num_versions == 1


@pytest.mark.parametrize(
    ("before", "after"), [({"stable": 1}, {"stable": 2}), ({"stable": 1, "canary": 2}, {"stable": 2, "canary": 10})]
)
def test_a_label_moves_only_to_a_version_that_the_server_has(base, before, after):
    """It refuses a file that moves one elsewhere; an advice that it would refuse as well is none."""
    path = server_config.label(base, before)
    text = path.read_text()
    with pytest.raises(ValueError, match=r"can't move to version \d+, which has no label yet") as caught:
        server_config.label(base, after)
    assert path.read_text() == text
    new, version = re.search(r"--label (\w+)=(\d+)", str(caught.value)).groups()
    server_config.label(base, before | {new: int(version)})
    server_config.label(base, after)
    assert dict(models(path).version_labels) == after


@pytest.mark.parametrize(
    "edit", [lambda text: text.replace("/models/", "/srv/"), lambda text: text * 2, lambda text: text.replace("1", "x")]
)
def test_a_file_that_was_edited_stays(base, edit):
    path = server_config.label(base, {"stable": 1})
    path.write_text(edit(path.read_text()))
    text = path.read_text()
    with pytest.raises(ValueError, match="isn't as it was written for the model flowers: change its labels by hand"):
        server_config.label(base, {"stable": 1, "canary": 2})
    assert path.read_text() == text


def test_white_space_is_no_edit(base):
    path = server_config.label(base, {"stable": 1})
    path.write_text(path.read_text().replace("\n", "\r\n\t"))
    assert dict(models(server_config.label(base, {"stable": 1, "canary": 2})).version_labels) == {
        "stable": 1,
        "canary": 2,
    }


def test_a_link_has_its_own_name(base, monkeypatch):
    (base.parent / "roses").symlink_to(base)
    monkeypatch.chdir(base.parent / "roses")
    server_config.write(base.parent / "roses")
    config = models(base / "models.config")
    assert (config.name, config.base_path) == ("roses", "/models/roses")
    assert models(server_config.label(base.parent / "roses", {"stable": 1})).name == "roses"


@pytest.mark.parametrize("name", ['a"b', "a\\b", "caf\u00e9"])
def test_names_are_quoted(tmp_path, name):
    (tmp_path / name).mkdir()
    server_config.write(tmp_path / name)
    assert models(tmp_path / name / "models.config").name == name


def test_what_is_there_stays(base):
    (base / "batching.config").write_text("max_batch_size { value: 7 }")
    server_config.write(base)
    before = {path.name: path.read_text() for path in base.glob("*.config")}
    server_config.write(base)
    assert {path.name: path.read_text() for path in base.glob("*.config")} == before
    assert before["batching.config"] == "max_batch_size { value: 7 }"
    assert len(before) == 4
    assert not [path for path in base.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("labels", "word"), [({"stable": 3}, "has the versions 1, 2, 10. Received: 3"), ({"a b": 1}, "A label is a letter")]
)
def test_mistakes(base, labels, word):
    with pytest.raises(ValueError, match=word):
        server_config.label(base, labels)
    assert not (base / "models.config").exists()


def test_the_command(command, base):
    code, out, err = command("serving-config", base, "--label", "stable=1", "--label", "canary=2")
    assert (code, out, err) == (0, (base / "models.config").read_text(), "")
    labels = {"stable": 1, "canary": 2}
    assert dict(models(base / "models.config").version_labels) == labels
    for flags, words in (
        (["stable=9"], "has the versions 1, 2, 10. Received: 9"),
        (["stable=1", "stable=2"], "Each label has one version. Received: stable, stable."),
        (["stable"], "--label must be LABEL=VERSION, such as stable=1. Received: 'stable'."),
    ):
        code, out, err = command("serving-config", base, *[word for flag in flags for word in ("--label", flag)])
        assert (code, out) == (2, "")
        assert err.startswith("tf-reg serving-config: ")
        assert words in err
        assert err.count("\n") == 1
    assert dict(models(base / "models.config").version_labels) == labels
