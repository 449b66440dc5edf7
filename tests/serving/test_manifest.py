"""What an export writes beside the graph: the manifest and the warm-up requests; and what it refuses to write."""

import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.exports import DETAILS, predicted, published
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write import manifest, warmup


def test_the_manifest_says_what_it_is(rich_export):
    path = rich_export.path
    said = json.loads((path / "assets.extra" / "tf_reg.json").read_text())
    assert {key: said[key] for key in DETAILS} == DETAILS
    assert said["name"] == "flowers"
    assert said["signatures"]["serving_default"]["inputs"] == {"inputs": {"dtype": "float32", "shape": [None, 8, 8, 1]}}
    assert said["signatures"]["serving_default"]["outputs"]["class_id"] == {"dtype": "int32", "shape": [None]}
    assert said["versions"] == {"tensorflow": tf.__version__, "keras": keras.__version__, "tf_reg": tf_reg.__version__}
    assert said["sparsity"]["total"]["weights"] == 8 * 8 * 16 + 16 + 16 * 3  # kernels, and the scale of a normalization
    assert said["sparsity"]["total"]["sparsity"] == 0
    for name, file in said["files"].items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == file["sha256"]
    assert "variables/variables.index" in said["files"]
    assert "assets.extra/tf_serving_warmup_requests" in said["files"]


def test_details_with_numbers_as_names(tmp_path):
    manifest.write(tmp_path, {"classes": {10: "ten", 9: "nine"}, "scales": {0.5: (1, 2)}})
    said = manifest.read(tmp_path)
    assert said == {"classes": {"10": "ten", "9": "nine"}, "scales": {"0.5": [1, 2]}, "files": {}}


def test_warmup_requests_are_the_examples(rich_export):
    model, path, x = rich_export
    records = list(warmup.read(path / warmup.FILE))
    assert [record.signature for record in records] == ["serving_default"] * 2 + ["serving_uint8"] * 2
    assert [len(record.inputs["inputs"]) for record in records] == [1, 8, 1, 8]
    np.testing.assert_array_equal(records[1].inputs["inputs"], x[:8])
    expected = predicted(model, x[:8])
    np.testing.assert_allclose(records[1].outputs["probabilities"], expected, atol=1e-6)
    assert records[3].inputs["inputs"].dtype == np.uint8


def test_operations_for_cpus_alone_are_refused_unless_allowed(tmp_path):
    text = layers.Lambda(lambda x: tf.strings.to_number(tf.strings.as_string(x)), output_shape=(4,))
    model = keras.Sequential([keras.Input((4,)), text, layers.Dense(2, activation="softmax")])
    with pytest.raises(
        VerificationError, match=r"without a GPU kernel: AsString at .*, StringToNumber.*gpu=False.*layer 'lambda"
    ):
        tf_reg.export(model, tmp_path / "m")
    assert published(tmp_path / "m") == []
    path = tf_reg.export(model, tmp_path / "m", gpu=False)
    assert tf_reg.verify_saved_model(path, gpu=False).cpu_only == ("AsString", "StringToNumber")
