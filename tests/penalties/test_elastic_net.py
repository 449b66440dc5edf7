"""The strengths of Keras' own regularizers, and their values: read when they are needed, and as Keras computes them."""

import keras
import numpy as np
import pytest
from keras import ops, regularizers

from tf_reg.penalties.elastic_net import ElasticNet

pytestmark = pytest.mark.contract

ON_TORCH = pytest.mark.skipif(keras.backend.backend() != "torch", reason="elsewhere the value is Keras' own")
X = np.random.default_rng(0).normal(size=(7, 5)).astype("float32")


@pytest.mark.parametrize("made", [regularizers.L1(0.3), regularizers.L2(0.2), regularizers.L1L2(0.3, 0.2)])
@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-6), pytest.param("float16", 2e-3, marks=ON_TORCH)])
def test_the_value_is_that_of_keras(made, dtype, rounding):
    x = ops.cast(X, dtype)
    value, of_keras = ElasticNet(made).value(x), made(x)
    assert keras.backend.standardize_dtype(value.dtype) == keras.backend.standardize_dtype(of_keras.dtype)
    np.testing.assert_allclose(ops.convert_to_numpy(value), ops.convert_to_numpy(of_keras), rtol=rounding)


@pytest.mark.parametrize("made", [regularizers.L1(0.0), regularizers.L1L2(0.0, 0.0)])
def test_a_strength_of_zero_has_a_value(made):
    assert float(ElasticNet(made).value(ops.convert_to_tensor(X))) == 0.0


def test_a_strength_that_is_set_is_read_anew():
    made = regularizers.L1(0.5)
    penalty = ElasticNet(made)
    for strength in (0.5, 0.25, 0.125):
        made.l1 = ops.convert_to_tensor(strength, "float32")
        assert penalty.parameters == (strength, 0.0)
        assert penalty.l1 == strength


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="only tensors of torch can be changed in place")
def test_a_strength_that_is_changed_in_place_is_read_anew():
    made = regularizers.L1(0.5)
    penalty = ElasticNet(made)
    assert penalty.l1 == 0.5
    made.l1.fill_(0.25)
    assert penalty.l1 == 0.25
    assert float(penalty.value(ops.ones((4,)))) == 1.0
