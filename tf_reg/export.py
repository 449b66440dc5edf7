"""Write a Keras model as a SavedModel version that TensorFlow Serving loads, checked before it is published."""

from __future__ import annotations

import numbers
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_reg.paths import layer_paths

_LOOKUPS = (
    keras.layers.TextVectorization,
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.Hashing,
)


def export(
    model: keras.Model,
    folder: str | os.PathLike[str],
    version: int | None = None,
    *,
    input_name: str = "inputs",
    output_name: str = "probabilities",
    examples: Any = None,
) -> Path:
    """Export a model with one input and one output as `<folder>/<version>/`, TensorFlow Serving's layout.

    The signature `serving_default` runs the model in inference mode, random augmentation off, for any batch size,
    and returns float32. Weights are stored once. The version is written under another name, loaded and compared with
    the model on random examples at two batch sizes, and only then renamed: the folder never shows a version that is
    half written, and existing versions are never touched.

    Args:
        model: A built functional or sequential model on the TensorFlow backend, input shape `(batch, ...)`.
        folder: The model's base folder, such as `"saved_models/m"`; made where it is missing.
        version: A positive integer that is still free; by default one more than the highest there is.
        input_name: The input's name in the signature.
        output_name: The output's name in the signature. A model that doesn't end in probabilities (a regression,
            bare logits) needs another name than the default one.
        examples: Inputs to compare on, `(batch, ...)`, at least 1; by default random numbers from 0 to 255, as pixels
            are. A model that takes no such numbers (the rows of an Embedding, say) needs examples of its own.

    Returns:
        The path of the new version.

    Raises:
        ValueError: If the backend isn't TensorFlow, the model has no fixed input or several inputs or outputs, or text
            or lookup layers; if the version is taken or no positive integer, a name is no identifier, the examples
            don't fit, or `output_name` is `"probabilities"` and the outputs aren't.
        RuntimeError: If the written version doesn't compute what the model does; nothing is published.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        >>> tf_reg.export(model, "saved_models/m").name
        '1'
    """
    _check_exportable(model)
    _check_arguments(version, input_name, output_name)
    base = Path(folder)
    base.mkdir(parents=True, exist_ok=True)
    if version is not None and (base / str(version)).exists():
        raise _taken(base, version)
    staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=base))
    try:
        _write(model, staging, input_name, output_name)
        _verify(model, staging, input_name, output_name, _examples(model) if examples is None else examples)
        staging.chmod(0o755)  # mkdtemp's folders are private, and a server runs as another user
        _sync(staging)
        return _publish(staging, base, version)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def next_version(base: Path) -> int:
    """Return one more than the highest integer among the names in a model's base folder."""
    return 1 + max((int(child.name) for child in base.iterdir() if child.name.isdecimal()), default=0)


def _check_exportable(model: keras.Model) -> None:
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"A SavedModel is written by the TensorFlow backend. Received: {keras.backend.backend()!r}. Save the "
            "model with model.save('m.keras') and export it from a process with KERAS_BACKEND=tensorflow."
        )
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "The model must be a functional or sequential one, built, with one input and one output. Received: "
            f"{model.name!r} with {len(inputs)} inputs and {len(outputs)} outputs. A subclassed model becomes "
            "functional by inputs = keras.Input(shape); keras.Model(inputs, model(inputs))."
        )
    lookups = [layer.name for _, layer in layer_paths(model) if isinstance(layer, _LOOKUPS)]
    if lookups:
        raise ValueError(
            f"The signature is for numbers, without tables of words. Received the layers {', '.join(lookups)}. Split "
            "the model behind them, and look the words up in the client."
        )


def _check_arguments(version: Any, input_name: str, output_name: str) -> None:
    if version is not None and (isinstance(version, bool) or not isinstance(version, numbers.Integral) or version < 1):
        raise ValueError(f"`version` must be a positive integer, or None for the next. Received: {version!r}.")
    for name, value in (("input_name", input_name), ("output_name", output_name)):
        if not (isinstance(value, str) and value.isidentifier() and value != "self"):
            raise ValueError(f"`{name}` must be a name as Python's variables have. Received: {value!r}.")


def _call(model: keras.Model, x: Any) -> Any:
    """Run a model in inference mode, whether its one input was declared alone, in a list or in a dictionary."""
    inputs = x if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, [x])
    return keras.tree.flatten(model(inputs, training=False))[0]


def _write(model: keras.Model, path: Path, input_name: str, output_name: str) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        return {output_name: tf.cast(_call(model, x), "float32")}

    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype, name=input_name)
    archive = keras.export.ExportArchive()  # with no `track`: that would store the weights a second time
    archive.add_endpoint("serving_default", serve, input_signature=[spec])
    archive.write_out(str(path), verbose=False)


def _examples(model: keras.Model) -> np.ndarray:
    shape = [64 if size is None else size for size in model.inputs[0].shape[1:]]
    high = 255 if "float" in model.inputs[0].dtype else 2  # integers that the smallest vocabulary has
    return np.random.default_rng(0).uniform(0, high, (3, *shape)).astype(model.inputs[0].dtype)


def _verify(model: keras.Model, path: Path, input_name: str, output_name: str, examples: Any) -> None:
    """Compare the written signature with the model, on one example and on all of them."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    tolerance = 1e-5 if model.compute_dtype in ("float32", "float64") else 1e-2
    for batch in (1, len(examples)):
        x = tf.cast(examples[:batch], model.inputs[0].dtype)
        try:
            expected = np.asarray(tf.cast(_call(model, x), "float32"))
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"The model can't take the examples, so pass `examples` that it can: {reason}") from error
        received = serve(**{input_name: x})[output_name].numpy()
        if not np.allclose(received, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise RuntimeError(
                f"The SavedModel differs from the model by {np.max(np.abs(received - expected)):.2g} at batch size "
                f"{batch}, where {tolerance} is allowed. Nothing was published."
            )
        if output_name == "probabilities" and not (expected.min() >= 0 and expected.max() <= 1 + 1e-6):
            raise ValueError(
                f"The model's outputs aren't probabilities: they reach from {expected.min():.3g} to "
                f"{expected.max():.3g}. End the model in softmax or sigmoid, or name them with `output_name`."
            )


def _sync(folder: Path) -> None:
    """Make everything below a folder durable before a rename makes it visible."""
    for path in [*folder.rglob("*"), folder]:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(staging: Path, base: Path, version: int | None) -> Path:
    while True:
        target = base / str(next_version(base) if version is None else version)
        try:
            staging.rename(target)  # fails where another export was faster: a version is never empty
        except OSError as error:
            if not target.exists():
                raise
            if version is not None:
                raise _taken(base, version) from error
            continue
        _sync_one(base)
        return target


def _taken(base: Path, version: int) -> ValueError:
    return ValueError(
        f"Version {version} exists in {base} and is never overwritten. Leave `version` out for the next free one."
    )
