"""What differs between Keras' backends: how functions are compiled and run, how they loop, how dropout is seeded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

Tensor = Any  # a tensor of the backend at hand: a TensorFlow, JAX or torch tensor


def compile(function: Callable[..., Any], reads: Sequence[keras.Variable] = ()) -> Callable[..., Any]:
    """Compile a function of tensors with what the backend at hand offers.

    That is `tf.function` on TensorFlow and `jax.jit` on JAX. On torch the function runs eagerly, without gradients.
    It is traced again for every new set of shapes and dtypes, and for nothing else.

    Args:
        function: Takes tensors of the backend (and lists of them), returns tensors, assigns no variable.
        reads: Keras variables that it reads besides, each call with the values of that moment. What else it reads,
            such as attributes of objects, is frozen at its first call.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if name == "jax":
        return _jitted(function, reads)
    if name == "torch":
        import torch

        return torch.no_grad()(function)
    raise ValueError(
        f"tf_reg runs on Keras' backends tensorflow, jax and torch. Received: {name!r}. "
        "Set the environment variable KERAS_BACKEND before keras is imported."
    )


def _jitted(function: Callable[..., Any], reads: Sequence[keras.Variable]) -> Callable[..., Any]:
    """JAX compiles a variable's value into the function unless the value is an argument."""
    import jax

    @jax.jit
    def stateless(values: Any, *args: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(reads, values, strict=True))):
            return function(*args)

    return lambda *args: stateless([variable.value for variable in reads], *args)


def in_a_graph() -> bool:
    """Whether operations of this moment become part of a TensorFlow graph, instead of running."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def is_known(value: Tensor) -> bool:
    """Return whether Python can branch on the value of a tensor: it isn't a placeholder in a function that is traced.

    Args:
        value: A tensor of the backend.
    """
    if keras.backend.backend() == "jax":
        import jax

        return not isinstance(value, jax.core.Tracer)
    return not in_a_graph()


def without_gradients() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which torch records no operation for a backward pass. Other backends record none anyway."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def loop(times: int, body: Callable[[Any, Any], Any], carry: Any) -> Any:
    """Return `carry` after `times` calls `carry = body(number, carry)`, one after the other, compiled or not.

    TensorFlow would run ten of them at once if it could, and hold the memory of ten.
    """
    if keras.backend.backend() != "tensorflow":
        return keras.ops.fori_loop(0, times, body, carry)
    import tensorflow as tf

    return tf.while_loop(
        lambda number, _: number < times,
        lambda number, value: (number + 1, body(number, value)),
        (0, carry),
        parallel_iterations=1,
    )[1]


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed, for a while, the generator that Keras' dropout draws from on torch; afterwards it goes on as if unused.

    On TensorFlow and JAX all draws of Keras come from the states of its seed generators, and this does nothing.
    """
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
