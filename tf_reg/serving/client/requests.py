"""From files to a request, and from its answer to lines: images or arrays in, class and probability out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_reg.serving.client import files as reading
from tf_reg.serving.client import line_file, table_file
from tf_reg.serving.client.server import Arrays, Client, Signature, Tensor
from tf_reg_cli.errors import UserError


class Request(NamedTuple):
    """Examples for a signature.

    Args:
        signature: The signature's name.
        inputs: The arrays, `(examples, ...)`, by their names: one, but for the columns of a table. An array of arrays
            where the examples may have several lengths.
        names: What each example is called.
    """

    signature: str
    inputs: Arrays
    names: Sequence[str]


def prepare(client: Client, files: Sequence[Path], signature: str | None) -> Request:
    """Make one request of all files, for the signature that fits them best.

    Images go as files to `serving_bytes`, where the model has it; elsewhere they are decoded and resized as in
    training, to floats from 0 to 255 or to bytes. A file that the server's decoder would not show as a person sees it
    (turned by EXIF, transparent, with 16 bits a channel, of a format that TensorFlow doesn't know) goes as a PNG file
    of what a person sees.

    Args:
        client: Whom to ask what the model takes.
        files: `.npy` files with examples, `(examples, ...)`, where one example alone is taken as such; or one table,
            a .csv, .tsv or .parquet file; or one file with an example on each line, a .txt or .jsonl file; every other
            file is an image.
        signature: The signature; None to choose.

    Raises:
        UserError: If a file can't be read, or no signature takes it.
    """
    lines = any(map(line_file.has_lines, files))
    name = signature or _choice(client.signatures, all(map(reading.is_image, files)) and not lines)
    if name not in client.signatures:
        raise UserError(f"The model has the signatures {', '.join(sorted(client.signatures))}. Received: {name}.")
    inputs = client.signatures[name].inputs
    if any(map(table_file.is_table, files)):
        return _of_table(name, files, inputs)
    if len(inputs) != 1:
        raise UserError(
            f"The signature {name} has the inputs {', '.join(inputs)}; a file of examples has one to give. "
            "Give the columns of a table, as .csv or .parquet."
        )
    [(key, tensor)] = inputs.items()
    if lines:
        return _of_lines(name, files, key, tensor)
    parts = [reading.examples(file, tensor) for file in files]
    shapes = [part.shape[1:] for part in parts]
    for file, shape in zip(files, shapes, strict=True):
        if shape != shapes[0]:
            raise UserError(
                f"{files[0]} has examples of the shape {shapes[0]}, {file} of {shape}: ask for one at a time."
            )
    names = [
        f"{file}[{row}]" if len(part) > 1 else str(file)
        for file, part in zip(files, parts, strict=True)
        for row in range(len(part))
    ]
    return Request(name, {key: np.concatenate(parts)}, names)


def _of_table(name: str, files: Sequence[Path], inputs: Mapping[str, Tensor]) -> Request:
    if len(files) != 1:
        raise UserError(f"A table is asked about alone. Received: {_joined(files)}.")
    found = table_file.columns(files[0], inputs)
    return Request(name, found, [f"{files[0]}[{row}]" for row in range(len(next(iter(found.values()))))])


def _of_lines(name: str, files: Sequence[Path], key: str, tensor: Tensor) -> Request:
    if len(files) != 1:
        raise UserError(f"A file with an example on each line is asked about alone. Received: {_joined(files)}.")
    examples = line_file.examples(files[0], tensor)
    if len({example.shape for example in examples}) == 1:
        found = np.stack(examples)
    else:
        found = np.empty(len(examples), object)
        found[:] = examples
    return Request(name, {key: found}, [f"{files[0]}[{row}]" for row in range(len(found))])


def _joined(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def chunks(request: Request, size: int) -> Iterator[Request]:
    """Yield the request's examples in their order, as requests of at most `size` examples, all of one length."""
    start = 0
    while start < len(request.names):
        end = start + 1
        while end < min(start + size, len(request.names)) and _alike(request, start, end):
            end += 1
        inputs = {name: _stacked(array[start:end]) for name, array in request.inputs.items()}
        yield request._replace(inputs=inputs, names=request.names[start:end])
        start = end


def _stacked(array: np.ndarray) -> np.ndarray:
    """Make one array of an array of arrays of one shape; any other stays as it is."""
    return np.stack(list(array)) if isinstance(array[0], np.ndarray) and array.dtype == object else array


def _alike(request: Request, one: int, other: int) -> bool:
    return all(np.shape(array[one]) == np.shape(array[other]) for array in request.inputs.values())


def answers(client: Client, request: Request, size: int, classes: Sequence[str] | None, top: int) -> Iterator[str]:
    """Ask about at most `size` examples at a time, and yield a line for each example once its answer is there.

    Args:
        client: Whom to ask.
        request: All examples.
        size: The most examples of one question.
        classes: The classes' names, in the order of the probabilities.
        top: How many classes a line has.

    Raises:
        UserError: If the server can't be reached, or refuses the inputs.
    """
    width = max(map(len, request.names))
    for chunk in chunks(request, size):
        outputs = client.predict(chunk.signature, chunk.inputs)
        for number, name in enumerate(chunk.names):
            said = _said({key: array[number] for key, array in outputs.items()}, classes, top)
            yield f"{name:<{width}}  {'  '.join(said)}"


def read_classes(path: Path) -> list[str]:
    """Return the classes' names: of a manifest, a JSON list, or a text file with one a line.

    Raises:
        UserError: If the file can't be read, or a manifest has none.
    """
    try:
        text = path.read_text()
        loaded: Any = json.loads(text) if path.suffix == ".json" else text.rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}.") from error
    names = loaded.get("classes") if isinstance(loaded, Mapping) else loaded
    if not isinstance(names, list):
        raise UserError(f"{path} names no classes.")
    return [str(name) for name in names]


def _choice(signatures: Mapping[str, Signature], images: bool) -> str:
    wanted = ["serving_bytes"] if images else []
    return next((name for name in wanted if name in signatures), "serving_default")


def _said(outputs: Arrays, classes: Sequence[str] | None, top: int) -> list[str]:
    """Return an example's most probable classes, or what else the model says."""
    row = outputs.get("probabilities")
    if row is None or row.ndim != 1:
        return [f"{key} {np.array2string(array, precision=4)}" for key, array in outputs.items()]
    if not np.isfinite(row).all():
        return ["no answer: the model gives NaN or an infinite number"]
    if len(row) == 1:  # a sigmoid: how probable the second of two classes is
        row = np.array([1 - row[0], row[0]])
        classes = classes if classes and len(classes) == 2 else None
    best = np.argsort(-row, kind="stable")[:top]
    return [f"{classes[i] if classes and i < len(classes) else f'class {i}'}  {row[i]:.4f}" for i in best]
