"""The proximal operator as people call it: numbers of any kind give the right floats, mistakes a sentence."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_reg

pytestmark = pytest.mark.contract
VALUES, STEP = [3, -1, 2, 0], 1
EXACT = [2.5, -0.5, 1.5, 0.0]


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        np.array,
        lambda x: ops.convert_to_tensor(x, "int32"),
        lambda x: ops.convert_to_tensor(x, "int8"),
        lambda x: ops.convert_to_tensor(x, "float32"),
        lambda x: keras.Variable(np.array(x, "float32")),
    ],
)
@pytest.mark.parametrize("step", [1, 1.0, np.float32(1), np.array(1), [1, 1, 1, 1]])
def test_all_kinds_of_numbers(convert, step):
    shrink = tf_reg.proximal_map(keras.regularizers.L1(0.5))
    result = shrink(convert(VALUES), np.array(step) if isinstance(step, list) else step)
    assert ops.convert_to_numpy(result).tolist() == EXACT


def test_floats_keep_their_type_and_integers_take_kerass():
    shrink = tf_reg.proximal_map(keras.regularizers.L1(0.5))
    for given, dtype in (("float16", "float16"), ("bfloat16", "bfloat16"), ("int32", keras.config.floatx())):
        result = shrink(ops.convert_to_tensor(VALUES, given), STEP)
        assert keras.backend.standardize_dtype(result.dtype) == dtype
    groups = tf_reg.proximal_map(tf_reg.GroupLasso(1.0, "inputs", size_weights=False))
    np.testing.assert_allclose(ops.convert_to_numpy(groups([[3, 4], [0, 1]], 2)), [[1.8, 2.4], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("value", [None, "ab", [1.0, "a"], [True], object(), [[1.0], [1.0, 2.0]], np.array(1j)])
def test_a_value_that_is_no_array_of_numbers(value):
    with pytest.raises(ValueError, match=r"value is an array of numbers\. Received: value="):
        tf_reg.proximal_map(keras.regularizers.L1(0.5))(value, 1.0)


@pytest.mark.parametrize("step", [None, "1", -1, float("nan"), 10**400, [1.0], True])
def test_a_step_that_is_no_step(step):
    with pytest.raises(ValueError, match=r"step is a number, zero or above, or a tensor\. Received: step="):
        tf_reg.proximal_map(keras.regularizers.L1(0.5))(np.ones(2, "float32"), step)
