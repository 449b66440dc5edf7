"""Write a Keras model as a SavedModel version that TensorFlow Serving loads, verified before it is published."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg.measure.zeros import sparsity
from tf_reg.serving import saved_graph, server_config
from tf_reg.serving.saved_graph import Tensor
from tf_reg.serving.verify import replay, verification
from tf_reg.serving.verify.verification import Reference, Verification
from tf_reg.serving.write import manifest, other_backends, versions, warmup
from tf_reg.serving.write.options import Options, check_model, check_names, own_output
from tf_reg.serving.write.signatures import Interface

WARMUP_EXAMPLES = 8  # at most, in the bigger of the two requests of a signature
_COLOURS = re.compile(r"\x1b\[[\d;]*m")  # a terminal's, in Keras' messages


def export(
    model: keras.Model,
    folder: str | os.PathLike[str],
    version: int | None = None,
    *,
    input_name: str = "inputs",
    output_name: str = "probabilities",
    signatures: Sequence[str] = (),
    class_id: bool = False,
    top_k: int | None = None,
    logits: bool = False,
    examples: Any = None,
    details: Mapping[str, Any] | None = None,
    gpu: bool = True,
) -> Path:
    """Export a model as `<folder>/<version>/`, TensorFlow Serving's layout, verified before it appears there.

    The signature `serving_default` runs the model in inference mode, random augmentation and dropout off, for any
    batch size, and returns float32. Weights are stored once. Beside the model lie warm-up requests, made of the
    examples, and a manifest with the checksums of all files; beside the versions, the server's configuration files
    (those that exist stay as they are). The version is written under another name, goes through
    `tf_reg.verify_saved_model`, and only then is renamed: the folder never shows a version that is half written, and
    existing versions are never touched. A model on JAX or torch is written by a process that runs TensorFlow.

    Args:
        model: A built functional or sequential model, input shapes `(batch, ...)`. Several inputs or outputs keep
            their names.
        folder: The model's base folder, such as `"saved_models/m"`, on this machine; made where it is missing.
        version: A positive integer that is still free; by default one more than the highest that there is, or was: a
            version that was renamed to `.withdrawn-<version>` counts.
        input_name: The name of a single input in the signature.
        output_name: The name of a single output in the signature. A model that doesn't end in probabilities (a
            regression, bare logits) needs another name than the default one.
        signatures: Further signatures, for a model with one input: `"serving_uint8"` takes bytes of pixels instead of
            floats, `"serving_bytes"` whole PNG or JPEG files, `(batch,)`, which the server's CPU decodes and resizes.
        class_id: Add the output `class_id`, `(batch,)`: the most probable class.
        top_k: Add the outputs `top_k_ids` and `top_k_<output_name>`, `(batch, top_k)`, the most probable class first.
        logits: Add the output `logits`, what the softmax or sigmoid at the model's end is applied to.
        examples: Inputs to verify with and to warm the server up with, `(batch, ...)`, at least 1; for several inputs a
            list or a dictionary of these. By default random numbers from 0 to 255, as pixels are. A model that takes
            no such numbers (the rows of an Embedding, say) needs examples of its own.
        details: What the manifest shall say besides, as JSON has it, such as `classes`, `config` and `metrics`.
        gpu: Whether every operation must have a GPU kernel.

    Returns:
        The path of the new version.

    Raises:
        ValueError: If the model isn't functional, takes strings, or has text or lookup layers; if the version is taken
            or no positive integer, a name is no identifier or that of another output, an option, the examples or the
            details don't fit, the folder is the address of a bucket, or `output_name` is `"probabilities"` and the
            outputs aren't.
        VerificationError: A `RuntimeError`, if the written version isn't what it should be; nothing is published.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> tf_reg.export(model, "saved_models/m", class_id=True).name
        '1'
    """
    options = Options(input_name, output_name, signatures, class_id, top_k, logits)
    return exported(model, folder, version, options, examples, details, gpu=gpu).path


def exported(
    model: keras.Model,
    folder: str | os.PathLike[str],
    version: int | None,
    options: Options,
    examples: Any = None,
    details: Mapping[str, Any] | None = None,
    *,
    gpu: bool = True,
) -> Verification:
    """Export a model as `export` does, and return what the verification has found, with the path of the new version."""
    base = versions.local(folder)
    if version is not None:
        versions.check_version(version)
    check_names(options)
    interface = Interface(model, options)
    inputs = _random_examples(interface) if examples is None else _named_examples(interface, examples)
    reference = Reference(inputs, _expected(interface, inputs), interface.tolerance, interface.weight_bytes)
    versions.make_base(base)
    if version is not None and (base / str(version)).exists():
        raise versions.taken(base, version)
    name = Path(os.path.abspath(base)).name  # of a link, not of what it leads to
    with versions.staging(base) as staged:
        _write(interface, staged)
        warmup.write(staged / warmup.FILE, name, _warmup_records(interface, inputs))
        manifest.write(staged, _manifest(interface, name, staged, {} if details is None else details))
        found = _verify(staged, reference, gpu)
        server_config.write(base)
        return dataclasses.replace(found, path=versions.publish(staged, base, version))


def verify_saved_model(
    path: str | os.PathLike[str], model: keras.Model | None = None, examples: Any = None, *, gpu: bool = True
) -> Verification:
    """Check that a SavedModel can be served and computes what it should.

    - Files: each is there and has the checksum that the manifest of `tf_reg.export` says.
    - Run: TensorFlow's C++ loader, in a process without Python's TensorFlow, loads it and answers requests. Finite
      inputs give finite outputs. The same request twice gives the same bits, an example gives the same whatever else is
      in its batch, and the outputs are those of the model within 1e-5 (bfloat16 1e-2, float16 2e-3), and those stored
      with the warm-up requests.
    - Graph: no random operation, no write to a variable, nothing that needs XLA; batch sizes are free; every operation
      that `serving_default` reaches has a GPU kernel, where the installed TensorFlow is built for CUDA.
    - Size: the variables take at most 1.05 times the weights' bytes, and 16 KiB.

    Use it on versions that were copied or restored; `tf_reg.export` has used it on each that it published. The same is
    a command: `python -m tf_reg.serving.verify.verification saved_models/m/1`.

    Args:
        path: The version's folder, such as `"saved_models/m/1"`; not only one of `tf_reg.export`.
        model: The model to compare with, on any backend.
        examples: Inputs to compare on, as for `tf_reg.export`.
        gpu: Whether an operation without a GPU kernel is an error.

    Returns:
        A `Verification` with what was found; print it for a table.

    Raises:
        VerificationError: A `RuntimeError` that says what is wrong.
        ValueError: If the model's names differ from the signature's, or the examples don't fit the model.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> path = tf_reg.export(model, "saved_models/m")
        >>> tf_reg.verify_saved_model(path, model).requests
        2
    """
    if model is None:
        if examples is not None:
            raise ValueError("`examples` are compared with a model's outputs. Received no `model`.")
        return verification.verify(Path(path), gpu=gpu)
    interface = _interface_of(Path(path), model)
    inputs = _random_examples(interface) if examples is None else _named_examples(interface, examples)
    reference = Reference(inputs, _expected(interface, inputs), interface.tolerance, interface.weight_bytes)
    return verification.verify(Path(path), reference, gpu=gpu)


def reason(error: Exception) -> str:
    """Return the first line of an error that says something, without Keras' frame around it, or else its type."""
    text = _COLOURS.sub("", str(error)).partition("Arguments received by ")[0]
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling ")]
    return said[0] if said else type(error).__name__


def _write(interface: Interface, path: Path) -> None:
    if keras.backend.backend() != "tensorflow":
        other_backends.write(interface.model, interface.options, path)
        return
    import tensorflow as tf

    try:
        interface.write(path)
    except tf.errors.OpError as error:  # what a disk says, in TensorFlow's words
        raise OSError(f"TensorFlow can't write the model: {error.message}") from error


def _verify(staged: Path, reference: Reference, gpu: bool) -> Verification:
    try:
        return verification.verify(staged, reference, gpu=gpu)
    except verification.VerificationError as error:
        raise verification.VerificationError(f"Nothing was published: {error}") from error


def _random_examples(interface: Interface) -> dict[str, np.ndarray]:
    return replay.random_inputs(saved_graph.Signature(interface.tensors, {}))


def _named_examples(interface: Interface, examples: Any) -> dict[str, np.ndarray]:
    """Return examples as arrays by input name, in the dtypes of the signature."""
    names = list(interface.tensors)
    if not isinstance(examples, Mapping):
        arrays = [examples] if len(names) == 1 else examples
        if not isinstance(arrays, list | tuple):
            raise ValueError(
                f"`examples` must be a list or a dictionary of arrays for the inputs {', '.join(names)}. Received: "
                f"{type(examples).__name__}."
            )
        if len(arrays) != len(names):
            raise ValueError(f"`examples` must be for the inputs {', '.join(names)}. Received {len(arrays)} of them.")
        examples = dict(zip(names, arrays, strict=True))
    if set(examples) != set(names):
        received = ", ".join(map(str, examples))
        raise ValueError(f"`examples` must be for the inputs {', '.join(names)}. Received: {received}.")
    named = {name: _array(name, tensor, examples[name]) for name, tensor in interface.tensors.items()}
    sizes = {array.shape[:1] for array in named.values()}
    if len(sizes) != 1 or min(sizes) < (1,):
        raise ValueError(f"`examples` must be as many for each input, at least 1. Received: {sorted(sizes)}.")
    return named


def _array(name: str, tensor: Tensor, value: Any) -> np.ndarray:
    """Return the examples for one input in the dtype of the signature."""
    try:
        array = keras.ops.convert_to_numpy(value)
    except (TypeError, ValueError):  # a list of lists of several lengths
        array = np.asarray(None)
    numbers = array.dtype.kind not in "OSU"
    fits = len(array.shape) == len(tensor.shape) and all(
        want in (None, have) for want, have in zip(tensor.shape, array.shape, strict=True)
    )
    if not numbers or not fits:
        received = f"the shape {array.shape}" if numbers else f"{type(value).__name__}, which is no array of numbers"
        raise ValueError(
            f"`examples` for the input {name} must be an array of the shape {tensor.shape}, None for their number. "
            f"Received: {received}."
        )
    return array.astype(tensor.dtype)


def _expected(interface: Interface, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the model's outputs for the examples, which it has to be able to take."""
    try:
        expected = interface.expected(inputs)
    except Exception as error:  # each backend has its own
        raise ValueError(
            f"The model can't take the examples, so pass `examples` that it can: {reason(error)}"
        ) from error
    values = expected.get("probabilities")
    if values is not None and not (values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise ValueError(
            f"The model's outputs aren't probabilities: they reach from {values.min():.3g} to {values.max():.3g}. "
            "End the model in softmax or sigmoid, or name them with `output_name`."
        )
    return expected


def _warmup_records(interface: Interface, inputs: dict[str, np.ndarray]) -> list[warmup.Record]:
    """Two requests for each signature: one example, and several."""
    records = []
    for name in interface.options.names:
        for size in (1, min(WARMUP_EXAMPLES, len(next(iter(inputs.values()))))):
            request = interface.request(name, {key: array[:size] for key, array in inputs.items()})
            records.append(warmup.Record(name, request, interface.answer(name, request)))
    return records


def _manifest(interface: Interface, name: str, staged: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    signatures = saved_graph.signatures(saved_graph.load(staged))
    return manifest.describe(name, signatures, sparsity(interface.model), interface.tolerance, details)


def _interface_of(path: Path, model: keras.Model) -> Interface:
    """Return the interface of a model under the names that a SavedModel has for its inputs and outputs."""
    try:
        signature = saved_graph.signatures(saved_graph.load(path))[verification.DEFAULT]
    except (ValueError, KeyError) as error:
        raise verification.VerificationError(f"{path} can't be served: {error}") from error
    check_model(model)
    own = own_output(signature.outputs) if len(model.outputs) == 1 else None
    interface = Interface(model, Options(next(iter(signature.inputs), "inputs"), own or "probabilities"))
    inputs, outputs = set(interface.tensors), set(interface.outputs)
    extras = [name for name in signature.outputs if name in ("class_id", "logits") or name.startswith("top_k_")]
    if inputs != set(signature.inputs) or not outputs <= set(signature.outputs) <= outputs | set(extras):
        raise ValueError(
            f"The model has the inputs {', '.join(interface.tensors)} and outputs {', '.join(interface.outputs)}, the "
            f"SavedModel {', '.join(signature.inputs)} and {', '.join(signature.outputs)}."
        )
    return interface
