"""What a TensorFlow Serving of an older version can't read is refused by its name, wherever in the graph it is."""

import dataclasses
import re

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import op_def_registry

import tf_reg
from tests.exports import published, small
from tests.newer_graphs import NEWER, newer
from tests.tools import mostly_slow, on_tensorflow
from tf_reg.serving import saved_graph
from tf_reg.serving.exporting import exported
from tf_reg.serving.verify import server_check, server_tables
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write.options import Options

pytestmark = on_tensorflow("the layers here are made of TensorFlow's operations")
NOTHING = saved_graph.Signature({}, {})


def graph_of(node, *, in_a_function=False):
    """A graph with one node, as text, in it or in a function that nothing calls."""
    graph = meta_graph_pb2.MetaGraphDef()
    graph.meta_info_def.tensorflow_version = "2.21.0"
    graph.graph_def.versions.producer = 2474
    place = graph.graph_def
    if in_a_function:
        place = graph.graph_def.library.function.add()
        place.signature.name = "f"
    nodes = place.node_def if in_a_function else place.node
    nodes.append(text_format.Parse(node, tf.compat.v1.NodeDef()))
    return graph


def refusal(graph, server, gpu=False, signature=NOTHING):
    """What a server can't read of a graph, as `check` says it; empty where it reads all."""
    try:
        server_check.check(graph, signature, server, gpu=gpu)
    except ValueError as error:
        return str(error)
    return ""


def attribute(name, value):
    return f"attr {{ key: '{name}' value {{ {value} }} }}"


FLOAT = attribute("T", "type: DT_FLOAT")
RELU = f"name: 'a/r' op: 'Relu' {FLOAT}"


@pytest.mark.parametrize("kind", mostly_slow(NEWER, "shape", "webp"))
def test_an_export_with_something_newer_is_refused_by_its_name(tmp_path, kind):
    _, since, name = NEWER[kind]
    model, examples = newer(kind)
    versions = server_tables.versions()
    before = versions[versions.index(since) - 1]
    options = {"output_name": "y", "examples": examples, "gpu": False}
    there = " or ".join(versions[versions.index(since) :])
    with pytest.raises(VerificationError) as caught:
        tf_reg.export(model, tmp_path / "m", server=before, **options)
    said = str(caught.value)
    assert said.startswith(f"Nothing was published: The model {model.name!r} can't be served: TensorFlow Serving ")
    assert f"TensorFlow Serving {before} can't read the graph: {name}, at " in said
    way_out = f"Serve it with TensorFlow Serving {there}, or keep that out of the model."
    assert said.endswith(f"{way_out} It comes from the layer 'newer' (Newer).")
    assert "newer_1/" in said
    assert published(tmp_path / "m") == []
    assert tf_reg.export(model, tmp_path / "m", server=since, **options).name == "1"


def test_what_every_server_reads_is_published_and_said(tmp_path):
    found = exported(small(), tmp_path / "m", None, Options(class_id=True, top_k=2), server="2.18")
    assert "TensorFlow Serving 2.18 can read it" in str(found)
    assert "TensorFlow Serving" not in str(dataclasses.replace(found, server=None))


@pytest.mark.parametrize("server", server_tables.versions())
def test_every_server_reads_a_plain_classifier(plain_export, server):
    graph = saved_graph.load(plain_export.path)
    assert refusal(graph, server, True, saved_graph.signatures(graph)["serving_default"]) == ""


@pytest.mark.parametrize("server", ["2.17", "2.20.0", "latest", 2.2, True, ["2.20"], ""])
def test_an_unknown_version_is_refused_before_anything_is_written(tmp_path, server):
    with pytest.raises(ValueError, match=r"`server` must be .*'2\.18', '2\.19', '2\.20', '2\.21'.*Received: "):
        tf_reg.export(small(), tmp_path / "m", server=server)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("in_a_function", [False, True])
def test_functions_are_looked_into(in_a_function):
    found = refusal(graph_of("name: 'a/w' op: 'DecodeJxl'", in_a_function=in_a_function), "2.20")
    assert found == (
        "TensorFlow Serving 2.20 can't read the graph: it has no operation DecodeJxl, at a/w. Serve it with TensorFlow "
        "Serving 2.21, or keep that out of the model."
    )
    assert refusal(graph_of(RELU, in_a_function=in_a_function), "2.18") == ""


NODES = {  # a node, and what is said of it for 2.18; nothing where it can be read
    "of nobody": ("name: 'n' op: 'MyOwn'", r"it has no operation MyOwn, at n\. Keep that out of the model\.$"),
    "internal": ("name: 'n' op: '_FusedConv2D'", "it has no operation _FusedConv2D"),
    "attribute": (f"{RELU} {attribute('fast', 'b: true')}", "Relu has no attribute fast there, at a/r"),
    "private attribute": (f"{RELU} {attribute('_class', 'list {}')}", ""),
    "left out": ("name: 'n' op: 'Relu'", "Relu needs an attribute T there, at n"),
    "kind": (f"name: 'n' op: 'Relu' {attribute('T', 'i: 1')}", "Relu can't have T=1 there"),
    "list": (f"name: 'n' op: 'Relu' {attribute('T', 'list { type: DT_FLOAT }')}", r"Relu can't have T=\[float\] there"),
    "type": (f"name: 'n' op: 'Relu' {attribute('T', 'type: DT_STRING')}", "Relu can't have T=string there"),
    "new type": (
        f"name: 'n' op: 'Placeholder' {attribute('dtype', 'type: 33')}",
        "it has no type (float4_e2m1fn|33), which Placeholder has for dtype",
    ),
    "text": (
        f"name: 'n' op: 'Conv2D' {FLOAT} {attribute('strides', 'list { i: 1 }')} {attribute('padding', 's: `ODD`')}",
        "Conv2D can't have padding='ODD' there",
    ),
    "minimum": (
        f"name: 'n' op: 'TopKV2' {FLOAT} {attribute('k', 'i: 1')}",
        "TopKV2 has no attribute k there",
    ),
    "too few": (f"name: 'n' op: 'Pack' {FLOAT} {attribute('N', 'i: 0')}", "Pack can't have N=0 there"),
    "removed": ("name: 'n' op: 'BatchFFT'", r"it doesn't take BatchFFT in graphs of a version from 15 on"),
    "placeholder": (f"name: 'n' op: 'NoOp' {attribute('_T', 'placeholder: `T`')}", ""),
}


@pytest.mark.parametrize("kind", NODES)
def test_nodes_one_by_one(kind):
    node, message = NODES[kind]
    found = refusal(graph_of(node.replace("`", '"')), "2.18")
    assert re.search(message, found) if message else found == ""


def test_graphs_of_another_version():
    graph = graph_of(RELU)
    versions = graph.graph_def.versions
    versions.min_consumer = 2000
    message = "it reads graphs of the versions 0 to 1994, and this one says that it needs 2000. Serve it with"
    assert message in refusal(graph, "2.18")
    assert refusal(graph, "2.19") == ""
    versions.bad_consumers.append(2129)
    message = "a server for graphs of the version 2129 must not read it. Serve it with TensorFlow Serving 2.20 or 2.21"
    assert message in refusal(graph, "2.19")


def test_kernels_for_a_gpu():
    """Those of nodes that a signature reaches, unless it takes strings."""
    signature = saved_graph.Signature({}, {"y": saved_graph.Tensor("n:0", "float32", ())})
    alone = graph_of(f"name: 'n' op: 'ToBool' {FLOAT}")
    assert refusal(alone, "2.20", signature=signature) == ""
    message = "ToBool has no GPU kernel, at n. Pass gpu=False for a server on CPUs, or keep that out of the model."
    assert message in refusal(alone, "2.20", gpu=True, signature=signature)
    alone.graph_def.node.append(text_format.Parse(RELU, tf.compat.v1.NodeDef()))
    elsewhere = signature._replace(outputs={"y": saved_graph.Tensor("a/r:0", "float32", ())})
    assert refusal(alone, "2.20", gpu=True, signature=elsewhere) == ""
    strings = graph_of(f"name: 'n' op: 'StringToNumber' {attribute('out_type', 'type: DT_STRING')}")
    of_words = signature._replace(inputs={"x": saved_graph.Tensor("n:0", "string", ())})
    assert "GPU" not in refusal(strings, "2.20", gpu=True, signature=of_words)


def changed(monkeypatch, name, **parts):
    """Let 2.18 have another definition of one operation."""
    table = server_tables.table("2.18")
    operation = table.operations[name]
    operations = {**table.operations, name: operation | {"op": operation["op"] | parts}}
    other = dataclasses.replace(table, operations=operations, _parsed={})
    tables = {version: server_tables.table(version) for version in server_tables.versions()} | {"2.18": other}
    monkeypatch.setattr(server_tables, "table", tables.__getitem__)


def test_a_default_that_was_another_one_is_refused_where_it_is_left_out(monkeypatch):
    """A node without the attribute would mean something else there."""
    alpha = {"name": "alpha", "type": "float", "defaultValue": {"f": 0.3}}
    declared = [alpha, {"name": "T", "type": "type", "defaultValue": {"type": "DT_FLOAT"}}]
    changed(monkeypatch, "LeakyRelu", attr=declared)
    node = "name: 'n' op: 'LeakyRelu'"
    message = r"LeakyRelu without alpha has 0\.3\d* there, and 0\.2\d* where it was written, at n"
    assert re.search(message, refusal(graph_of(node), "2.18"))
    assert refusal(graph_of(f"{node} {attribute('alpha', 'f: 0.2')}"), "2.18") == ""


@pytest.mark.parametrize("side", ["inputArg", "outputArg"])
def test_other_inputs_or_outputs_are_refused(monkeypatch, side):
    argument = {"name": "features" if side == "inputArg" else "activations", "typeAttr": "T"}
    changed(monkeypatch, "Relu", **{side: [argument]})
    assert refusal(graph_of(RELU), "2.18") == ""
    changed(monkeypatch, "Relu", **{side: [argument, argument | {"name": "more"}]})
    assert "Relu has other inputs or outputs there, at a/r" in refusal(graph_of(RELU), "2.18")


def test_defaults_are_left_out_of_an_export(rich_export):
    """An attribute that is newer than the server, and has its default, is then no matter."""
    graph = saved_graph.load(rich_export.path)
    functions = graph.graph_def.library.function
    nodes = [*graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    optional = [
        (node.op, one.name, node.attr.get(one.name) == one.default_value)
        for node in nodes
        for one in op_def_registry.get(node.op).attr
        if one.HasField("default_value")
    ]
    assert len({op for op, *_ in optional}) > 5
    assert [(op, name) for op, name, kept in optional if kept] == []
    assert graph.meta_info_def.stripped_default_attrs


def test_the_commands_ask_for_a_server(tmp_path, command, plain_export):
    code, out, err = command("verify", plain_export.path, "--server", "2.18")
    assert (code, err) == (0, "")
    assert "TensorFlow Serving 2.18 can read it" in out
    model, _ = newer("of bytes")
    path = tf_reg.export(model, tmp_path / "m", output_name="y", gpu=False)
    code, out, err = command("verify", path, "--cpu", "--server", "2.19")
    assert (code, out) == (1, "")
    assert "TensorFlow Serving 2.19 can't read the graph: UniformDequantize can't have Tin=quint8 there" in err
    code, out, err = command("verify", path, "--server", "2.20")
    assert (code, out) == (1, "")
    assert "UniformDequantize has no GPU kernel" in err
    assert "Pass --cpu for a server on CPUs, or keep that out of the model." in err
    assert command("verify", path, "--cpu", "--server", "2.20")[0] == 0
    small().save("small.keras")
    code, out, err = command("export", "small.keras", "--server", "2.20")
    assert (code, err) == (0, "")
    assert "TensorFlow Serving 2.20 can read it" in out
    code, out, err = command("export", "small.keras", "--server", "2.17")
    assert (code, out) == (2, "")
    assert all(version in err for version in ("2.17", *server_tables.versions()))
