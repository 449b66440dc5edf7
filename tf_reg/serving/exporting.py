"""Write a Keras model as a SavedModel version that TensorFlow Serving loads, verified before it is published."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg._checks import checked_path, flag
from tf_reg.measure.zeros import sparsity
from tf_reg.serving import example_inputs, interfaces, other_formats, refusals, saved_graph, server_config
from tf_reg.serving.verify import server_tables, verification
from tf_reg.serving.verify.verification import Reference, Verification
from tf_reg.serving.write import manifest, other_backends, subclassed, versions, warmup
from tf_reg.serving.write.options import Options, check_names
from tf_reg.serving.write.signatures import Interface
from tf_reg.serving.write.unchanged import unchanged

WARMUP_EXAMPLES = 8  # at most, in the bigger of the two requests of a signature


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
    server: str | None = None,
    input_signature: Any = None,
    formats: Sequence[str] = (),
) -> Path:
    """Export a model as `<folder>/<version>/`, TensorFlow Serving's layout, verified before it appears there.

    The signature `serving_default` runs the model in inference mode, random augmentation and dropout off, for any
    batch size, and returns float32. Weights are stored once. Beside the model lie warm-up requests, made of the
    examples, and a manifest with the checksums of all files; beside the versions, the server's configuration files
    (those that exist stay as they are). The version is written under another name, goes through
    `tf_reg.verify_saved_model`, and only then is renamed: the folder never shows a version that is half written, and
    existing versions are never touched. A model on JAX or torch is written by a process that runs TensorFlow. The model
    stays as it was, whatever comes of it: weights, states, counters, metrics, seeds, and the attributes of its layers.

    A model may take strings: a request has them in UTF-8, and Keras' layers for texts and look-ups run on the server's
    CPU. A free axis is verified at two lengths; `TimeDistributed` takes sequences of any. A layer of your own may hold
    a `tf.lookup.StaticHashTable`, as an attribute. What can't be served is refused in a sentence that names the layer
    and a way out.

    Args:
        model: A built model, input shapes `(batch, ...)`. Several inputs or outputs keep their names. A subclassed one
            needs examples or an `input_signature`.
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
            no such numbers (the rows of an Embedding, say) needs examples of its own. Strings are str or bytes.
        details: What the manifest shall say besides, as JSON has it, such as `classes`, `config` and `metrics`.
        gpu: Whether every operation must have a GPU kernel. Of a model that takes strings, none must: what TensorFlow
            computes on the CPU alone is named in what `tf_reg.verify_saved_model` returns.
        server: The version of TensorFlow Serving that will read it, such as `"2.20"`, from 2.18 on. Every operation,
            attribute and version in the graph is then compared with what that one has. By default only the installed
            TensorFlow is asked.
        input_signature: What a subclassed model takes, as `keras.InputSpec(shape=(None, ...), dtype=...)`, None for
            free axes, or a list or dictionary of these; by default what the examples show.
        formats: Files to make of the SavedModel's `serving_default` too, in the version's folder: `"onnx"` for
            `model.onnx`, `"litert"` for `model.tflite`. Each has to answer as the model does, in ONNX Runtime or
            LiteRT. Needs `pip install -e ".[onnx]"` or `".[litert]"`.

    Returns:
        The path of the new version.

    Raises:
        ValueError: If the model isn't built, what it takes isn't known, or it has layers with `stateful=True`; if a
            layer raises an error or can't be written as a graph; if the version is taken or no positive integer, a name
            is no identifier or that of another output, an option, the examples or the details don't fit, the folder is
            the address of a bucket, or `output_name` is `"probabilities"` and the outputs aren't; if the model has no
            equal in one of the formats.
        ImportError: If what a format needs isn't installed.
        VerificationError: A `RuntimeError`, if the written version isn't what it should be; nothing is published.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> tf_reg.export(model, "saved_models/m", class_id=True).name
        '1'
    """
    options = Options(input_name, output_name, signatures, class_id, top_k, logits, formats)
    more = {"gpu": gpu, "server": server, "input_signature": input_signature}
    return exported(model, folder, version, options, examples, details, **more).path


def exported(
    model: keras.Model,
    folder: str | os.PathLike[str],
    version: int | None,
    options: Options,
    examples: Any = None,
    details: Mapping[str, Any] | None = None,
    *,
    gpu: bool = True,
    server: str | None = None,
    input_signature: Any = None,
    look: Callable[[Path], object] = lambda staged: None,
) -> Verification:
    """Export a model as `export` does, and return what the verification has found, with the path of the new version.

    `look` is called with the folder of the version when it is written and verified. An exception that it raises is the
    last one that keeps the version from being published.
    """
    base = versions.local(folder)
    if version is not None:
        versions.check_version(version)
    check_names(options)
    subclassed.check(model, input_signature)
    flag(gpu, "gpu")
    if server is not None:
        server_tables.check_version(server)
    with unchanged(model):
        interface = interfaces.of(model, options, input_signature, examples)
        return _exported(interface, base, version, examples, details, gpu, server, look)


def _exported(
    interface: Interface,
    base: Path,
    version: int | None,
    examples: Any,
    details: Mapping[str, Any] | None,
    gpu: bool,
    server: str | None,
    look: Callable[[Path], object],
) -> Verification:
    reference = _reference(interface, examples)
    inputs = dict(reference.inputs)
    versions.make_base(base)
    if version is not None and os.path.lexists(base / str(version)):
        raise versions.taken(base, version)
    name = Path(os.path.abspath(base)).name  # of a link, not of what it leads to
    with versions.staging(base) as staged:
        _write(interface, staged)
        warmup.write(staged / warmup.FILE, name, _warmup_records(interface, inputs))
        contents = _manifest(interface, name, staged, {} if details is None else details)
        manifest.write(staged, contents)
        found = _verify(interface, staged, reference, gpu, server)
        found = other_formats.add(found, contents, interface, reference, _write)
        look(staged)
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
    - Other engines: OpenVINO, where it is installed, reads the SavedModel and answers the same, in float32. The files
      of other formats in the folder answer the same in their engines, where these are installed.
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
    saved, gpu = checked_path(path, "path"), flag(gpu, "gpu")
    if model is None:
        if examples is not None:
            raise ValueError("`examples` are compared with a model's outputs. Received no `model`.")
        return verification.verify(saved, gpu=gpu)
    subclassed.check(model)
    with unchanged(model):
        interface = interfaces.of_saved(saved, model, examples)
        reference = _reference(interface, examples)
    return verification.verify(saved, reference, gpu=gpu)


def _write(interface: Interface, path: Path) -> None:
    with refusals.named(
        interface,
        f"The model {interface.model.name!r} can't be written as a graph of TensorFlow",
        "In a graph tensors have no values yet and the batch has no size, so let every `call` use keras.ops alone, or "
        "export a model without that layer.",
    ):
        if keras.backend.backend() != "tensorflow":
            other_backends.write(interface, path)
            return
        import tensorflow as tf

        try:
            interface.write(path)
        except tf.errors.OpError as error:  # what a disk says, in TensorFlow's words
            if interface.watch.failed:
                raise
            raise OSError(f"TensorFlow can't write the model: {error.message}") from error


def _verify(interface: Interface, staged: Path, reference: Reference, gpu: bool, server: str | None) -> Verification:
    try:
        return verification.verify(staged, reference, gpu=gpu, server=server)
    except verification.VerificationError as error:
        text = str(error).replace(str(staged), f"The model {interface.model.name!r}")
        text = refusals.explained(interface, dict(reference.inputs_of(text)), text)
        raise verification.VerificationError(f"Nothing was published: {text}") from error


def _reference(interface: Interface, examples: Any) -> Reference:
    """Return the examples, a user's own or made-up ones, and what the model makes of them."""
    inputs = example_inputs.made_up(interface) if examples is None else example_inputs.named(interface, examples)
    expected, others = _expected(interface, inputs), example_inputs.of_other_lengths(interface, inputs)
    return Reference(inputs, expected, interface.tolerance, interface.weight_bytes, others)


def _expected(interface: Interface, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the model's outputs for the examples, which it has to be able to take."""
    with refusals.named(interface, "The model can't take the examples", "Pass `examples` that it can take."):
        expected = interface.expected(inputs)
    values = expected.get("probabilities", np.zeros(0))
    values = values[np.isfinite(values)]  # what isn't finite is for the verification
    if values.size and not (values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise ValueError(
            f"The model's outputs aren't probabilities: they reach from {values.min():.3g} to {values.max():.3g}. "
            f"End the model in softmax or sigmoid behind the layer {interface.model.layers[-1].name!r}, or name them "
            "with `output_name`."
        )
    return expected


def _warmup_records(interface: Interface, inputs: dict[str, np.ndarray]) -> list[warmup.Record]:
    """Two requests for each signature: one example, and several."""
    records = []
    for name in interface.options.names:
        for size in (1, min(WARMUP_EXAMPLES, len(next(iter(inputs.values()))))):
            request = interface.request(name, {key: array[:size] for key, array in inputs.items()})
            with refusals.named(
                interface,
                f"The model can't take a batch of {size}",
                "A server sends any number of examples, so let every `call` take any.",
            ):
                records.append(warmup.Record(name, request, interface.answer(name, request)))
    return records


def _manifest(interface: Interface, name: str, staged: Path, details: Mapping[str, Any]) -> dict[str, Any]:
    signatures = saved_graph.signatures(saved_graph.load(staged))
    return manifest.describe(name, signatures, sparsity(interface.owner), interface.tolerance, details)
