"""Models in ONNX Runtime, LiteRT and OpenVINO: each loaded and run in a process of its own, without TensorFlow.

Nothing here imports TensorFlow, nor, but in a function, anything of tf_reg: that process imports this file alone.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tf_reg.serving.verify.c_api import Run

Arrays = Mapping[str, np.ndarray]
Loaded = Callable[[Arrays, Sequence[str]], Sequence[np.ndarray]]  # of inputs by name, and of the outputs to return
SIGNATURE = "serving_default"


class Engine(NamedTuple):
    """What runs a model.

    Args:
        title: Its name in a sentence.
        module: The Python module that it is.
        extra: The extra of tf_reg that installs it.
        load: Loads a file or folder, and returns the function that runs it.
    """

    title: str
    module: str
    extra: str
    load: Callable[[str], Loaded]


def _onnx(path: str) -> Loaded:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors alone
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs, outputs: session.run(list(outputs), {name: texts(array) for name, array in inputs.items()})


def texts(array: np.ndarray) -> np.ndarray:
    """An array of strings as texts: of bytes ONNX Runtime looks up how Python writes them."""
    return np.vectorize(bytes.decode, otypes="O")(array) if array.dtype == object else array


def _litert(path: str) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path).get_signature_runner(SIGNATURE)
    shapes = [details["shape_signature"] for details in runner.get_input_details().values()]
    single = any(len(shape) and shape[0] == 1 for shape in shapes)  # -1 is any number of examples

    def call(inputs: Arrays, outputs: Sequence[str]) -> list[np.ndarray]:
        answer = runner(**inputs)
        return [answer[name] for name in outputs]

    def one_by_one(inputs: Arrays, outputs: Sequence[str]) -> list[np.ndarray]:
        size = len(next(iter(inputs.values())))
        answers = [call({key: one[n : n + 1] for key, one in inputs.items()}, outputs) for n in range(size)]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    return one_by_one if single else call


def _openvino(path: str) -> Loaded:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # tells its maker of every import
    import openvino

    core = openvino.Core()
    # Without it OpenVINO takes what is fastest here, which may be half precision.
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(inputs: Arrays, outputs: Sequence[str]) -> list[np.ndarray]:
        answer = compiled(dict(inputs))
        return [np.array(answer[name]) for name in outputs]  # the next call overwrites what OpenVINO returns

    return run


ENGINES = {
    "onnx": Engine("ONNX Runtime", "onnxruntime", "onnx", _onnx),
    "litert": Engine("LiteRT", "ai_edge_litert", "litert", _litert),
    "openvino": Engine("OpenVINO", "openvino", "openvino", _openvino),
}


class EngineError(RuntimeError):
    """An engine can't load or run a model; the message is its own, in one line."""


def is_installed(engine: str) -> bool:
    """Whether an engine is there: `"onnx"`, `"litert"` or `"openvino"`."""
    return importlib.util.find_spec(ENGINES[engine].module) is not None


def run_apart(engine: str, path: str | os.PathLike[str], runs: Sequence[Run]) -> list[list[np.ndarray]]:
    """Load a model in an engine, on the CPU, in a process of its own, and call its `serving_default`.

    Args:
        engine: `"onnx"`, for a `.onnx` file; `"litert"`, for a `.tflite` file; `"openvino"`, for the folder of a
            SavedModel or a `.onnx` file.
        path: The file or folder.
        runs: The calls, in order: arrays by the names of the inputs, and the names of the outputs to return.

    Returns:
        The outputs of each call.

    Raises:
        EngineError: If the engine refuses the model or a call, crashes, or isn't done in time.
    """
    from tf_reg.serving.verify import apart

    plain = [(dict(run.feeds), list(run.fetches)) for run in runs]
    try:
        outputs, message = apart.answered(__file__, (engine, os.fspath(path), plain), ENGINES[engine].title)
    except apart.ProcessError as error:
        raise EngineError(str(error)) from error
    if message is not None:
        raise EngineError(message)
    return outputs


def in_a_line(message: str) -> str:
    """Return what a message of an engine says, without the places in its sources."""
    ops = re.search(r"No conversion rule found for operations: (.*)", message)
    if ops:
        return f"it has no operation {ops[1].strip()}"
    failed = re.findall(r"(\w+) with a message:", message)
    if failed:
        return f"it can't convert {', '.join(dict.fromkeys(failed))}"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = [line for line in lines if not re.match(r"(Exception from|Check .*failed at) ", line)] or lines
    return " ".join(said)[:300] or "it gives no reason"


def answer(job: Sequence[Any]) -> tuple[list[Any], str | None]:
    """Answer a job of `run_apart`: `([outputs of each run], None)`, or `([], message)`."""
    engine, path, runs = job
    try:
        run = ENGINES[engine].load(path)
        return [list(run(inputs, outputs)) for inputs, outputs in runs], None
    except Exception as error:  # each engine has errors of its own
        return [], in_a_line(str(error)) or type(error).__name__
