"""The other formats of a verified version: converted, verified in their own engines, and put into the manifest."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tf_reg.serving import saved_graph
from tf_reg.serving.verify import engine_checks
from tf_reg.serving.verify.engines import ENGINES
from tf_reg.serving.verify.replay import Case
from tf_reg.serving.verify.verification import DEFAULT, OTHERS, Reference, Verification, VerificationError
from tf_reg.serving.write import formats, manifest, unrolled
from tf_reg.serving.write.formats import FORMATS, FormatError
from tf_reg.serving.write.signatures import Interface
from tf_reg.serving.write.watch import ended

Write = Callable[[Interface, Path], None]


def add(
    found: Verification, contents: Mapping[str, Any], interface: Interface, reference: Reference, write: Write
) -> Verification:
    """Add the formats that the interface's options ask for to a version.

    Args:
        found: What its verification has found.
        contents: What its manifest says.
        interface: The model's interface.
        reference: What the model makes of examples.
        write: Writes a SavedModel of an interface.

    Returns:
        What was found, with what the engines of the formats have answered.

    Raises:
        ValueError: If the model has no equal in a format.
        VerificationError: If an engine can't run a file, or answers something else.
    """
    wanted = interface.options.formats
    if not wanted:
        return found
    signature = saved_graph.signatures(saved_graph.load(found.path))[DEFAULT]
    cases = [Case("the examples", signature, reference.inputs, reference.outputs)]
    if reference.others is not None:
        cases.append(Case(OTHERS, signature, *reference.others))
    differences = {}
    for name in wanted:
        file = found.path / FORMATS[name].file
        _convert(name, interface, found.path, file, write)
        try:
            differences[name] = engine_checks.in_format(name, file, cases, reference.tolerance)
        except ValueError as error:
            raise VerificationError(f"Nothing was published: {ended(str(error))} {_way_out(name)}") from error
    said = {name: _described(name, off) for name, off in differences.items()}
    manifest.write(found.path, {**contents, "formats": said})
    engines = {ENGINES[name].title: off for name, off in differences.items()}
    return dataclasses.replace(
        found, engines={**found.engines, **engines}, checksums=found.checksums + len(differences)
    )


def _convert(name: str, interface: Interface, saved_model: Path, file: Path, write: Write) -> None:
    try:
        if name == "litert" and unrolled.has_loops(interface.model):
            with tempfile.TemporaryDirectory() as folder:
                unrolled.write(interface, Path(folder) / "1", write)
                formats.convert(Path(folder) / "1", name, file)
        else:
            formats.convert(saved_model, name, file)
    except FormatError as error:
        layers = interface.watch.named_in(str(error))
        where = f"It comes from the layer {layers[0]}." if layers else ""
        parts = (f"Nothing was published: {ended(str(error))}", where, _way_out(name))
        raise ValueError(" ".join(filter(None, parts))) from error


def _way_out(name: str) -> str:
    return f"Leave {name!r} out of `formats`."


def _described(name: str, difference: float) -> dict[str, Any]:
    versions = {package: importlib.metadata.version(package) for package in FORMATS[name].packages}
    return {"file": FORMATS[name].file, "difference": difference, "versions": versions}
