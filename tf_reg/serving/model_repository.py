"""The layout in which Triton, and KServe with it, finds a model in ONNX: `<repository>/<name>/<version>/model.onnx`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tf_reg.serving import saved_graph
from tf_reg.serving.saved_graph import Tensor
from tf_reg.serving.write import versions
from tf_reg.serving.write.formats import FORMATS
from tf_reg.serving.write.options import DEFAULT

CONFIG = "config.pbtxt"
LARGEST_BATCH = 64  # as in the batching of TensorFlow Serving's configuration
_TYPES = {"float16": "FP16", "float32": "FP32", "float64": "FP64"}  # the others have NumPy's names, in capitals


def add(saved_model: Path, repository: Path) -> Path:
    """Copy the ONNX file of a version into a model repository, whole or not at all, and describe the model there.

    A `config.pbtxt` that is there stays as it is.

    Args:
        saved_model: The version's folder, such as `saved_models/m/1`, with a `model.onnx`.
        repository: The folder that the server is given; made where it is missing.

    Returns:
        The version's folder there.

    Raises:
        ValueError: If the repository has that version.
    """
    whole = Path(os.path.abspath(saved_model))
    name, version = whole.parent.name, int(whole.name)
    base = versions.local(repository) / name
    versions.make_base(base)
    if not (base / CONFIG).exists():
        versions.write_new(base / CONFIG, config(saved_model, name))
    with versions.staging(base) as staged:
        shutil.copyfile(saved_model / FORMATS["onnx"].file, staged / "model.onnx")
        return versions.publish(staged, base, version)


def config(saved_model: Path, name: str) -> str:
    """Return the text of `config.pbtxt`: what the model takes and returns, and that the server makes batches.

    Args:
        saved_model: A version's folder.
        name: The model's name on the server.
    """
    signature = saved_graph.signatures(saved_graph.load(saved_model))[DEFAULT]
    return "\n".join(
        [
            f"name: {json.dumps(name, ensure_ascii=False)}",
            'backend: "onnxruntime"',
            f"max_batch_size: {LARGEST_BATCH}",
            *_described("input", signature.inputs),
            *_described("output", signature.outputs),
            "dynamic_batching { max_queue_delay_microseconds: 1000 }",
            "",
        ]
    )


def _described(side: str, tensors: dict[str, Tensor]) -> list[str]:
    return [
        f'{side} {{ name: "{name}" data_type: TYPE_{_TYPES.get(one.dtype, one.dtype.upper())} {_dims(one)} }}'
        for name, one in tensors.items()
    ]


def _dims(tensor: Tensor) -> str:
    """The shape of an example; one number has no axis, which the server must be told apart."""
    sizes = ", ".join(str(-1 if size is None else size) for size in tensor.shape[1:])
    return f"dims: [ {sizes} ]" if sizes else "dims: [ 1 ] reshape { shape: [ ] }"
