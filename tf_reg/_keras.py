"""The parts of Keras that have no public name: everything in tf_reg that reads a private attribute of Keras is here."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_reg._backend import Tensor


def sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Return a layer and all layers inside it, each once.

    Keras has a public list for the layers of a model (`model.layers`), but none for the layers inside a layer.

    Args:
        layer: A layer or a model.
    """
    return private(layer, "_flatten_layers")()


def direct_sublayers(layer: keras.Layer) -> list[keras.Layer]:
    """Return the layers that are attributes of a layer, without the layers inside those, each once.

    Args:
        layer: A layer or a model.
    """
    return private(layer, "_flatten_layers")(include_self=False, recursive=False)


def own_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables that a layer itself trains, without those of the layers inside it.

    A frozen layer (`trainable=False`) has them too. `layer.trainable_variables` is empty for a frozen layer, and
    contains the variables of the layers inside.

    Args:
        layer: A layer or a model.
    """
    return list(private(layer, "_trainable_variables"))


def own_non_trainable_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables that a layer itself holds and never trains, without those of the layers inside it.

    Args:
        layer: A layer or a model.
    """
    return list(private(layer, "_non_trainable_variables"))


def own_variables(layer: keras.Layer) -> list[keras.Variable]:
    """Return the variables that a layer itself holds, without those of the layers inside it.

    Those of its random numbers and metrics are among them.

    Args:
        layer: A layer or a model.
    """
    inner = {id(variable) for one in direct_sublayers(layer) for variable in one.variables}
    return [variable for variable in layer.variables if id(variable) not in inner]


def mask_of(tensor: Tensor) -> Tensor | None:
    """Return the mask that Keras keeps with a tensor, or None.

    Keras keeps it in an attribute of the tensor or, where a tensor of JAX takes no attributes, in a table of its own.
    It has no public function that returns it.

    Args:
        tensor: A tensor of the backend or a `keras.KerasTensor`.
    """
    from keras.src.backend.common import masking

    return private(masking, "get_keras_mask")(tensor)


def call_that_made(tensor: keras.KerasTensor) -> tuple[Any, list[keras.KerasTensor]]:
    """Return the layer or operation whose call made a symbolic tensor, and the tensors that this call took.

    Args:
        tensor: A symbolic tensor of a functional model.
    """
    operation, node_index, _ = private(tensor, "_keras_history")
    return operation, list(private(operation, "_inbound_nodes")[node_index].input_tensors)


class Call(NamedTuple):
    """A call of a layer or an operation in a functional model.

    Args:
        operation: What is called.
        args: The positional arguments; symbolic tensors among them, in any structure.
        kwargs: The keyword arguments.
        inputs: The symbolic tensors among the arguments.
        outputs: The symbolic tensors that it returns.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[keras.KerasTensor]
    outputs: list[keras.KerasTensor]


def calls(model: keras.Function) -> list[Call]:
    """Return the calls of a functional model, each after those that it needs. Its inputs are not among them.

    Args:
        model: A functional model.
    """
    by_depth = private(model, "_nodes_by_depth")
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]
    return [
        Call(node.operation, node.arguments.args, node.arguments.kwargs, list(node.input_tensors), list(node.outputs))
        for node in nodes
    ]


def operation_name(operation: Any) -> str:
    """Return the name of the class of an operation of `keras.ops`, such as `"Add"`; empty for anything else.

    Args:
        operation: A layer or an operation.
    """
    is_function = not isinstance(operation, keras.Layer) and type(operation).__module__.startswith("keras.src.ops.")
    return type(operation).__name__ if is_function else ""


def lambda_output_shape(layer: keras.layers.Lambda) -> Any:
    """Return the argument `output_shape` of a `Lambda` layer.

    Args:
        layer: The layer.
    """
    return private(layer, "_output_shape")


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """Return the arguments that a model was compiled with, as they were given.

    `model.get_compile_config()` has them in a form in which functions are only names.

    Args:
        model: A compiled model.
    """
    return dict(private(private(model, "_compile_config"), "config"))


def application_layers(module: str, name: str) -> list[type]:
    """Return the layer class of a name that a module of `keras.applications` has for itself; none where there is none.

    Args:
        module: `"convnext"`, for instance.
        name: `"LayerScale"`, for instance.
    """
    layer = getattr(getattr(keras.src.applications, module, None), name, None)
    return [] if layer is None else [layer]


def trusted() -> AbstractContextManager[Any]:
    """Return a context in which Keras makes a `Lambda` layer from the config of one that is in memory.

    Keras has a public switch for the whole process only.
    """
    from keras.src.saving import serialization_lib

    return private(serialization_lib, "SafeModeScope")(safe_mode=False)


@contextmanager
def open_for_state(layer: keras.Layer) -> Iterator[None]:
    """Let a built layer take new variables and seed generators within a `with` block.

    Keras forbids it for a built layer, and has no public way to allow it.

    Args:
        layer: A layer, built or not.
    """
    tracker = private(layer, "_tracker")
    locked = tracker.locked
    tracker.unlock()
    try:
        yield
    finally:
        if locked:
            tracker.lock()


@contextmanager
def aside() -> Iterator[None]:
    """Make layers within a `with` block that nobody is going to use.

    Their variables get no values. The names and the random numbers that they take are given back.
    """
    from keras.src.backend.common import global_state

    get, put = private(global_state, "get_global_attribute"), private(global_state, "set_global_attribute")
    names, waiting = copy.copy(get("object_name_uids")), list(get("uninitialized_variables") or [])
    numbers = random.getstate()
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        random.setstate(numbers)
        put("object_name_uids", names)
        put("uninitialized_variables", waiting)


def start_at_epoch(model: keras.Model, epoch: int | None) -> None:
    """Set the first epoch of the `fit` that is beginning, as `keras.callbacks.BackupAndRestore` does.

    Args:
        model: The model.
        epoch: The epoch, counted from 0; None for what `fit` was given.
    """
    private(model, "_initial_epoch")
    model._initial_epoch = epoch


def build_state(model: keras.Model, batch: Any) -> None:
    """Make the variables of a compiled model's metrics and optimizer now.

    On several devices Keras would read a batch at the beginning of `fit`, which moves a shuffled data set to its
    second order, and which fails where the devices have parts of different sizes.

    Args:
        model: A built model, compiled for TensorFlow.
        batch: Examples of any number, as the data have them.
    """
    private(model, "_symbolic_build")(data_batch=batch)
    private(model, "_maybe_symbolic_build")
    model._maybe_symbolic_build = lambda *args, **kwargs: None


def _global_seed_generator() -> keras.random.SeedGenerator | None:
    from keras.src.backend.common import global_state

    return private(global_state, "get_global_attribute")("global_seed_generator")


def global_seed() -> np.ndarray | None:
    """Return the state of the random numbers that are drawn without a seed; None where none was drawn yet."""
    generator = _global_seed_generator()
    return None if generator is None else keras.ops.convert_to_numpy(generator.state)


def set_global_seed(state: np.ndarray) -> None:
    """Bring back what `global_seed` returned."""
    from keras.src.random import seed_generator

    private(seed_generator, "global_seed_generator")().state.assign(state)


def device_layout(variable: keras.Variable) -> Any:
    """Return how `keras.distribution` lays a variable out over the devices; None where it doesn't.

    Args:
        variable: A Keras variable.
    """
    return getattr(variable, "_layout", None)


def untrack(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> None:
    """Take a variable out of an optimizer's own variables.

    Args:
        optimizer: An optimizer.
        variable: A variable that its `add_variable` made.
    """
    private(optimizer, "_tracker").untrack(variable)


def private(thing: Any, name: str) -> Any:
    """Return a private attribute of a Keras object, or say that this Keras is too new.

    Args:
        thing: A Keras object or module.
        name: The attribute's name.
    """
    try:
        return getattr(thing, name)
    except AttributeError:
        raise RuntimeError(
            f"tf_reg needs the attribute `{name}` of {type(thing).__name__}. Keras 3.15, which tf_reg is tested on, "
            f"has it. Received: Keras {keras.__version__}, which doesn't. Install an older Keras, `pip install "
            "'keras<3.16'`, or a newer tf_reg."
        ) from None
