"""What `Proximal` gives to a proximal operator of a user's own."""

import keras
import numpy as np
import pytest
from keras import ops, optimizers, regularizers

import tf_reg

pytestmark = pytest.mark.contract


class Seen(regularizers.Regularizer):
    """No penalty. Its operator writes down the dtype of the step."""

    def __init__(self):
        self.dtypes = set()

    def __call__(self, x):
        return 0.0 * ops.sum(x)


@tf_reg.register_prox(Seen)
def _same(regularizer, value, step):
    regularizer.dtypes.add(keras.backend.standardize_dtype(step.dtype))
    return value


NOT_ON_JAX = pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless it is told to")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=NOT_ON_JAX)])
@pytest.mark.parametrize("inner", [optimizers.SGD, optimizers.Adam])
def test_the_step_has_the_digits_of_the_weight(inner, dtype):
    """A float32 step would round what is computed with it, of a float64 weight, to float32."""
    seen = Seen()
    layer = keras.layers.Dense(2, kernel_regularizer=seen, dtype=dtype)
    model = keras.Sequential([keras.Input((3,), dtype=dtype), layer])
    optimizer = tf_reg.Proximal(inner(0.1))
    optimizer.build(model)
    optimizer.apply([ops.convert_to_tensor(np.ones(one.shape), one.dtype) for one in model.trainable_variables])
    assert seen.dtypes == {dtype}
