"""Other formats beside a SavedModel: each answers as the model does, in its own engine, or nothing is published."""

import importlib.util
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import DETAILS, classifier, pixels, published, small
from tests.serving.conftest import Export
from tests.tools import ROOT, require_module
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api, engine_checks, engines, replay
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import formats, manifest

FILES = ["model.onnx", "model.tflite"]


@pytest.fixture(scope="module")
def with_formats(tmp_path_factory):
    """A classifier, exported with all formats and outputs."""
    for module in ("tf2onnx", "onnxruntime"):
        require_module(module, "onnx")
    require_module("ai_edge_litert", "litert")
    keras.utils.set_random_seed(0)
    model, examples = classifier(), pixels(7)
    options = {"class_id": True, "top_k": 2, "logits": True, "signatures": ["serving_uint8"], "details": DETAILS}
    folder = tmp_path_factory.mktemp("formats") / "m"
    return Export(
        model, tf_reg.export(model, folder, formats=["onnx", "litert"], examples=examples, **options), examples
    )


@pytest.fixture
def version(with_formats, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(with_formats.path, tmp_path / "1")


def without_manifest(version):
    (version / manifest.FILE).unlink()
    return version


@pytest.mark.parametrize("wrong", ["onnx", ["torch"], [["onnx"]], None, [1]])
def test_formats_that_there_are_not(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"`formats` may have 'onnx' and 'litert', in a list\. Received: "):
        tf_reg.export(small(), tmp_path / "m", formats=wrong)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_what_is_not_installed(tmp_path, monkeypatch, command, name):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda module: None)
    what = {"onnx": "tf2onnx, onnx, onnxruntime", "litert": "ai-edge-litert"}[name]
    said = f'The format {name} needs {what}, which isn\'t installed: pip install -e ".[{name}]".'
    with pytest.raises(ImportError) as error:
        tf_reg.export(small(), tmp_path / "m", formats=[name])
    assert str(error.value) == said
    assert not (tmp_path / "m").exists()
    small().save(tmp_path / "model.keras")
    assert command("export", "model.keras", "--formats", name) == (2, "", f"tf-reg export: {said}\n")


@pytest.mark.slow
def test_the_files_answer_as_the_model(with_formats):
    model, path, examples = with_formats
    found = tf_reg.verify_saved_model(path, model, examples)
    assert found.checksums == 7
    assert found.engines.keys() == {"ONNX Runtime", "LiteRT"}
    assert max(found.engines.values()) < 1e-5
    assert "ONNX Runtime       difference at most" in str(found)
    said = json.loads((path / manifest.FILE).read_text())
    assert [one["file"] for one in said["formats"].values()] == FILES
    assert said["files"].keys() > set(FILES)
    for size in (1, 3):
        expected = np.asarray(model(examples[:size], training=False))
        for engine, file in zip(("onnx", "litert"), FILES, strict=True):
            run = c_api.Run({"inputs": examples[:size]}, ["probabilities", "class_id"])
            [[probabilities, ids]] = engines.run_apart(engine, path / file, [run])
            np.testing.assert_allclose(probabilities, expected, atol=1e-6)
            assert ids.tolist() == expected.argmax(-1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["missing", "cut", "empty", "longer", "changed"])
def test_damaged_files(version, what):
    for name in FILES:
        content = (version / name).read_bytes()
        flipped = content[:200] + bytes([content[200] ^ 1]) + content[201:]
        made = {"cut": content[:-1], "empty": b"", "longer": content + b"\0", "changed": flipped}
        if what == "missing":
            (version / name).unlink()
        else:
            (version / name).write_bytes(made[what])
        with pytest.raises(VerificationError, match=rf"{name} (is missing|has [\d,]+ bytes of|has changed)"):
            tf_reg.verify_saved_model(version)
        (version / name).write_bytes(content)
    assert tf_reg.verify_saved_model(version).checksums == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_files_that_an_engine_does_not_take(version, name):
    content = (version / name).read_bytes()
    (without_manifest(version) / name).write_bytes(content[: len(content) // 2])
    title = {"model.onnx": "ONNX Runtime", "model.tflite": "LiteRT"}[name]
    with pytest.raises(VerificationError, match=f"{title} can't run {name}: "):
        tf_reg.verify_saved_model(version)


@pytest.mark.slow
def test_a_file_with_other_weights(with_formats, version, tmp_path):
    import onnx

    model = onnx.load(version / "model.onnx")
    for weights in model.graph.initializer:
        if len(weights.dims) == 2:
            values = onnx.numpy_helper.to_array(weights)
            weights.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), weights.name))
    onnx.save(model, without_manifest(version) / "model.onnx")
    with pytest.raises(
        VerificationError, match=r"ONNX Runtime runs model.onnx otherwise: .* differs from the model by"
    ):
        tf_reg.verify_saved_model(version)


@pytest.mark.slow
def test_an_engine_that_is_not_installed(version, monkeypatch):
    monkeypatch.setattr(engines, "is_installed", lambda engine: False)
    said = tf_reg.verify_saved_model(version).engines
    assert said["LiteRT"] == 'not asked: it isn\'t installed, pip install -e ".[litert]"'
    assert set(said) == {"ONNX Runtime", "LiteRT"}


@pytest.mark.slow
def test_a_converter_that_writes_something_else(with_formats, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "convert", lambda source, name, file: shutil.copy(with_formats.path / file.name, file))
    keras.utils.set_random_seed(1)
    other = classifier()
    for name, engine in (("onnx", "ONNX Runtime"), ("litert", "LiteRT")):
        said = f"Nothing was published: {engine} runs model.* otherwise: .* differs .* Leave '{name}' out of `formats`"
        with pytest.raises(VerificationError, match=said):
            tf_reg.export(other, tmp_path / "m", formats=[name], **dict.fromkeys(["class_id", "logits"], True), top_k=2)
    assert published(tmp_path / "m") == []


def recurrent(steps):
    inputs = keras.Input((steps, 5))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True, dropout=0.3))(inputs)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GRU(4)(x)))


@pytest.mark.parametrize("steps", [pytest.param(9, marks=pytest.mark.long), pytest.param(None, marks=pytest.mark.slow)])
def test_recurrent_layers_in_litert(tmp_path, steps):
    require_module("ai_edge_litert", "litert")
    model, x = recurrent(steps), np.random.default_rng(0).normal(size=(7, 9, 5)).astype("float32")
    path = tf_reg.export(model, tmp_path / "m", formats=["litert"], examples=x)
    assert not any(layer.unroll for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN))
    for length in (9, 9 if steps else 4):
        run = c_api.Run({"inputs": x[:, :length]}, ["probabilities"])
        [[found]] = engines.run_apart("litert", path / "model.tflite", [run])
        np.testing.assert_allclose(found, np.asarray(model(x[:, :length], training=False)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "op"),
    [
        pytest.param("onnx", "ONNX lacks Igamma", marks=pytest.mark.long),
        pytest.param("litert", "LiteRT lacks Igamma", marks=pytest.mark.slow),
    ],
)
def test_operations_without_an_equal(tmp_path, name, op):
    import tensorflow as tf

    require_module({"onnx": "tf2onnx", "litert": "ai_edge_litert"}[name], name)

    class Gamma(layers.Layer):
        def call(self, x):
            return tf.math.igamma(tf.abs(x) + 1, tf.abs(x) + 1)

    model = keras.Sequential([keras.Input((4,)), Gamma(name="odd"), layers.Dense(3, "softmax")])
    said = rf"Nothing was published: {op} \(at .*\). It comes from the layer 'odd' \(Gamma\). Leave '{name}' out of"
    with pytest.raises(ValueError, match=said):
        tf_reg.export(model, tmp_path / "m", formats=[name])
    assert published(tmp_path / "m") == []


@pytest.mark.slow
@pytest.mark.usefixtures("second_look")
def test_openvino_looks_at_every_version(plain_export, tmp_path):
    found = tf_reg.verify_saved_model(plain_export.path, plain_export.model, plain_export.examples)
    assert found.engines["OpenVINO"] < 1e-5
    assert "OpenVINO           difference at most" in str(found)
    signature = saved_graph.signatures(saved_graph.load(plain_export.path))["serving_default"]
    case = replay.Case("other", signature, {"inputs": pixels(2)}, {"probabilities": np.eye(3, dtype="float32")[:2]})
    with pytest.raises(
        ValueError,
        match=r"OpenVINO runs the SavedModel otherwise: other: the output probabilities differs from the model",
    ):
        engine_checks.difference("openvino", plain_export.path, [case], 1e-5)
    with pytest.raises(ValueError, match="where the model isn't for OpenVINO, work where OpenVINO isn't installed"):
        engine_checks.found(plain_export.path, [case], 1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("second_look")
def test_what_openvino_does_not_know(tmp_path):
    import tensorflow as tf

    class Bits(layers.Layer):
        def call(self, x):
            return tf.cast(tf.bitcast(x, "int32") >= 0, "float32")

    model = keras.Sequential([keras.Input((4,)), Bits(), layers.Dense(3, "softmax")])
    found = tf_reg.verify_saved_model(tf_reg.export(model, tmp_path / "m"), model)
    assert found.engines["OpenVINO"].startswith("not asked: it has no operation Bitcast (at ")


@pytest.mark.slow
def test_openvino_tells_nobody(plain_export):
    """Its Python package tells its maker of every import; ours doesn't."""
    require_module("openvino", "openvino")
    script = (
        f"import runpy, sys\nengines = runpy.run_path({engines.__file__!r})['ENGINES']\n"
        f"engines['openvino'].load({str(plain_export.path)!r})\n"
        "print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert importlib.util.find_spec("openvino_telemetry") is not None, "there is nothing to be tested"
