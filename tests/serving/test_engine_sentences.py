"""What an engine can't do is said with the node, which has its layer; strings and GELU go into ONNX as they should."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_reg
from tests.tools import on_tensorflow, require_module
from tf_reg.serving.client.onnx_file import OnnxClient
from tf_reg.serving.verify import engine_checks, engines
from tf_reg.serving.verify.c_api import Run

pytestmark = on_tensorflow("SavedModels are TensorFlow's")


@pytest.fixture
def products(tmp_path):
    """A SavedModel that multiplies matrices of int8."""

    @tf.function(input_signature=[tf.TensorSpec((None, 4), "int8", name="x")])
    def multiply(x):
        with tf.name_scope("my_layer"):
            return {"y": tf.raw_ops.BatchMatMulV3(x=x, y=100 * tf.ones((4, 2), "int8"), Tout=tf.int32)}

    module = tf.Module()
    module.function = multiply
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": multiply})
    return tmp_path


def test_the_node_of_what_an_engine_lacks(products):
    said = engine_checks.placed("it has no operation BatchMatMulV3, Else", products)
    assert said == "it has no operation BatchMatMulV3 (at my_layer/BatchMatMulV3), Else"
    assert engine_checks.placed("it is broken", products) == "it is broken"
    failed = "Failed operations detailed log:\n-- HashTableV2 with a message:\nnot\n-- Find with a message:\nno\n"
    assert engines.in_a_line(failed) == "it can't convert HashTableV2, Find"


def test_openvino_is_not_asked_about_products_of_int8(products):
    with pytest.raises(engines.EngineError, match="it can't convert BatchMatMulV3"):
        engine_checks.check_second(products)


@pytest.mark.slow
def test_openvino_cuts_products_of_int8(products):
    """Where this fails OpenVINO has mended it, and `check_second` can go."""
    require_module("openvino", "openvino")
    [[found]] = engines.run_apart("openvino", products, [Run({"x": np.full((1, 4), 100, "int8")}, ["y"])])
    assert found.tolist() == [[127, 127]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the converter's own
def test_strings_and_gelu_in_onnx(tmp_path):
    require_module("tf2onnx", "onnx")
    lookup = layers.StringLookup(vocabulary=["Köln", "東京"], output_mode="one_hot")
    body = [layers.Dense(4, "gelu", bias_initializer="ones"), layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, *body])
    words = np.array([["Köln"], ["東京"], ["?"], [""]], object)
    path = tf_reg.export(model, tmp_path / "m", examples=words, formats=["onnx"])
    given = np.array([[word.encode()] for [word] in words], object)
    found = OnnxClient(path / "model.onnx").predict("serving_default", {"inputs": given})["probabilities"]
    np.testing.assert_allclose(found, np.asarray(model(tf.constant(words))), atol=1e-6)
    assert len(np.unique(found[:3].round(4), axis=0)) == 3
