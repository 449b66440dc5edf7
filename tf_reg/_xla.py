"""Fewer passes over memory: on TensorFlow, many operations on the weights compiled into one kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tf_reg._backend import in_a_graph

WORTH_COMPILING = 2**16  # weights; below that a compilation costs more than it saves

_NAMES = frozenset({"_gradient_op_type", "_user_specified_name"})  # attributes that say nothing of what is computed


def compiles(weights: int) -> bool:
    """Whether a function of so many weights is worth a kernel: it is part of a TensorFlow graph, and they are many.

    A TensorFlow graph runs its operations one by one, each a pass over memory. Where XLA compiles the whole graph, on
    JAX, and in eager TensorFlow there are no kernels. Under a distribution strategy an optimizer can't be compiled.

    Args:
        weights: How many numbers the function works on.
    """
    return sums_by_columns(weights) and not _in_xla()


def sums_by_columns(weights: int) -> bool:
    """Whether XLA is going to compute a sum of so many numbers, in a kernel of its own or with the whole graph.

    XLA on TensorFlow adds the numbers of one sum one after the other, and those of many sums side by side.

    Args:
        weights: How many numbers there are.
    """
    if weights < WORTH_COMPILING or not in_a_graph():
        return False
    import tensorflow as tf

    return not tf.distribute.has_strategy()


def _in_xla() -> bool:
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util  # TensorFlow has no public name for it

    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def fused(function: Callable[..., Any], x: Any, *constants: float) -> Any:
    """The result of a function of one tensor, computed by XLA as one kernel. Call it in a TensorFlow graph.

    Args:
        function: Takes a tensor and the constants, and returns a tensor.
        x: The tensor. Tensors of one shape and dtype share the kernel.
        constants: The constants.
    """
    return function(x, *constants) if _in_xla() else _compiled(function, *constants)(x)


@functools.lru_cache(maxsize=256)
def _compiled(function: Callable[..., Any], *constants: float) -> Any:
    import tensorflow as tf

    return tf.function(lambda x: function(x, *constants), jit_compile=True, autograph=False)


class Likeness(NamedTuple):
    """What tells a function of `Kernels` from another before it is traced.

    Args:
        key: All that decides which operations it has, but the shapes of its arguments and the variables.
        own: The variables that it may use. Functions of one key use those at the same places.
        shared: Variables that all functions may use, and use alike.
    """

    key: Hashable
    own: Sequence[keras.Variable]
    shared: Sequence[keras.Variable]


class Kernels:
    """Functions that XLA compiles, each only once for all variables of equal shapes.

    A function is traced for its own variables. If a function before it has the same operations, on other variables of
    the same shapes and dtypes, that one is called with the new variables, and XLA finds that it is compiled. So the
    3x3 convolutions of one size in a network have one kernel. Where a `Likeness` tells that the function is one of
    before, it isn't even traced: Keras' operations take more time to trace than XLA takes to compile them.

    Attributes:
        calls: How often a kernel was put into a graph.
        traces: How many functions were traced.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}
        self._known: dict[Hashable, tuple[Any, list[Any]]] = {}
        self.calls = 0
        self.traces = 0

    def __len__(self) -> int:
        return len(self._made)

    def run(self, function: Callable[..., None], *args: Any, likeness: Likeness | None = None) -> None:
        """Call a function as one kernel. Call it where `compiles` says so.

        Args:
            function: Takes `args`, assigns variables, and returns nothing. Of the graph around it, it uses nothing but
                the tensors in `args`: the kernel outlives the graph.
            args: Structures of tensors and of anything else. Their static shapes are known.
            likeness: What the function is like; None if it isn't known.
        """
        leaves = keras.tree.flatten(args)
        given = [leaf for leaf in leaves if _is_tensor(leaf)]
        key = None if likeness is None else (likeness.key, tuple(map(_kind, leaves)))
        if likeness is None or key not in self._known:
            traced = self._traced(function, args)
            kernel, captured = self._made.setdefault(_content(traced), traced), traced.captured_inputs
            places = None if likeness is None else _places(captured, likeness)
            if places is not None:
                self._known[key] = kernel, places
        else:
            kernel, places = self._known[key]
            captured = [likeness.own[place].handle if isinstance(place, int) else place for place in places]
        kernel.set_external_captures(captured)
        kernel(*given)
        self.calls += 1

    def _traced(self, function: Callable[..., None], args: Any) -> Any:
        """A function of the tensors in `args`."""
        import tensorflow as tf

        leaves = keras.tree.flatten(args)
        places = [place for place, leaf in enumerate(leaves) if _is_tensor(leaf)]

        def on_tensors(*tensors: Any) -> None:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            function(*keras.tree.pack_sequence_as(args, filled))

        self.traces += 1
        with tf.init_scope():
            compiled = tf.function(on_tensors, jit_compile=True, autograph=False)
            return compiled.get_concrete_function(*(_spec(leaves[place]) for place in places))


def _spec(tensor: Any) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _kind(leaf: Any) -> Hashable:
    """What the operations on an argument depend on."""
    if _is_tensor(leaf):
        return tuple(leaf.shape), leaf.dtype
    return leaf if leaf is None or isinstance(leaf, (bool, int, float, str)) else id(leaf)


def _places(captured: Sequence[Any], likeness: Likeness) -> list[Any] | None:
    """For each captured tensor its place in `own`, or the tensor if it is shared; None if there is another one."""
    own = {id(variable.handle): place for place, variable in enumerate(likeness.own)}
    shared = {id(variable.handle) for variable in likeness.shared}
    places = [own.get(id(one), one) for one in captured]
    return places if all(isinstance(one, int) or id(one) in shared for one in places) else None


def is_dense(gradient: Any) -> bool:
    """Whether a gradient is a tensor. That of an embedding is rows with their places, which no kernel takes.

    Args:
        gradient: A gradient on TensorFlow, or None.
    """
    return _is_tensor(gradient)


def _is_tensor(leaf: Any) -> bool:
    import tensorflow as tf

    return isinstance(leaf, tf.Tensor) and not isinstance(leaf, keras.Variable)


def _content(traced: Any) -> Hashable:
    """What a traced function computes: its operations without their names, and the shapes that it works on."""
    library = {one.signature.name: one for one in traced.graph.as_graph_def().library.function}
    variables = {id(one.handle): tuple(one.shape) for one in traced.variables}
    captured = [variables.get(id(one), tuple(one.shape)) for one in traced.captured_inputs]
    given = [tuple(one.shape) for one in traced.inputs]
    return tuple(given), tuple(captured), _signature(traced.function_def, library)


def _signature(function: Any, library: Mapping[str, Any]) -> Hashable:
    """The operations of a `FunctionDef`, with the functions that they call."""
    names = [one.name for one in (*function.signature.input_arg, *function.node_def)]
    number = {name: str(place) for place, name in enumerate(names)}

    def numbered(inputs: Sequence[str]) -> tuple[str, ...]:
        """`"^name"` is a control input, and `"name:output:0"` an output."""
        parts = (one.removeprefix("^").partition(":") for one in inputs)
        return tuple(
            ("^" if one[0] == "^" else "") + number[part[0]] + part[2] for one, part in zip(inputs, parts, strict=True)
        )

    def attribute(value: Any) -> Hashable:
        functions = [value.func] if value.HasField("func") else list(value.list.func)
        inner = tuple(_signature(library[one.name], library) for one in functions if one.name in library)
        return inner or value.SerializeToString(deterministic=True)

    nodes = tuple(
        (node.op, numbered(node.input), tuple((k, attribute(node.attr[k])) for k in sorted(set(node.attr) - _NAMES)))
        for node in function.node_def
    )
    types = tuple(one.type for one in function.signature.input_arg)
    return types, nodes, numbered([function.ret[one.name] for one in function.signature.output_arg])
