"""The manifest of a version, `assets.extra/tf_reg.json`: what it is, where it comes from, and its files' checksums."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from tf_reg._version import __version__
from tf_reg.measure.zeros import LayerSparsity, SparsityReport
from tf_reg.serving.saved_graph import Signature

FILE = Path("assets.extra") / "tf_reg.json"
FORMAT = 1


def describe(
    name: str,
    signatures: Mapping[str, Signature],
    report: SparsityReport,
    tolerance: float,
    details: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a manifest without checksums.

    Args:
        name: The model's name on the server.
        signatures: The signatures of the SavedModel.
        report: What `tf_reg.sparsity` says of the model.
        tolerance: How far an output may be from the model's own, absolutely and relatively.
        details: What else is to be known, as JSON has it, such as `classes`, `config` and `metrics`.

    Raises:
        ValueError: If the details are no mapping, or have a name that the manifest uses itself.
    """
    import tensorflow as tf

    manifest = {
        "format": FORMAT,
        "name": name,
        "backend": keras.backend.backend(),
        "tolerance": tolerance,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "signatures": {key: _signature(signature) for key, signature in signatures.items()},
        "sparsity": _sparsity(report),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "tf_reg": __version__},
    }
    if not isinstance(details, Mapping):
        raise ValueError(f"`details` must be a dictionary, as JSON has it. Received: {details!r}.")
    taken = details.keys() & {*manifest, "files", "formats", "sha256"}
    if taken:
        raise ValueError(f"The manifest itself says {', '.join(sorted(taken))}: choose other names in `details`.")
    return {**manifest, **details}


def write(saved_model: Path, contents: Mapping[str, Any]) -> None:
    """Add the checksums of all files of a version to its manifest, and write it.

    Raises:
        ValueError: If the contents can't be written as JSON.
    """
    try:
        text = json.dumps({**contents, "files": checksums(saved_model)}, allow_nan=False)
        whole = json.loads(text)  # with names that are strings, as a reader finds them
        text = json.dumps({**whole, "sha256": _digest(whole)}, indent=2)  # no newline: every byte counts
    except (TypeError, ValueError) as error:
        raise ValueError(f"The manifest must be what JSON can hold, finite numbers included: {error}.") from error
    (saved_model / FILE).parent.mkdir(exist_ok=True)
    (saved_model / FILE).write_text(text)


def read(saved_model: Path) -> dict[str, Any] | None:
    """Return the manifest of a version, None where there is none.

    Raises:
        ValueError: If it is damaged.
    """
    path = saved_model / FILE
    try:
        contents = json.loads(path.read_bytes())
        if contents.pop("sha256") != _digest(contents):
            raise ValueError("its checksum differs")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    return contents


def damage(saved_model: Path, contents: Mapping[str, Any]) -> list[str]:
    """Say which files of a version aren't what its manifest says: missing, cut, changed or unknown."""
    said, found = contents["files"], checksums(saved_model)
    missing = [f"{name} is missing" for name in said.keys() - found.keys()]
    unknown = [f"{name} isn't in the manifest" for name in found.keys() - said.keys()]
    sizes = [
        f"{name} has {found[name]['bytes']:,} bytes of {said[name]['bytes']:,}"
        for name in said.keys() & found.keys()
        if found[name]["bytes"] != said[name]["bytes"]
    ]
    changed = [
        f"{name} has changed (its sha256 differs)"
        for name in said.keys() & found.keys()
        if found[name]["bytes"] == said[name]["bytes"] and found[name] != said[name]
    ]
    return [*sorted(missing), *sorted(sizes), *sorted(changed), *sorted(unknown)]


def checksums(saved_model: Path) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file of a version but the manifest, by its path within."""
    files = sorted(path for path in saved_model.rglob("*") if path.is_file() and path != saved_model / FILE)
    return {path.relative_to(saved_model).as_posix(): _checksum(path) for path in files}


def leads_out(saved_model: Path) -> list[str]:
    """Say which links in a version lead out of its folder: a copy hasn't what they lead to, or has something else."""
    inside = Path(os.path.realpath(saved_model))
    links = [path for path in saved_model.rglob("*") if path.is_symlink()]
    out = [path for path in links if not Path(os.path.realpath(path)).is_relative_to(inside)]
    return [
        f"{path.relative_to(saved_model).as_posix()} is a link that leads out of the folder" for path in sorted(out)
    ]


def _checksum(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        side: {name: {"dtype": tensor.dtype, "shape": list(tensor.shape)} for name, tensor in tensors.items()}
        for side, tensors in signature._asdict().items()
    }


def _sparsity(report: SparsityReport) -> dict[str, Any]:
    layers = {**report.layers, "total": report.total}
    return {path: _numbers(layer) for path, layer in layers.items()}


def _numbers(layer: LayerSparsity) -> dict[str, Any]:
    share = layer.sparsity
    return {**dataclasses.asdict(layer), "sparsity": None if math.isnan(share) else share}
