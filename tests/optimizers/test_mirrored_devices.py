"""Proximal under TensorFlow's MirroredStrategy."""

from __future__ import annotations

import keras
import pytest

from tests.optimizers.test_saving import script

pytestmark = pytest.mark.contract


CODE = """
    import contextlib
    import keras, numpy as np, tensorflow as tf
    from tf_reg import GroupLasso, Proximal, Reweight, _xla

    _xla.WORTH_COMPILING = 1
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    rng = np.random.default_rng(0)
    data = tf.data.Dataset.from_tensor_slices((rng.normal(size=(40, 6)), rng.normal(size=(40, 3)))).batch(20)

    def run(strategy, inner):
        keras.utils.set_random_seed(0)
        with strategy.scope() if strategy else contextlib.nullcontext():
            layers = [keras.layers.Dense(5, "tanh", kernel_regularizer=GroupLasso(0.05)),
                      keras.layers.Dense(3, kernel_regularizer="l1")]
            model = keras.Sequential([keras.Input((6,)), *layers])
            model.compile(Proximal(inner(), penalty_factors=True), "mse", jit_compile=False)
        first = model.fit(data, epochs=10, verbose=0, shuffle=False, callbacks=[Reweight(start=4)]).history["loss"]
        model.optimizer.freeze()
        model.optimizer.strength = 0.5
        second = model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"]
        assert (model.optimizer._fused.kernels.calls > 0) == (strategy is None)
        return [*model.get_weights(), first, second]

    optimizers = keras.optimizers
    for inner in (lambda: optimizers.SGD(0.05), lambda: optimizers.SGD(0.05, momentum=0.9),
                  lambda: optimizers.Adam(0.02), lambda: optimizers.Adam(0.02, use_ema=True)):
        one = run(None, inner)
        two = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), inner)
        for a, b in zip(one, two):
            np.testing.assert_allclose(a, b, atol=1e-10)
    print("equal")
    """


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="MirroredStrategy is TensorFlow's")
def test_two_mirrored_devices_equal_one():
    """20 steps in float64 on two logical devices, then frozen ones: SGD, Adam, groups, factors, moving averages.

    The one device has kernels, and the two have none.
    """
    result = script(CODE)
    assert result.stdout.endswith("equal\n"), result.stderr
