"""Saved models of others: what a `.keras` file or a SavedModel wants beside a model is refused and doesn't happen."""

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import saved_model_pb2

import tf_reg
from tf_reg.serving.verify import c_api
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import other_backends, versions
from tf_reg.serving.write.options import Options
from tf_reg.serving.write.signatures import Interface

OF_NOBODY = {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "function"}
SWITCH = {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"}


def model():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax", name="end")])


def changed(path, to, change=lambda config: None, more=()):
    """Write a `.keras` file once more, its configuration changed and other files added."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(to, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "config.json":
                config = json.loads(content)
                content = json.dumps(change(config) or config)
            after.writestr(name, content)
        for name in more:
            after.writestr(name, "evil")


def activation(config):
    config["config"]["layers"][1]["config"]["activation"] = OF_NOBODY


def vocabulary(config):
    looks = {**layers.StringLookup(vocabulary=["a"]).get_config(), "vocabulary": __file__, "vocabulary_size": None}
    one = {"module": "keras.layers", "class_name": "StringLookup", "config": looks, "registered_name": None}
    config["config"]["layers"].append(one)


def saved_model_elsewhere(config):
    away = {"filepath": "/tmp", "call_endpoint": "serve", "name": "away", "trainable": False}
    one = {"module": "keras.layers", "class_name": "TFSMLayer", "config": away, "registered_name": None}
    config["config"]["layers"].append(one)


CHANGES = {
    "a SavedModel of this machine": (
        saved_model_elsewhere,
        "can't be loaded as a Keras model: Keras' safe mode refuses",
    ),
    "a function of another library": (activation, "mkdir is neither of Keras nor of tf_reg"),
    "the switch of safe mode": (lambda config: SWITCH, "can't be loaded as a Keras model"),
    "a file of this machine": (vocabulary, "can't be loaded as a Keras model: Keras' safe mode refuses it."),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_keras_file_is_loaded_in_safe_mode(what, command, tmp_path):
    change, sentence = CHANGES[what]
    model().save(tmp_path / "plain.keras")
    changed(tmp_path / "plain.keras", tmp_path / "evil.keras", change)
    code, _, err = command("export", "evil.keras")
    assert code == 2
    assert sentence in err
    assert "safe_mode=False" not in err  # no advice to switch it off
    assert not (tmp_path / "saved_models").exists()
    with pytest.raises(ValueError, match="Lambda"):  # the switch was not moved
        layers.Lambda.from_config(layers.Lambda(lambda x: x).get_config())


def test_weights_come_from_a_keras_file_in_safe_mode(command, tmp_path):
    keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x)]).save(tmp_path / "code.keras")
    code, _, err = command("train", "--weights", "code.keras", "--epochs", 1)
    assert code == 2
    assert "disallowed" in err
    assert "safe_mode=False" not in err


@pytest.mark.filterwarnings("ignore:Skipping invalid path during archive extraction")
def test_names_in_a_keras_file_are_no_paths(command, tmp_path):
    model().save(tmp_path / "plain.keras")
    names = ["../evil", "assets/../../evil", str(tmp_path / "evil"), "a/../../../evil"]
    changed(tmp_path / "plain.keras", tmp_path / "slip.keras", more=names)
    assert command("export", "slip.keras", "--saved-models-dir", "deep/models")[0] == 0
    assert not [path for path in [*tmp_path.rglob("evil"), tmp_path.parent / "evil"] if path.exists()]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return tf_reg.export(model(), tmp_path_factory.mktemp("models") / "m")


@pytest.fixture
def copied(version, tmp_path):
    return Path(shutil.copytree(version, tmp_path / "m" / "1"))


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("name", ["variables", "saved_model.pb", "assets.extra/more"])
def test_links_that_lead_out_of_a_version(name, manifest, copied, tmp_path):
    link = copied / name
    if link.exists():
        shutil.move(link, tmp_path / "outside")
    link.symlink_to(tmp_path / "outside")
    if not manifest:
        (copied / "assets.extra/tf_reg.json").unlink()
    with pytest.raises(VerificationError, match=f"{name} is a link that leads out of the folder"):
        tf_reg.verify_saved_model(copied)


def test_a_link_within_a_version_is_no_harm(copied):
    shutil.move(copied / "saved_model.pb", copied / "variables" / "graph")
    (copied / "saved_model.pb").symlink_to("variables/graph")
    (copied / "assets.extra/tf_reg.json").unlink()
    tf_reg.verify_saved_model(copied)


def test_a_link_for_a_version_is_not_written_through(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "m").mkdir()
    for name in ("1", "models.config"):
        (tmp_path / "m" / name).symlink_to(tmp_path / "outside" / name)  # leads to nothing yet
    assert tf_reg.export(model(), tmp_path / "m").name == "2"
    with pytest.raises(ValueError, match="Version 1 exists"):
        tf_reg.export(model(), tmp_path / "m", version=1)
    with versions.staging(tmp_path / "m") as staged, pytest.raises(ValueError, match="Version 1 exists"):
        versions.publish(staged, tmp_path / "m", 1)  # it came while the version was written
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("name", ["../1", "/etc/1", "1/../../x", "-1", "1e3", "1 "])
def test_a_version_is_a_number(name, tmp_path):
    with pytest.raises(ValueError, match="positive integer"):
        tf_reg.export(model(), tmp_path / "m", version=name)
    (tmp_path / "m").mkdir()
    for odd in ("1 ", "-1", "1e3", "\u0661"):
        (tmp_path / "m" / odd).mkdir()
    assert versions.versions(tmp_path / "m") == []


class Reaching(tf.Module):
    """A SavedModel that does something with files when it is asked."""

    def __init__(self, how, path):
        super().__init__()
        self.how, self.path = how, str(path)

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def serve(self, x):
        if self.how == "reads":
            return {"y": x + tf.cast(tf.strings.length(tf.io.read_file(self.path)), tf.float32)}
        if self.how == "lists":
            return {"y": x + tf.cast(tf.size(tf.io.matching_files(self.path)), tf.float32)}
        return {"y": tf.ensure_shape(tf.numpy_function(lambda a: a, [x], tf.float32), (None, 4))}


@pytest.mark.parametrize("how", ["reads", "lists", "python"])
def test_a_saved_model_that_reaches_for_files_is_not_run(how, tmp_path):
    (tmp_path / "secret").write_text("secret")
    reaching = Reaching(how, tmp_path / "secret")
    tf.saved_model.save(reaching, tmp_path / "m", signatures=reaching.serve)
    with pytest.raises(VerificationError, match="reaches out of the model"):
        tf_reg.verify_saved_model(tmp_path / "m", gpu=False)


def test_a_saved_model_that_writes_when_it_is_loaded_is_not_loaded(copied, tmp_path):
    (copied / "assets.extra/tf_reg.json").unlink()
    saved = saved_model_pb2.SavedModel.FromString((copied / "saved_model.pb").read_bytes())
    graph, signatures = saved.meta_graphs[0].graph_def, saved.meta_graphs[0].signature_def
    with tf.Graph().as_default() as written:
        tf.io.write_file(str(tmp_path / "made"), "evil", name="evil")
    graph.node.extend(written.as_graph_def().node)
    initial = signatures["__saved_model_init_op"].outputs["__saved_model_init_op"].name
    next(one for one in graph.node if one.name == initial).input.append("^evil")
    (copied / "saved_model.pb").write_bytes(saved.SerializeToString())
    with pytest.raises(VerificationError, match="WriteFile reaches out of the model"):
        tf_reg.verify_saved_model(copied)
    assert not (tmp_path / "made").exists()
    with c_api.Session(copied):
        assert (tmp_path / "made").exists()  # it would have been written


@pytest.mark.slow
def test_the_other_process_takes_no_module_of_the_current_folder(tmp_path, monkeypatch):
    for name in ("keras", "tempfile", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'trapped')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    (tmp_path / "1").mkdir()
    other_backends.write(Interface(model(), Options()), tmp_path / "1")
    assert (tmp_path / "1/saved_model.pb").is_file()
    assert not (tmp_path / "trapped").exists()
