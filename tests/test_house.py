"""Rules about this repository's own code: short files, short functions, private names of Keras in one file."""

import ast
import functools
import shutil
import subprocess

import pytest

from tests import conftest
from tests.tools import ROOT, missing

LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 300, 40
PRIVATE = ["keras", "src"]


@pytest.fixture(scope="module")
def sources():
    """The text of every Python file that git knows, by its path from the root."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        missing("git", "git lists the files that these rules are about; it is missing, or this is no checkout")
    command = ["git", "ls-files", "*.py"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: (ROOT / name).read_text() for name in names if (ROOT / name).is_file()}


@functools.cache
def parsed(text):
    return ast.parse(text)


def functions(text):
    """The functions and methods in a text, nested ones too."""
    return [node for node in ast.walk(parsed(text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(function):
    """The lines of a function from `def` to its end, without its docstring."""
    inside = 0
    if ast.get_docstring(function) is not None:
        inside = function.body[0].end_lineno - function.body[0].lineno + 1
    return function.end_lineno - function.lineno + 1 - inside


def dotted_names(text):
    """What a text imports, reads as an attribute (`keras.ops.sum`) or names in a string without spaces."""
    for node in ast.walk(parsed(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def uses_private_keras(text):
    return any(name.split(".")[:2] == PRIVATE for name in dotted_names(text))


def reads_the_stack(tree):
    return any(isinstance(node, ast.Attribute) and node.attr == "_getframe" for node in ast.walk(tree))


def test_files_are_short(sources):
    lines = {name: len(text.splitlines()) for name, text in sources.items()}
    assert {name: count for name, count in lines.items() if count > LINES_OF_A_FILE} == {}


def test_functions_are_short(sources):
    lengths = [(name, f.name, length(f)) for name, text in sources.items() for f in functions(text)]
    assert [(name, function, count) for name, function, count in lengths if count > LINES_OF_A_FUNCTION] == []


def test_one_file_uses_private_keras(sources):
    assert {name for name, text in sources.items() if uses_private_keras(text)} <= {"tf_reg/_keras.py"}


def test_one_function_reads_the_stack(sources):
    suspects = {name: text for name, text in sources.items() if "_getframe" in text}
    assert {name for name, text in suspects.items() if reads_the_stack(parsed(text))} <= {"tf_reg/_callers.py"}
    assert len([f.name for text in suspects.values() for f in functions(text) if reads_the_stack(f)]) <= 1


def test_the_rules_see_what_breaks_them():
    [function] = functions('def f(x):\n    """One.\n\n    Two.\n    """\n' + "    x += 1\n" * 5)
    assert length(function) == 6
    for text in (
        "import keras.src",
        "from keras.src.utils import io_utils",
        "import keras\nkeras.src.ops",
        "['keras.src']",
    ):
        assert uses_private_keras(text), text
    assert not uses_private_keras('import keras\nkeras.srcs\n"from keras.src, in a sentence"')
    assert reads_the_stack(ast.parse("import sys\nsys._getframe(1)"))


class SlowAndLong:
    """A test that has both marks."""

    nodeid = "tests/test_x.py::test_y"

    def get_closest_marker(self, name):
        return name


def test_no_test_is_both_slow_and_long():
    with pytest.raises(pytest.UsageError, match=r"slow or long, not both: .* from tests/test_x.py::test_y"):
        conftest.pytest_collection_modifyitems([SlowAndLong()])
