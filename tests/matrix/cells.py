"""One row of the matrix: a model, exported and asked in each engine, beside what Keras says."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tf_reg
from tests.matrix.cases import Arrays, Case
from tf_reg._walk import layer_paths
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api, engine_checks, engines, replay
from tf_reg.serving.verify.c_api import Run
from tf_reg.serving.verify.verification import VerificationError
from tf_reg.serving.write.formats import FORMATS

ENGINES = {"C API": "c_api", "OpenVINO": "openvino", "ONNX Runtime": "onnx", "LiteRT": "litert"}


class Cell(NamedTuple):
    """What an engine makes of a model.

    Args:
        verdict: `"agrees"`, `"refused"`, or `"wrong"`, which no cell may be.
        said: The difference, or the sentence.
    """

    verdict: str
    said: str


def row(case: Case, engines_: Sequence[str] = tuple(ENGINES)) -> dict[str, Cell]:
    """Return the cells of a model, by the engines' titles."""
    model = case.model()
    requests = case.requests()
    expected = [answers(model, request) for request in requests] if _runs_alone(model) else []
    with tempfile.TemporaryDirectory() as folder:
        made = _versions(model, case, Path(folder) / "m", engines_)
        return {title: _cell(title, made[title], model, case, requests, expected) for title in engines_}


def _versions(model: keras.Model, case: Case, base: Path, titles: Sequence[str]) -> dict[str, Path | str]:
    """Export a model once for all engines; once for each format where one of them refuses."""
    formats = [ENGINES[title] for title in titles if ENGINES[title] in FORMATS]
    whole = _exported(model, case, base, formats)
    if not isinstance(whole, str) or not formats:
        return dict.fromkeys(titles, whole)
    plain = _exported(model, case, base, ())
    made = dict.fromkeys(titles, plain)
    if not isinstance(plain, str):
        for title in titles:
            if ENGINES[title] in formats:
                made[title] = _exported(model, case, base, [ENGINES[title]]) if len(formats) > 1 else whole
    return made


def answers(model: keras.Model, request: Arrays) -> list[np.ndarray]:
    """Return what a model makes of a request, its outputs in the order of their names."""
    given: Any = {name: tf.constant(array) for name, array in request.items()}
    if len(request) == 1:
        [given] = given.values()
    elif getattr(model, "inputs", None):
        declared = copy.copy(model.input)  # of its kind: Keras warns of a plain dictionary for a `FeatureSpace`
        if isinstance(declared, dict):
            declared.update(given)
        given = declared if isinstance(declared, dict) else [given[tensor.name] for tensor in declared]
    outputs = model(given, training=False)
    if isinstance(outputs, list | tuple):
        outputs = dict(zip(model.output_names, outputs, strict=True))
    values = [outputs[name] for name in sorted(outputs)] if isinstance(outputs, dict) else [outputs]
    return [
        np.asarray(keras.ops.convert_to_numpy(value), "float32" if value.dtype != "int32" else None) for value in values
    ]


def tells_apart(model: keras.Model, request: Arrays) -> list[str]:
    """Return the inputs that make no difference to a model's outputs, if they go to other examples."""
    before = answers(model, request)
    silent = []
    for name in request:
        after = answers(model, {**request, name: request[name][::-1]})
        if all(np.allclose(one, other, atol=1e-4) for one, other in zip(before, after, strict=True)):
            silent.append(name)
    return silent


def names_a_layer(model: keras.Model, sentence: str) -> bool:
    """Whether a refusal is in one line and names a layer of the model; the model itself where it has none to name."""
    names = {layer.name for _, layer in layer_paths(model) if not isinstance(layer, keras.layers.InputLayer)}
    return "\n" not in sentence and any(name in sentence for name in names or {model.name})


def _runs_alone(model: keras.Model) -> bool:
    return not any(isinstance(layer, keras.layers.RNN) and layer.stateful for _, layer in layer_paths(model))


def _exported(model: keras.Model, case: Case, base: Path, formats: Sequence[str]) -> Path | str:
    """Export a model as a user does: with the first request as examples."""
    first = case.requests()[0]
    options = {"input_signature": _signature(case)} if not getattr(model, "inputs", None) else {}
    if formats:
        options["formats"] = formats
    examples = first if len(first) > 1 else first["inputs"]
    try:
        return tf_reg.export(model, base, examples=examples, **options, **case.options)
    except (ValueError, VerificationError) as error:
        return str(error)


def _signature(case: Case) -> Any:
    specs = {
        name: keras.InputSpec(shape=(None, *takes.shape), dtype=takes.dtype) for name, takes in case.inputs.items()
    }
    return specs if len(specs) > 1 else next(iter(specs.values()))


def _cell(
    title: str, made: Path | str, model: keras.Model, case: Case, requests: Sequence[Arrays], expected: Sequence[Any]
) -> Cell:
    if isinstance(made, str):
        return Cell("refused", made)
    signature = saved_graph.signatures(saved_graph.load(made))["serving_default"]
    runs = [Run(request, sorted(signature.outputs)) for request in requests]
    try:
        found = _ASK[ENGINES[title]](made, signature, runs)
    except (engines.EngineError, c_api.LoaderError) as error:
        said = engine_checks.placed(str(error), made) if title == "OpenVINO" else str(error)
        return Cell("refused", said)
    pairs = [
        (one, other)
        for some, others in zip(found, expected, strict=True)
        for one, other in zip(some, others, strict=True)
    ]
    off = max(replay.distance(one, other) for one, other in pairs)
    right = all(replay.close(one, other, case.tolerance) for one, other in pairs)
    return Cell("agrees" if right else "wrong", f"{off:.1g}")


def _by_c_api(path: Path, signature: saved_graph.Signature, runs: Sequence[Run]) -> list[list[np.ndarray]]:
    in_graph = [
        Run(
            {signature.inputs[name].name: array for name, array in run.feeds.items()},
            [signature.outputs[name].name for name in run.fetches],
        )
        for run in runs
    ]
    return c_api.run_apart(path, in_graph)


def _by_openvino(path: Path, runs: Sequence[Run]) -> list[list[np.ndarray]]:
    engine_checks.check_second(path)
    return engines.run_apart("openvino", path, runs)


_ASK: Mapping[str, Callable[[Path, Any, Sequence[Run]], list[list[np.ndarray]]]] = {
    "c_api": _by_c_api,
    "openvino": lambda path, _, runs: _by_openvino(path, runs),
    "onnx": lambda path, _, runs: engines.run_apart("onnx", path / FORMATS["onnx"].file, runs),
    "litert": lambda path, _, runs: engines.run_apart("litert", path / FORMATS["litert"].file, runs),
}
