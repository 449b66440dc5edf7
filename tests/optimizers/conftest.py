"""What the tests of optimizers share."""

import keras
import pytest


@pytest.fixture
def float64():
    """Keras computes in float64, on JAX too."""
    keras.config.set_floatx("float64")
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    yield
    keras.config.set_floatx("float32")
    if keras.backend.backend() == "jax":
        jax.config.update("jax_enable_x64", False)
