"""Many variables read and assigned in few calls."""

import keras
import numpy as np
import pytest
from keras import ops

from tf_reg._backend import without_gradients
from tf_reg._vectors import assign_all, held

pytestmark = pytest.mark.contract


def test_what_is_assigned_is_held():
    variables = [keras.Variable(np.zeros(shape, "float32")) for shape in ((2, 3), (), (4,))]
    wanted = [np.random.default_rng(0).normal(size=one.shape).astype("float32") for one in variables]
    with without_gradients():
        assign_all(variables, [ops.convert_to_tensor(one) for one in wanted])
    for tensor, variable, one in zip(held(variables), variables, wanted, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(tensor), one)
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), one)


@pytest.mark.parametrize("shape", [(), (1, 3), (3,)])
def test_a_tensor_of_another_shape_is_not_repeated(shape):
    variable = keras.Variable(np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="shape"), without_gradients():
        assign_all([variable], [ops.zeros(shape)])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), 1)
