"""Rules about the library's own code: it unpickles nothing, evaluates no text, and leaves Keras' safe mode on."""

import ast

import pytest

from tests.tools import ROOT

UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EVALUATING = {"eval", "exec", "execfile"}
SWITCHES = {"enable_unsafe_deserialization"}
# Whoever asks by --unsafe-lambda; a model of this process that goes to another one; a layer of this process, once more.
UNSAFE = {"tf_reg/recipes/custom.py", "tf_reg/serving/write/other_backends.py", "tf_reg/_keras.py"}


def called(node):
    """What a call names, `np.load` for instance."""
    return ast.unparse(node.func)


def given(node, name):
    """The text of a keyword argument of a call; None where it has none."""
    return next((ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == name), None)


def unsafe_call(node):
    """What is wrong with a call; None where nothing is."""
    name = called(node)
    last = name.rpartition(".")[2]
    if name in EVALUATING:
        return f"{name} runs text"
    if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
        return f"{name} makes objects: take yaml.safe_load"
    if name == "torch.load" and given(node, "weights_only") != "True":
        return "torch.load unpickles without weights_only=True"
    if last in ("read_pickle", "extractall") or last in SWITCHES:
        return f"{last} is not for files of others"
    if given(node, "shell") == "True" or name in ("os.system", "os.popen"):
        return f"{name} runs a shell"
    if given(node, "safe_mode") not in (None, "True"):
        return "safe_mode may be off"
    reads_numpy = name in ("np.load", "numpy.load") or last == "read_array"
    return "allow_pickle=False is missing" if reads_numpy and given(node, "allow_pickle") != "False" else None


def problems(text):
    """What in a source breaks the rules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{name} unpickles" for name in names if name.partition(".")[0] in UNPICKLING)
        elif isinstance(node, ast.Call) and (problem := unsafe_call(node)) is not None:
            yield problem


SOURCES = sorted(path for folder in ("tf_reg", "scripts") for path in (ROOT / folder).rglob("*.py"))


def test_the_sources_keep_the_rules():
    found = {path.relative_to(ROOT).as_posix(): list(problems(path.read_text())) for path in SOURCES}
    assert len(found) > 300
    assert {name: said for name, said in found.items() if said and name not in UNSAFE} == {}
    assert {tuple(found[name]) for name in UNSAFE} == {("safe_mode may be off",)}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from joblib import load", "import os, dill", "eval(text)", "np.load(path)", "exec('1')",
        "np.load(path, allow_pickle=True)", "np.lib.format.read_array(file)", "torch.load(path)", "yaml.load(text)",
        "torch.load(path, weights_only=False)", "keras.saving.load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()", "load_model(path, safe_mode=not asked)", "archive.extractall()",
        "pandas.read_pickle(path)", "subprocess.run(text, shell=True)", "os.system(text)",
    ],
)  # fmt: skip
def test_the_rules_see_what_breaks_them(text):
    assert len(list(problems(text))) == 1


def test_the_rules_let_pass_what_is_safe():
    safe = (
        "ast.literal_eval(a); np.load(a, allow_pickle=False); keras.saving.load_model(a); re.compile(a); json.loads(a)"
    )
    assert list(problems(safe)) == []
