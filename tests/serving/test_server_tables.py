"""The tables of what each TensorFlow Serving reads: compact, whole, the command's choices, and made by the script."""

import importlib.util
import typing
from pathlib import Path

import pytest

from tests.tools import missing
from tf_reg.serving.verify import server_tables
from tf_reg_cli.commands import export, verify


def test_the_tables_are_small_and_whole():
    assert server_tables.FILE.stat().st_size < 80_000
    for version in server_tables.versions():
        table = server_tables.table(version)
        assert 1600 < len(table.operations) < 2000
        assert table.definition("MatMul").name == "MatMul"
        assert {"T": [1]} in table.kernels("MatMul", "CPU")
        assert {"T": [1]} in table.kernels("MatMul", "GPU")
        assert table.definition("NoSuchOperation") is None


def test_versions_are_told_apart():
    """By what changed between two: an operation, an attribute, a value, a type, a kernel."""
    tables = {version: server_tables.table(version) for version in server_tables.versions()}
    producers = [table.producer for table in tables.values()]
    assert producers == sorted(set(producers))
    has = {version: {"DecodeWebP", "DecodeJxl"} & table.operations.keys() for version, table in tables.items()}
    assert has == {"2.18": set(), "2.19": set(), "2.20": {"DecodeWebP"}, "2.21": {"DecodeWebP", "DecodeJxl"}}
    assert "TfLiteSubgraphExecute" in tables["2.19"].operations
    assert "TfLiteSubgraphExecute" not in tables["2.20"].operations
    shapes = {v: [a.name for a in table.definition("TensorListGetItem").attr] for v, table in tables.items()}
    assert [version for version, names in shapes.items() if "Tshape" in names] == ["2.21"]
    assert [version for version, table in tables.items() if 33 in table.types] == ["2.21"]  # float4
    kernels = {v: table.kernels("AssignVariableOp", "CPU") for v, table in tables.items()}
    assert [version for version, some in kernels.items() if {"dtype": [33]} in some] == ["2.21"]


@pytest.mark.parametrize("command", [export.Options, verify.command])
def test_the_commands_have_the_same_versions(command):
    choices = typing.get_args(typing.get_type_hints(command)["server"])[0]
    assert typing.get_args(choices) == server_tables.versions()


@pytest.mark.slow
def test_made_again_from_the_installed_tensorflow_a_table_is_the_same(script):
    folder = Path(importlib.util.find_spec("tensorflow").origin).parent
    made = script("server_tables").written_down(folder)
    version = ".".join(made["tensorflow"].split(".")[:2])
    if version not in server_tables.versions():
        missing("server-tables", f"there is no table for TensorFlow {version} yet: python scripts/server_tables.py")
    if not any("GPU" in operation["kernels"] for operation in made["ops"].values()):
        missing("cuda-build", "the installed TensorFlow is not built for CUDA, the tables are")
    table = server_tables.table(version)
    assert made["ops"] == table.operations
    assert (made["producer"], made["min_producer"]) == (table.producer, table.min_producer)
    assert set(made["types"]) == table.types
