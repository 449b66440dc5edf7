"""Whether a TensorFlow Serving of some version can read a graph: every node of it, those of all functions included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tf_reg.serving import saved_graph
from tf_reg.serving.verify import server_tables
from tf_reg.serving.verify.server_tables import Kernel, Table

_VALUES = {"type": "type", "int": "i", "float": "f", "bool": "b", "string": "s", "shape": "shape", "tensor": "tensor"}
_VALUES |= {"func": "func"}  # the field of an `AttrValue` for each type of an attribute


def check(meta_graph: Any, signature: saved_graph.Signature, server: str, *, gpu: bool) -> None:
    """Refuse a graph that a server can't read or run.

    Args:
        meta_graph: The graph.
        signature: Its signature `serving_default`.
        server: The version of TensorFlow Serving, such as `"2.20"`.
        gpu: Whether what the signature reaches must run on a GPU too.

    Raises:
        ValueError: If it can't. The message names the nodes, and the versions that can.
    """
    found = _problems(meta_graph, signature, server, gpu)
    if not found:
        return
    others = [v for v in server_tables.versions() if not _problems(meta_graph, signature, v, gpu)]
    ways = [f"serve it with TensorFlow Serving {' or '.join(others)}"] if others else []
    if gpu and not _problems(meta_graph, signature, server, gpu=False):
        ways.append("pass gpu=False for a server on CPUs")
    way_out = ", or ".join([*ways, "keep that out of the model"])
    raise ValueError(
        f"TensorFlow Serving {server} can't read the graph: {'; '.join(found)}. {way_out[0].upper()}{way_out[1:]}."
    )


def _problems(meta_graph: Any, signature: saved_graph.Signature, server: str, gpu: bool) -> list[str]:
    table, graph = server_tables.table(server), meta_graph.graph_def
    written = _definitions_of_the_writer(meta_graph)
    called = {function.signature.name for function in graph.library.function}
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    found: dict[str, str] = {}
    for node in nodes:
        for problem in _of_node(node, table, written, graph.versions.producer) if node.op not in called else ():
            found.setdefault(problem, node.name)
    if gpu and not any(tensor.dtype == "string" for tensor in signature.inputs.values()):
        for node in saved_graph.reached(meta_graph, signature):
            if node.op in table.operations and not _runs(node, table, "GPU"):
                found.setdefault(f"{node.op} has no GPU kernel{_types(node, table)}", node.name)
    return [*_of_versions(graph.versions, table), *(f"{problem}, at {name}" for problem, name in found.items())]


def _of_versions(versions: Any, table: Table) -> Iterator[str]:
    """Say what is wrong with the version of a graph (a `VersionDef`)."""
    reads = f"it reads graphs of the versions {table.min_producer} to {table.producer}"
    if versions.producer < table.min_producer:
        yield f"{reads}, and this one is of {versions.producer}"
    if versions.min_consumer > table.producer:
        yield f"{reads}, and this one says that it needs {versions.min_consumer}"
    if table.producer in versions.bad_consumers:
        yield f"the graph says that a server for graphs of the version {table.producer} must not read it"


def _of_node(node: Any, table: Table, written: Callable[[str], Any], producer: int) -> Iterator[str]:
    there = table.definition(node.op)
    if there is None:
        yield f"it has no operation {node.op}"
        return
    if there.HasField("deprecation") and producer >= there.deprecation.version:
        yield f"it doesn't take {node.op} in graphs of a version from {there.deprecation.version} on"
        return
    problems = [*_of_attributes(node, there, table)]
    yield from problems
    here = written(node.op)
    if not problems and here is not None:
        yield from _of_defaults(node, there, here)
        if _arguments(there, node) != _arguments(here, node):
            yield f"{node.op} has other inputs or outputs there"
    if not problems and not _runs(node, table, "CPU"):
        yield f"{node.op} has no CPU kernel{_types(node, table)}"


def _of_attributes(node: Any, there: Any, table: Table) -> Iterator[str]:
    known = {attribute.name: attribute for attribute in there.attr}
    given = {name: value for name, value in sorted(node.attr.items()) if not name.startswith("_")}
    for name, value in given.items():
        if name not in known:
            yield f"{node.op} has no attribute {name} there"
        elif value.WhichOneof("value") != "placeholder" and not _takes(known[name], value):
            yield f"{node.op} can't have {name}={_shown(value)} there"
        elif not {value.type, *value.list.type, value.tensor.dtype} <= table.types | {0}:
            yield f"it has no type {_shown(value)}, which {node.op} has for {name}"
    for name in sorted(known.keys() - given.keys()):
        if not known[name].HasField("default_value"):
            yield f"{node.op} needs an attribute {name} there"


def _takes(attribute: Any, value: Any) -> bool:
    """Whether an attribute, as an `OpDef` declares it, can have a value."""
    kind, allowed = attribute.type, attribute.allowed_values.list
    listed = kind.startswith("list(")
    if value.WhichOneof("value") != ("list" if listed else _VALUES[kind]):
        return False
    types, texts = (value.list.type, value.list.s) if listed else ([value.type], [value.s])
    if allowed.type and not set(types) <= set(allowed.type):
        return False
    if allowed.s and not set(texts) <= set(allowed.s):
        return False
    size = value.i if kind == "int" else sum(len(items) for _, items in value.list.ListFields())
    return not attribute.has_minimum or size >= attribute.minimum


def _of_defaults(node: Any, there: Any, here: Any) -> Iterator[str]:
    """Say which attributes that the node leaves out are filled in with another value there than here."""
    ours = {attribute.name: attribute.default_value for attribute in here.attr}
    for attribute in there.attr:
        name, theirs = attribute.name, attribute.default_value
        if name not in node.attr and name in ours and ours[name] != theirs:
            yield f"{node.op} without {name} has {_shown(theirs)} there, and {_shown(ours[name])} where it was written"


def _filled(node: Any, definition: Any) -> dict[str, Any]:
    """Return a node's attributes, with the defaults of those that it leaves out."""
    return {one.name: node.attr.get(one.name, one.default_value) for one in definition.attr}


def _arguments(definition: Any, node: Any) -> list[Any]:
    """Return the types of a node's inputs, and the names and types of its outputs, by the definition of its operation.

    In a function, the names of outputs are how other nodes refer to them.
    """
    values = _filled(node, definition)

    def types(argument: Any) -> tuple[Any, ...]:
        if argument.type_list_attr:
            return tuple(values[argument.type_list_attr].list.type)
        one = values[argument.type_attr].type if argument.type_attr else argument.type
        return (one, values[argument.number_attr].i if argument.number_attr else 1, argument.is_ref)

    inputs = [types(argument) for argument in definition.input_arg]
    return [inputs, [(argument.name, types(argument)) for argument in definition.output_arg]]


def _runs(node: Any, table: Table, device: str) -> bool:
    values = _filled(node, table.definition(node.op))
    return any(_fits(kernel, values) for kernel in table.kernels(node.op, device))


def _fits(kernel: Kernel, values: Mapping[str, Any]) -> bool:
    """Whether a kernel takes attributes with these values."""
    return all(set(_constrained(values[name])) <= set(allowed) for name, allowed in kernel.items() if name in values)


def _constrained(value: Any) -> Iterable[Any]:
    """What of a value a kernel can restrict: a type, each type of a list, a text."""
    if value.WhichOneof("value") == "s":
        return [value.s.decode(errors="replace")]
    return [value.type] if value.WhichOneof("value") == "type" else value.list.type


def _types(node: Any, table: Table) -> str:
    """The types of a node in words, as far as kernels of the operation depend on them."""
    kernels = [*table.kernels(node.op, "CPU"), *table.kernels(node.op, "GPU")]
    names = sorted({name for kernel in kernels for name in kernel})
    values = _filled(node, table.definition(node.op))
    said = ", ".join(f"{name}={_shown(values[name])}" for name in names if name in values)
    return f" for {said}" if said else ""


def _shown(value: Any) -> str:
    """The value of an attribute in words."""
    from tensorflow.core.framework import types_pb2

    def name(code: int) -> str:
        known = types_pb2.DataType.DESCRIPTOR.values_by_number
        return known[code].name.removeprefix("DT_").lower() if code in known else str(code)

    kind = value.WhichOneof("value")
    if kind == "type":
        return name(value.type)
    if kind == "s":
        return repr(value.s.decode(errors="replace"))
    if kind == "tensor":
        return name(value.tensor.dtype)
    if kind == "list":
        items = [name(code) for code in value.list.type] or [
            str(item) for _, some in value.list.ListFields() for item in some
        ]
        return f"[{', '.join(items)}]"
    return " ".join(str(getattr(value, kind)).split()) if kind else "none"


def _definitions_of_the_writer(meta_graph: Any) -> Callable[[str], Any]:
    """Return what finds the `OpDef` of an operation in the TensorFlow that wrote a graph, None for none."""
    from tensorflow.python.framework import op_def_registry

    version = ".".join(meta_graph.meta_info_def.tensorflow_version.split(".")[:2])
    if version in server_tables.versions():
        return server_tables.table(version).definition
    return op_def_registry.get  # newer than all that are known here: ours, if it was just written
