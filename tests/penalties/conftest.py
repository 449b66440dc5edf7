"""What the tests of penalties share."""

import keras
import pytest


@pytest.fixture(scope="module")
def float64():
    """JAX has no float64 unless asked."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
