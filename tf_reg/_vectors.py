"""Many small arrays in few calls: on torch, a call takes longer than the arithmetic on a small array."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor, on_accelerator

SMALL = 2**14  # numbers; copying a larger array takes longer than a few calls


def held(variables: Sequence[keras.Variable]) -> list[Tensor]:
    """Return the tensors of variables.

    Args:
        variables: Keras variables.
    """
    if keras.backend.backend() == "torch":  # where Keras' conversion takes longer than the arithmetic
        return [variable.value for variable in variables]
    return [ops.convert_to_tensor(variable) for variable in variables]


def assign_all(variables: Sequence[keras.Variable], tensors: Sequence[Tensor]) -> None:
    """Assign a tensor to each variable; on torch, all in one call. Call it where no gradients are recorded.

    Args:
        variables: Keras variables.
        tensors: Tensors of their shapes.

    Raises:
        ValueError: A tensor of another shape.
    """
    if keras.backend.backend() == "torch":
        import torch

        for variable, tensor in zip(variables, tensors, strict=True):
            if variable.shape != tensor.shape:  # torch would repeat the numbers
                raise ValueError(f"{variable.path} has the shape {variable.shape}. Received: {tuple(tensor.shape)}.")
        torch._foreach_copy_([variable.value for variable in variables], list(tensors))
        return
    for variable, tensor in zip(variables, tensors, strict=True):
        variable.assign(tensor)


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return one tensor as it is, and several torch tensors as one vector.

    Args:
        tensors: One tensor of any backend, or several torch tensors of one dtype.
    """
    if len(tensors) == 1:
        return tensors[0]
    import torch

    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def in_dtype(tensor: Tensor, dtype: Any) -> Tensor:
    """Return a tensor in a dtype. `ops.cast` takes time on torch even if there is nothing to do.

    Args:
        tensor: A tensor.
        dtype: A dtype of the backend.
    """
    return tensor if tensor.dtype == dtype else ops.cast(tensor, dtype)


def stacks() -> bool:
    """Return whether arrays of equal shapes are mapped as one stack: on JAX's accelerators."""
    return keras.backend.backend() == "jax" and on_accelerator()


def mapped_together(function: Callable[..., Tensor], arguments: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
    """Call a function with each tuple of tensors; where `stacks` says so, in one call with those of equal shapes.

    Args:
        function: A function of tensors that doesn't depend on anything else that is traced.
        arguments: What it is called with.

    Returns:
        What it returns for each tuple.
    """
    if not stacks():
        return [function(*one) for one in arguments]
    import jax

    alike: dict[Hashable, list[int]] = {}
    for number, one in enumerate(arguments):
        alike.setdefault(tuple((tuple(tensor.shape), str(tensor.dtype)) for tensor in one), []).append(number)
    found: list[Tensor] = [None] * len(arguments)
    for numbers in alike.values():
        if len(numbers) == 1:
            found[numbers[0]] = function(*arguments[numbers[0]])
            continue
        stacked = [jax.numpy.stack(tensors) for tensors in zip(*(arguments[n] for n in numbers), strict=True)]
        for number, result in zip(numbers, jax.vmap(function)(*stacked), strict=True):
            found[number] = result
    return found


def parted(tensor: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Undo `joined`.

    Args:
        tensor: What `joined` returned, or a tensor of its shape.
        like: Tensors of the shapes that were given to `joined`.
    """
    if len(like) == 1:
        return [tensor]
    parts = tensor.split([math.prod(part.shape) for part in like])
    return [part.view(whole.shape) for part, whole in zip(parts, like, strict=True)]
