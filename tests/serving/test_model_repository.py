"""A model in ONNX, put where Triton and KServe look for it."""

import keras
import pytest
from keras import layers

import tf_reg
from tests.exports import small
from tf_reg.serving import model_repository


def exported(folder, model, **options):
    """A version with something in the place of an ONNX file, which isn't looked into."""
    path = tf_reg.export(model, folder, **options)
    (path / "model.onnx").write_bytes(b"onnx")
    return path


def test_the_layout(tmp_path):
    path = exported(tmp_path / 'flo"wers', small(), class_id=True, top_k=2)
    assert model_repository.add(path, tmp_path / "triton") == tmp_path / "triton" / 'flo"wers' / "1"
    base = tmp_path / "triton" / 'flo"wers'
    assert sorted(child.name for child in base.iterdir()) == ["1", "config.pbtxt"]
    assert (base / "1" / "model.onnx").read_bytes() == b"onnx"
    assert (base / "config.pbtxt").read_text().splitlines() == [
        'name: "flo\\"wers"',
        'backend: "onnxruntime"',
        "max_batch_size: 64",
        'input { name: "inputs" data_type: TYPE_FP32 dims: [ 4 ] }',
        'output { name: "class_id" data_type: TYPE_INT32 dims: [ 1 ] reshape { shape: [ ] } }',
        'output { name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] }',
        'output { name: "top_k_ids" data_type: TYPE_INT32 dims: [ 2 ] }',
        'output { name: "top_k_probabilities" data_type: TYPE_FP32 dims: [ 2 ] }',
        "dynamic_batching { max_queue_delay_microseconds: 1000 }",
    ]


def test_versions_and_a_configuration_of_ones_own(tmp_path):
    for _ in range(2):
        exported(tmp_path / "m", small())
    model_repository.add(tmp_path / "m" / "1", tmp_path / "triton")
    config = tmp_path / "triton" / "m" / "config.pbtxt"
    config.write_text("mine")
    model_repository.add(tmp_path / "m" / "2", tmp_path / "triton")
    assert config.read_text() == "mine"
    assert sorted(child.name for child in config.parent.iterdir()) == ["1", "2", "config.pbtxt"]
    with pytest.raises(ValueError, match=r"Version 2 exists in .* and is never overwritten"):
        model_repository.add(tmp_path / "m" / "2", tmp_path / "triton")


def test_types_and_free_axes(tmp_path):
    inputs = {
        "ids": keras.Input((None,), dtype="int64", name="ids"),
        "words": keras.Input((1,), dtype="string", name="words"),
    }
    x = layers.GlobalAveragePooling1D()(layers.Embedding(5, 3)(inputs["ids"]))
    y = layers.StringLookup(vocabulary=["a"])(inputs["words"])
    model = keras.Model(inputs, layers.Dense(1)(x + keras.ops.cast(y, "float32")))
    examples = {"ids": [[0, 1]], "words": [["a"]]}
    path = exported(tmp_path / "m", model, output_name="score", examples=examples, gpu=False)
    assert model_repository.config(path, "m").splitlines()[3:6] == [
        'input { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] }',
        'input { name: "words" data_type: TYPE_STRING dims: [ 1 ] }',
        'output { name: "score" data_type: TYPE_FP32 dims: [ 1 ] }',
    ]


def test_the_flag_is_for_onnx(command, tmp_path):
    small().save(tmp_path / "m.keras")
    code, out, err = command("export", "m.keras", "--model-repository", "triton")
    assert (code, out) == (2, "")
    assert err == "tf-reg export: --model-repository is for a model in ONNX. Add --formats onnx.\n"
