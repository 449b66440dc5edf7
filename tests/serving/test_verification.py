"""`verify_saved_model` on damaged files, other models and other models' requests."""

import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers

import tf_reg
from tests.exports import classifier, pixels
from tf_reg.serving import saved_graph
from tf_reg.serving.saved_graph import Signature, Tensor
from tf_reg.serving.verify import replay
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import manifest, options, warmup


@pytest.fixture
def exported(plain_export):
    """A version that no test changes."""
    return plain_export.path


@pytest.fixture
def version(exported, tmp_path):
    """A copy of a version, to be damaged."""
    return shutil.copytree(exported, tmp_path / "1")


def files(version):
    return sorted(path for path in version.rglob("*") if path.is_file())


def test_a_copy_is_as_good(version):
    found = tf_reg.verify_saved_model(version)
    assert (found.compared, found.requests, found.checksums) == (5, 2, 5)
    assert found.cpu_only in ((), None)
    table = str(found)
    assert str(version) in table
    assert "5, difference at most" in table


@pytest.mark.parametrize("what", ["missing", "cut", "empty", "longer"])
def test_whole_files(version, what):
    for path in files(version):
        content = path.read_bytes()
        if what == "missing":
            path.unlink()
        else:
            path.write_bytes({"cut": content[:-1], "empty": b"", "longer": content + b"\0"}[what])
        name = path.relative_to(version).as_posix()
        if path.name != "tf_reg.json":
            with pytest.raises(VerificationError, match=rf"{name} (is missing|has [\d,]+ bytes of)"):
                tf_reg.verify_saved_model(version)
        elif what != "missing":
            with pytest.raises(VerificationError, match=r"tf_reg.json is damaged"):
                tf_reg.verify_saved_model(version)
        path.write_bytes(content)


def test_single_bits(version):
    generator = np.random.default_rng(0)
    for path in files(version):
        content = path.read_bytes()
        name = path.relative_to(version).as_posix()
        for _ in range(10):
            flipped = bytearray(content)
            flipped[generator.integers(len(content))] ^= 1 << generator.integers(8)
            path.write_bytes(flipped)
            with pytest.raises(VerificationError, match=rf"{name} (has changed|is damaged)"):
                tf_reg.verify_saved_model(version)
        path.write_bytes(content)
    assert tf_reg.verify_saved_model(version).checksums == 5


def test_unknown_files(version):
    (version / "variables" / "more").touch()
    with pytest.raises(VerificationError, match="variables/more isn't in the manifest"):
        tf_reg.verify_saved_model(version)


def without_manifest(version):
    (version / manifest.FILE).unlink()
    return version


def test_missing_variables_without_a_manifest(version):
    shutil.rmtree(without_manifest(version) / "variables")
    with pytest.raises(VerificationError, match="variables/ is missing"):
        tf_reg.verify_saved_model(version)


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.usefixtures("apart")  # such files may crash the loader
def test_cut_files_without_a_manifest(version, name):
    path = without_manifest(version) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VerificationError, match="can't be served"):
        tf_reg.verify_saved_model(version)


def test_variables_of_another_version(tmp_path):
    """The loader takes them, being of the same names and shapes: the checksums don't, nor do the stored answers."""
    for _ in range(2):
        layer = layers.Dense(3, activation="softmax", use_bias=False, name="only")
        tf_reg.export(keras.Sequential([keras.Input((4,)), layer], name="model"), tmp_path / "m")
    version = tmp_path / "m" / "1"
    shutil.rmtree(version / "variables")
    shutil.copytree(tmp_path / "m" / "2" / "variables", version / "variables")
    with pytest.raises(VerificationError, match=r"variables/variables.data-00000-of-00001 has changed"):
        tf_reg.verify_saved_model(version)
    without_manifest(version)
    with pytest.raises(VerificationError, match=r"request 1 \(serving_default\): the output probabilities differs"):
        tf_reg.verify_saved_model(version)


def test_another_model(exported):
    keras.utils.set_random_seed(1)
    with pytest.raises(VerificationError, match="the examples: the output probabilities differs from the model by"):
        tf_reg.verify_saved_model(exported, classifier())
    features = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    with pytest.raises(VerificationError, match=r"inputs must be float32 of the shape \(None, 8, 8, 1\)"):
        tf_reg.verify_saved_model(exported, features)
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    two = keras.Model([left, right], layers.Dense(3, activation="softmax")(layers.Add()([left, right])))
    with pytest.raises(ValueError, match="has the inputs left, right and outputs probabilities, the SavedModel inputs"):
        tf_reg.verify_saved_model(exported, two)
    with pytest.raises(ValueError, match=r"one of Keras\. Received: 'm'"):
        tf_reg.verify_saved_model(exported, "m")
    with pytest.raises(ValueError, match="Received no `model`"):
        tf_reg.verify_saved_model(exported, examples=pixels(1))


@pytest.mark.parametrize(
    ("outputs", "own"),
    [
        (["logits"], "logits"),
        (["class_id", "logits"], "logits"),
        (["class_id", "logits", "scores"], "scores"),
        (["class_id", "top_k_class_id", "top_k_ids"], "class_id"),
        (["class_id", "top_k_ids"], "top_k_ids"),
        (["class_id", "top_k_ids", "top_k_top_k_x", "top_k_x"], "top_k_x"),
        (["one", "two"], None),
    ],
)
def test_the_own_output_among_extras(outputs, own):
    assert options.own_output(outputs) == own


@pytest.mark.slow
def test_own_outputs_that_are_called_like_extras(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    path = tf_reg.export(model, tmp_path / "m", output_name="logits", class_id=True, top_k=2)
    assert tf_reg.verify_saved_model(path, model).difference < 1e-5
    inputs = keras.Input((4,))
    two = keras.Model(inputs, {"class_id": layers.Dense(2)(inputs), "top_k_x": layers.Dense(3)(inputs)})
    path = tf_reg.export(two, tmp_path / "n")
    assert tf_reg.verify_saved_model(path, two).difference < 1e-5
    three = keras.Model(inputs, {name: layers.Dense(1)(inputs) for name in ("class_id", "top_k_x", "y")})
    with pytest.raises(ValueError, match="outputs class_id, top_k_x, y, the SavedModel inputs and class_id, top_k_x"):
        tf_reg.verify_saved_model(path, three)


def test_no_saved_model(tmp_path):
    with pytest.raises(VerificationError, match=r"saved_model.pb is missing"):
        tf_reg.verify_saved_model(tmp_path)
    with pytest.raises(VerificationError, match=r"saved_model.pb is missing"):
        tf_reg.verify_saved_model(tmp_path, classifier())
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(VerificationError, match=r"saved_model.pb is damaged"):
        tf_reg.verify_saved_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(VerificationError, match="no graph that is tagged for serving"):
        tf_reg.verify_saved_model(tmp_path)


def test_the_installed_tensorflow_may_not_know(exported, monkeypatch):
    monkeypatch.setattr(saved_graph, "knows_gpu_kernels", lambda: False)
    found = tf_reg.verify_saved_model(exported)
    assert found.cpu_only is None
    assert "not known: the installed TensorFlow is not built for CUDA" in str(found)


def test_requests_of_another_model(version):
    without_manifest(version)
    record = warmup.Record("serving_default", {"inputs": pixels(2)[:, :4]}, {})
    warmup.write(version / warmup.FILE, "m", [record])
    with pytest.raises(VerificationError, match=r"warm-up request 1 .* must be float32 of the shape"):
        tf_reg.verify_saved_model(version)
    warmup.write(version / warmup.FILE, "m", [record._replace(signature="classify")])
    with pytest.raises(VerificationError, match="there is no such signature"):
        tf_reg.verify_saved_model(version)
    warmup.write(version / warmup.FILE, "m", [record._replace(inputs={"x": pixels(1)})])
    with pytest.raises(VerificationError, match="has the inputs x, the signature inputs"):
        tf_reg.verify_saved_model(version)


def test_judgement_of_answers():
    signature = Signature({"x": Tensor("x:0", "float32", (None,))}, {"y": Tensor("y:0", "float32", (None,))})
    x = np.float32([1, 2])
    case = replay.Case("it", signature, {"x": x}, {"y": x})
    assert [len(run.feeds["x:0"]) for run in replay.runs(case)] == [2, 2, 4, 1, 1]
    good = [[run.feeds["x:0"]] for run in replay.runs(case)]
    assert replay.judge(case, good, 1e-5) == (0.0, [])
    for number, change, words in (
        (0, 1e-3, "differs when"), (1, 1e-7, "differs when"), (2, 1e-3, "depends on"), (3, 1e-3, "depends on")
    ):  # fmt: skip
        bad = [[answer + np.float32(change) * (i == number)] for i, [answer] in enumerate(good)]
        assert any(words in problem for problem in replay.judge(case, bad, 1e-5).problems)
    nan = [[np.where(answer == 2, np.float32("nan"), answer)] for [answer] in good]
    assert replay.judge(case, nan, 1e-5).difference == np.inf
    known = replay.judge(case._replace(outputs={"y": np.float32([1, np.nan])}), nan, 1e-5)
    assert known == (0.0, ["it: the output y is NaN or infinite, although the inputs are finite"])


def test_the_command(command, exported, version):
    code, out, err = command("verify", exported, exported)
    assert (code, err) == (0, "")
    assert out.count("difference at most") == 2
    (version / "saved_model.pb").unlink()
    code, out, err = command("verify", version)
    assert (code, out) == (1, "")
    assert err.startswith("tf-reg verify: ")
    assert "saved_model.pb is missing" in err


def test_the_manifest_guards_itself(version):
    path = version / manifest.FILE
    said = json.loads(path.read_text())
    said["classes"] = ["other"]
    path.write_text(json.dumps(said))
    with pytest.raises(VerificationError, match=r"tf_reg.json is damaged: its checksum differs"):
        tf_reg.verify_saved_model(version)
    path.write_text("[]")
    with pytest.raises(VerificationError, match=r"tf_reg.json is damaged"):
        tf_reg.verify_saved_model(version)
