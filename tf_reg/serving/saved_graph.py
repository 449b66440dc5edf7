"""What a signature of a SavedModel reaches: its operations, and which of them a server must not meet."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Stateful, and neither a write nor a draw; whatever else is stateful is refused. A `HashTableV2` never changes.
HARMLESS = {
    "Assert", "Case", "HashTableV2", "If", "LookupTableFindV2", "LookupTableSizeV2", "Placeholder",
    "ReadVariableOp", "ResourceGather", "ResourceGatherNd",
    "StatefulPartitionedCall", "VarHandleOp", "VarIsInitializedOp", "VariableShape", "While",
}  # fmt: skip
RANDOM = re.compile(
    r"Random|Multinomial|Rng|TruncatedNormal|NonDeterministic|SampleDistorted|CandidateSampler|Stochastic|"
    r"StatefulUniform|StatefulStandardNormal|StatelessShuffle|InitializeShuffle"
)
WRITES = re.compile(r"Assign|Scatter|Apply|Insert|Import|Push|Write|Enqueue")
OUT = re.compile(r"^(ReadFile|WriteFile|MatchingFiles|.*PyFunc.*|.*Reader(V2)?|.*(Record|TextLine)Dataset.*)$")
XLA = re.compile(r"^_?Xla")


class Tensor(NamedTuple):
    """An input or output of a signature: its name in the graph, its dtype, and its shape, None where it is free."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    """The inputs and outputs of a signature, by their names in a request."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def load(saved_model: Path) -> Any:
    """Return the graph of a SavedModel, a `MetaGraphDef`, without loading its variables.

    Raises:
        ValueError: If the file isn't there, or is no SavedModel with a graph for serving.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = saved_model / "saved_model.pb"
    parsed = saved_model_pb2.SavedModel()
    try:
        parsed.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} is missing.") from None
    except DecodeError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    graphs = [graph for graph in parsed.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise ValueError(f"{path} has no graph that is tagged for serving.")
    return graphs[0]


def signatures(meta_graph: Any) -> dict[str, Signature]:
    """Return the signatures of a graph that can be called, by their names."""
    return {
        name: Signature(_tensors(definition.inputs), _tensors(definition.outputs))
        for name, definition in sorted(meta_graph.signature_def.items())
        if name != "__saved_model_init_op"
    }


def reached(meta_graph: Any, signature: Signature) -> list[Any]:
    """Return the nodes (`NodeDef`) that a signature may run: what its outputs need, and bodies of functions."""
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    nodes = list(_upstream(meta_graph.graph_def.node, [tensor.name for tensor in signature.outputs.values()]))
    seen: set[str] = set()
    for node in nodes:  # grows
        for name in _called(node):
            if name in functions and name not in seen:
                seen.add(name)
                nodes.extend(functions[name].node_def)
    return nodes


def problems(nodes: Iterable[Any]) -> list[str]:
    """Say which nodes draw random numbers, write variables, or run under XLA alone, each kind once, and where."""
    from tensorflow.python.framework import op_def_registry

    found: dict[str, str] = {}
    for node in nodes:
        definition = op_def_registry.get(node.op)
        if XLA.search(node.op) or node.attr["_XlaMustCompile"].b:
            found.setdefault(f"{node.op} needs XLA, which the server has switched off", node.name)
        elif RANDOM.search(node.op):
            found.setdefault(f"{node.op} draws random numbers", node.name)
        elif definition is not None and _is_stateful(definition) and node.op not in HARMLESS:
            verb = "writes a variable" if WRITES.search(node.op) else "has state"
            found.setdefault(f"{node.op} {verb}", node.name)
    return [f"{problem} at {name}" for problem, name in found.items()]


def reaching_out(meta_graph: Any) -> list[str]:
    """Say which operations read or write files by themselves, or call Python: in any function, called or not.

    The function that initialises a SavedModel runs when it is loaded, before any request.
    """
    library = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in library for node in function.node_def)]
    found = {node.op: node.name for node in nodes if OUT.match(node.op)}
    return [f"{op} reaches out of the model, to files or to Python, at {name}" for op, name in sorted(found.items())]


def without_gpu_kernel(nodes: Iterable[Any]) -> dict[str, str]:
    """Return the operations that have no kernel for a GPU with these types, as the installed TensorFlow knows them.

    Returns:
        For each operation the name of the first node of this kind.
    """
    found: dict[str, str] = {}
    for node in nodes:
        if not any(_fits(kernel, node) for kernel in _gpu_kernels(node.op)):
            found.setdefault(node.op, node.name)
    return dict(sorted(found.items()))


def knows_gpu_kernels() -> bool:
    """Whether the installed TensorFlow is built for CUDA; it need not have a GPU."""
    import tensorflow as tf

    return bool(tf.sysconfig.get_build_info()["is_cuda_build"])


def variable_bytes(nodes: Iterable[Any]) -> int:
    """Return the size of the variables among the nodes, each counted once."""
    import tensorflow as tf

    sizes = {}
    for node in nodes:
        if node.op == "VarHandleOp":
            shape = tf.TensorShape(node.attr["shape"].shape)
            sizes[node.attr["shared_name"].s or node.name] = (
                shape.num_elements() * tf.dtypes.as_dtype(node.attr["dtype"].type).size
            )
    return sum(sizes.values())


def _is_stateful(definition: Any) -> bool:
    """Whether an operation has state; those on TensorFlow 1's reference variables aren't marked so."""
    return definition.is_stateful or any(argument.is_ref for argument in definition.input_arg)


def _tensors(infos: Any) -> dict[str, Tensor]:
    import tensorflow as tf

    return {
        name: Tensor(info.name, tf.dtypes.as_dtype(info.dtype).name, _shape(info.tensor_shape))
        for name, info in sorted(infos.items())
    }


def _shape(shape: Any) -> tuple[int | None, ...]:
    return tuple(None if axis.size < 0 else axis.size for axis in shape.dim)


def _upstream(nodes: Iterable[Any], names: Iterable[str]) -> Iterator[Any]:
    """Walk from tensors back to all nodes that they need."""
    by_name = {node.name: node for node in nodes}
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name not in seen:
            seen.add(name)
            yield by_name[name]
            waiting.extend(by_name[name].input)


def _called(node: Any) -> Iterator[str]:
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


@functools.cache
def _gpu_kernels(op: str) -> list[Any]:
    from tensorflow.python.framework import kernels

    found = kernels.get_registered_kernels_for_op(op).kernel
    return [kernel for kernel in found if kernel.device_type in ("GPU", "DEFAULT")]  # DEFAULT: for any device


def _fits(kernel: Any, node: Any) -> bool:
    return all(
        node.attr[constraint.name].type in constraint.allowed_values.list.type
        for constraint in kernel.constraint
        if node.attr[constraint.name].type  # lists of types aren't looked into
    )
