"""What differs between Keras' backends: how a function of tensors is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

Tensor = Any  # a tensor of the backend at hand: a TensorFlow, JAX or torch tensor


def compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a pure function of tensors with what the backend at hand offers.

    That is `tf.function` on TensorFlow and `jax.jit` on JAX. On torch the function runs eagerly, without gradients.
    It is traced again for every new set of shapes and dtypes, and for nothing else.

    Args:
        function: Takes tensors of the backend (and lists of them), returns tensors. Whatever else it reads is
            frozen at its first call: pass the value of a variable as an argument.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if name == "jax":
        import jax

        return jax.jit(function)
    if name == "torch":
        import torch

        return torch.no_grad()(function)
    raise ValueError(
        f"tf_reg runs on Keras' backends tensorflow, jax and torch. Received: {name!r}. "
        "Set the environment variable KERAS_BACKEND before keras is imported."
    )
