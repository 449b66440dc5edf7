"""The process in which a converter turns a SavedModel into a file of another format; nothing of tf_reg is imported."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

SIGNATURE = "serving_default"
OPSET = "17"


class ConversionError(Exception):
    """A converter has no equal for some operations, or fails; the message says so in one line."""


def _onnx(saved_model: str, file: str) -> None:
    from tf2onnx import convert

    _add_erfc()
    said = _Errors()
    sys.argv = [
        "tf2onnx", "--saved-model", saved_model, "--tag", "serve", "--signature_def", SIGNATURE, "--opset", OPSET,
        "--output", file,
    ]  # fmt: skip
    try:
        convert.main()
    except Exception as error:
        failed = re.findall(r"Failed to convert node '([^']+)'", "\n".join(said.lines))
        where = f" (at {_plain(failed[0])})" if failed else ""
        raise ConversionError(f"{' '.join(str(error).split())[:300]}{where}") from error
    unsupported = re.findall(r"Tensorflow op \[([^:\]]*): (\w+)\] is not supported", "\n".join(said.lines))
    if unsupported:  # the converter writes these into the file all the same, where no engine knows them
        raise ConversionError(_missing("ONNX", [(op, name) for name, op in unsupported]))


def _add_erfc() -> None:
    """Teach the converter the complement of the error function, which Keras' exact GELU is made of."""
    import numpy as np
    from tf2onnx import utils
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **options: Any) -> None:
            dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
            one = ctx.make_const(utils.make_name("one"), np.array(1, utils.map_onnx_to_numpy_type(dtype)))
            ctx.remove_node(node.name)
            erf = ctx.make_node("Erf", node.input, dtypes=[dtype], shapes=[shape])
            minus = {"name": node.name, "outputs": node.output, "dtypes": [dtype], "shapes": [shape]}
            ctx.make_node("Sub", [one.output[0], erf.output[0]], **minus)


def _litert(saved_model: str, file: str) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[SIGNATURE])
    try:
        made = converter.convert()
    except Exception as error:  # of MLIR, with pages of places
        found = re.findall(r'"([^"@\s]+)@[^"]*".*?\'tf\.(\w+)\' op', str(error))
        missing = [(op, name) for name, op in found] or re.findall(r'fused\["(\w+):", "([^"@]+)@', str(error))[:1]
        raise ConversionError(_missing("LiteRT", missing) or " ".join(str(error).split())[:300]) from error
    Path(file).write_bytes(made)


CONVERTERS = {"onnx": _onnx, "litert": _litert}


class _Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _missing(language: str, operations: list[tuple[str, str]]) -> str:
    """Say which operations a format lacks, each once, and the node of each; empty without one."""
    first = {op: _plain(name) for op, name in reversed(operations)}
    return f"{language} lacks {', '.join(f'{op} (at {name})' for op, name in first.items())}" if first else ""


def _plain(name: str) -> str:
    """The name of a node without the function that it was in."""
    return re.sub(r"^((Stateful)?PartitionedCall/)+", "", name)


def _main() -> None:
    """Do the one job on standard input, and write what is wrong, or null, and whose fault, to its answer file."""
    job = json.loads(sys.stdin.read())
    problem, of_the_system = None, False
    try:
        CONVERTERS[job["format"]](job["saved_model"], job["file"])
    except ConversionError as error:
        problem = str(error)
    except Exception as error:  # the converters raise anything
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        of_the_system = isinstance(error, OSError | MemoryError)
    Path(job["answer"]).write_text(json.dumps({"problem": problem, "of_the_system": of_the_system}))


if __name__ == "__main__":
    _main()
