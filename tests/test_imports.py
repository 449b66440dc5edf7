"""What imports what: `import tf_reg` stays light. (The order of the folders is checked by import-linter.)"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf_reg

PACKAGE = Path(tf_reg.__file__).parent
TENSORFLOW = {"_backend", "_xla", "serving", "recipes"}


def imports(path):
    """The modules that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def module(path):
    return "tf_reg." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_tensorflow_is_imported_where_it_must_be_alone(path):
    if module(path).split(".")[1] not in TENSORFLOW:
        assert [name for name in imports(path) if re.match(r"(tensorflow|tf)\b", name)] == []


HEAVY = {"tensorflow_datasets", "matplotlib", "sklearn"}


@pytest.mark.slow
def test_import_is_light():
    """Keras itself imports scikit-learn and, for pictures, matplotlib where they are installed: not counted here."""
    code = """
import os, sys, keras
keras_alone, environment, standard_error = set(sys.modules), dict(os.environ), os.fstat(2)
import tf_reg
print(*set(sys.modules) - keras_alone)
print(dict(os.environ) == environment and os.fstat(2) == standard_error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, untouched = done.stdout.splitlines()
    assert "tf_reg.callbacks" in loaded.split()
    assert not HEAVY & {name.partition(".")[0] for name in loaded.split()}
    assert untouched == "True"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_heavy_libraries_are_imported_lazily(path):
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            names = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else statement.names
            assert not HEAVY & {getattr(name, "name", name).partition(".")[0] for name in names}
