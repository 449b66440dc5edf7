"""What differs between the backends of Keras: compiling a function, loops, and the seed of dropout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

Tensor = Any  # a tensor of the current backend: a TensorFlow, JAX or torch tensor


def tensor_of(value: Any, dtype: str) -> Tensor:
    """Return an array as a tensor of the backend. Strings are a tensor of TensorFlow on each backend, as in Keras.

    Args:
        value: A number or an array.
        dtype: A dtype as Keras names it, or `"string"`.
    """
    if dtype != "string":
        return keras.ops.convert_to_tensor(value, dtype=dtype)
    import tensorflow as tf

    return tf.convert_to_tensor(value, dtype="string")


def compile(function: Callable[..., Any], reads: Sequence[keras.Variable] = ()) -> Callable[..., Any]:
    """Compile a function of tensors for the current backend.

    TensorFlow uses `tf.function`, JAX uses `jax.jit`. On torch the function runs eagerly, without gradients. The
    function is traced again for each new set of shapes and dtypes, and for nothing else.

    Args:
        function: A function that takes tensors of the backend, or lists of them, returns tensors, and assigns no
            variable.
        reads: The Keras variables that the function reads. Each call reads their current values. Everything else that
            it reads, such as attributes of objects, keeps the value of the first call.

    Returns:
        The compiled function.

    Raises:
        ValueError: The backend is neither TensorFlow, JAX nor torch.
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
    """Compile for JAX. The values of variables are arguments: JAX would compile them in as constants otherwise."""
    import jax

    @jax.jit
    def stateless(values: Any, *args: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(reads, values, strict=True))):
            return function(*args)

    return lambda *args: stateless([variable.value for variable in reads], *args)


def with_gradients(
    function: Callable[..., Tensor], variables: Sequence[keras.Variable], reads: Sequence[keras.Variable]
) -> Callable[..., tuple[Tensor, list[Tensor]]]:
    """Compile a function of tensors for the current backend, together with its gradients.

    Args:
        function: A function that takes structures of tensors and returns a scalar tensor. What it assigns is lost.
        variables: The Keras variables whose gradients are wanted.
        reads: The other Keras variables that the function reads. Each call reads their current values.

    Returns:
        A function of the same arguments that returns the value, and one gradient of each variable's shape; zeros where
        the value doesn't depend on the variable.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        return _on_tensorflow(function, variables)
    return _on_jax(function, variables, reads) if name == "jax" else _on_torch(function, variables)


def _on_tensorflow(function: Callable[..., Tensor], variables: Sequence[keras.Variable]) -> Callable[..., Any]:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def both(*args: Any) -> Any:
        with tf.GradientTape() as tape:
            value = function(*args)
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(value, [variable.value for variable in variables], unconnected_gradients=zero)
        return value, [tf.convert_to_tensor(gradient) for gradient in gradients]  # embeddings have rows of one

    return both


def _on_jax(
    function: Callable[..., Tensor], variables: Sequence[keras.Variable], reads: Sequence[keras.Variable]
) -> Callable[..., Any]:
    import jax

    def value(values: Any, others: Any, *args: Any) -> Any:
        mapping = [*zip(variables, values, strict=True), *zip(reads, others, strict=True)]
        with keras.StatelessScope(state_mapping=mapping):
            return function(*args)

    both = jax.jit(jax.value_and_grad(value))
    return lambda *args: both([one.value for one in variables], [one.value for one in reads], *args)


def _on_torch(function: Callable[..., Tensor], variables: Sequence[keras.Variable]) -> Callable[..., Any]:
    import torch

    def both(*args: Any) -> Any:
        value, own = function(*args), [variable.value for variable in variables]
        gradients = torch.autograd.grad(value, own, allow_unused=True)
        pairs = zip(gradients, own, strict=True)
        return value.detach(), [torch.zeros_like(one) if found is None else found for found, one in pairs]

    return both


def in_a_graph() -> bool:
    """Return whether operations are now added to a TensorFlow graph instead of being run."""
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


def on_accelerator() -> bool:
    """Return whether the backend computes on a GPU or TPU through XLA.

    There the host starts every kernel. A loop whose end depends on numbers waits for the device in every turn, and
    many small arrays take many kernels.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    return False


def without_gradients() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which torch records no operation for a backward pass. Other backends record none anyway."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def loop(times: int, body: Callable[[Any, Any], Any], carry: Any) -> Any:
    """Call `carry = body(number, carry)` for the numbers from 0 to `times - 1`, and return the last `carry`.

    The calls run one after the other. TensorFlow's own default runs up to ten at once, which takes the memory of ten.

    Args:
        times: The number of calls.
        body: A function of the number and `carry` that returns a new `carry` of the same structure.
        carry: The first value: a tensor, or a structure of tensors.
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


def tensors_of_data(parts: Any) -> Any:
    """Return arrays, or structures of them, as tensors of TensorFlow, for `passes_over`.

    Args:
        parts: A tuple of arrays, or of structures of them.
    """
    import tensorflow as tf

    return keras.tree.map_structure(tf.convert_to_tensor, keras.tree.lists_to_tuples(parts))


def passes_over(tensors: Any, batch_size: int, passes: int, seed: Sequence[int]) -> Any:
    """Return a data set of batches, which Keras takes on each backend: a `tf.data.Dataset`, quick in a compiled loop.

    Args:
        tensors: What `tensors_of_data` returned; the first axis is the example.
        batch_size: Examples in a batch; those of all examples are in order.
        passes: How often each example comes. The order is another one each time, the last batch may be smaller.
        seed: Whole numbers, the seed of the orders.
    """
    import tensorflow as tf

    count = len(keras.tree.flatten(tensors)[0])
    if batch_size >= count:
        return tf.data.Dataset.from_tensors(tensors).repeat(passes)
    random = np.random.default_rng(seed)
    orders = np.stack([random.permutation(count) for _ in range(passes)])
    places = tf.data.Dataset.from_tensor_slices(orders)
    places = places.flat_map(lambda order: tf.data.Dataset.from_tensor_slices(order).batch(batch_size))
    chosen = places.map(lambda one: keras.tree.map_structure(lambda tensor: tf.gather(tensor, one), tensors))
    steps = passes * -(-count // batch_size)
    return chosen.prefetch(2).apply(tf.data.experimental.assert_cardinality(steps))


def iterator_over(batch: Any) -> Any:
    """Return what Keras' `train_function` takes in place of its iterator over the data, with one batch.

    Args:
        batch: What the iterator gave.
    """
    if keras.backend.backend() == "torch":
        return [batch]
    if keras.backend.backend() == "jax":
        return iter([batch])
    import tensorflow as tf

    return iter(tf.data.Dataset.from_tensors(batch))


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed the generator of torch within a `with` block. Afterwards the generator has its old state.

    Keras' dropout draws from this generator on torch. On TensorFlow and JAX it draws from the states of Keras' seed
    generators, and this function does nothing.

    Args:
        seed: The seed, a non-negative integer.
    """
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def random_state() -> list[np.ndarray]:
    """Return the states of torch's own generators, of the CPU and of each GPU; none on the other backends."""
    if keras.backend.backend() != "torch":
        return []
    import torch

    return [state.cpu().numpy() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def set_random_state(states: Sequence[np.ndarray]) -> None:
    """Bring back what `random_state` returned."""
    if not states:
        return
    import torch

    own, *others = map(torch.from_numpy, states)
    torch.set_rng_state(own)
    torch.cuda.set_rng_state_all(others)
