"""Whether a SavedModel is what it should be: read, loaded and run as TensorFlow Serving does it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_reg.serving import saved_graph
from tf_reg.serving.saved_graph import Signature
from tf_reg.serving.verify import c_api, engine_checks, replay, server_check
from tf_reg.serving.write import manifest, warmup
from tf_reg.serving.write.options import DEFAULT

SLACK = 1.05, 2**14  # a checkpoint may be that much bigger than its variables: a factor, and bytes on top
TOLERANCE = 1e-5
OTHERS = "examples of another length"


class VerificationError(RuntimeError):
    """A SavedModel isn't what it should be; the message says in which way."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `tf_reg.verify_saved_model` has checked; print it for a table.

    Attributes:
        path: The version's folder.
        signatures: The names of its signatures.
        compared: How many examples were compared with what they should give.
        difference: How far an output was from that at most.
        requests: How many warm-up requests were replayed.
        variable_bytes: The size of the files with the variables.
        weight_bytes: The size of the variables themselves.
        cpu_only: Operations of `serving_default` that have no GPU kernel; None where the installed TensorFlow can't
            tell, not being built for CUDA.
        checksums: How many files have the sha256 that the manifest says; 0 without a manifest.
        engines: By the title of another engine, how far its outputs were off at most, or why it wasn't asked: OpenVINO,
            where it is installed, on the SavedModel itself, and the engines of the other formats in the folder.
        server: The version of TensorFlow Serving that was asked for, and can read it; None if none was.
    """

    path: Path
    signatures: tuple[str, ...]
    compared: int
    difference: float
    requests: int
    variable_bytes: int
    weight_bytes: int
    cpu_only: tuple[str, ...] | None
    checksums: int
    engines: Mapping[str, float | str]
    server: str | None = None

    def __str__(self) -> str:
        kernels = "for all operations" if self.cpu_only == () else f"none for {', '.join(self.cpu_only or ())}"
        rows = {
            "SavedModel": str(self.path),
            "signatures": ", ".join(self.signatures),
            "examples compared": f"{self.compared}, difference at most {self.difference:.2g}",
            "warm-up requests": str(self.requests),
            "variables": f"{self.variable_bytes:,} bytes on disk, {self.weight_bytes:,} bytes of weights",
            "GPU kernels": "not known: the installed TensorFlow is not built for CUDA"
            if self.cpu_only is None
            else kernels,
            "checksums": f"of {self.checksums} files" if self.checksums else "none: there is no manifest",
        } | {title: engine_checks.words(found) for title, found in self.engines.items()}
        if self.server is not None:
            rows["server"] = f"TensorFlow Serving {self.server} can read it"
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a SavedModel should compute.

    Args:
        inputs: Examples, by input name of `serving_default`, `(examples, ...)`.
        outputs: What they should give, by output name.
        tolerance: How far an output may be from that, absolutely and relatively.
        weight_bytes: The size of the model's weights.
        others: Examples of another length, and what they should give; None where no length is free.
    """

    inputs: replay.Arrays
    outputs: replay.Arrays
    tolerance: float
    weight_bytes: int
    others: tuple[replay.Arrays, replay.Arrays] | None = None

    def inputs_of(self, problems: str) -> replay.Arrays:
        """Return the inputs that problems were found with."""
        return self.inputs if self.others is None or OTHERS not in problems else self.others[0]


def verify(
    saved_model: Path, reference: Reference | None = None, *, gpu: bool = True, server: str | None = None
) -> Verification:
    """Check one version in every way that `tf_reg.verify_saved_model` says.

    Args:
        saved_model: The version's folder.
        reference: What it should compute, beside what its warm-up requests say.
        gpu: Whether an operation without a GPU kernel is an error.
        server: The version of TensorFlow Serving that must be able to read it, as `server_tables` knows it.

    Raises:
        VerificationError: If something is wrong.
    """
    try:
        return _verify(saved_model, reference, gpu, server)
    except (ValueError, OSError, c_api.LoaderError) as error:
        raise VerificationError(f"{saved_model} can't be served: {error}") from error


def _verify(saved_model: Path, reference: Reference | None, gpu: bool, server: str | None) -> Verification:
    _refuse(manifest.leads_out(saved_model))
    contents = manifest.read(saved_model)
    if contents is not None:
        _refuse(manifest.damage(saved_model, contents))
    meta_graph = saved_graph.load(saved_model)
    signatures = saved_graph.signatures(meta_graph)
    _check_graph(meta_graph, signatures)
    if server is not None:
        server_check.check(meta_graph, signatures[DEFAULT], server, gpu=gpu)
    weights = _weight_bytes(meta_graph, signatures) if reference is None else reference.weight_bytes
    stored = _check_sizes(saved_model, weights)
    cases = _recorded(saved_model, signatures)
    requests = len(cases)
    if reference is not None:
        cases.append(replay.Case("the examples", signatures[DEFAULT], reference.inputs, reference.outputs))
        if reference.others is not None:
            cases.append(replay.Case(OTHERS, signatures[DEFAULT], *reference.others))
    if not cases:
        made_up = replay.random_inputs(signatures[DEFAULT])
        cases.append(replay.Case("made-up examples", signatures[DEFAULT], made_up, {}))
    tolerance = (contents or {}).get("tolerance", TOLERANCE) if reference is None else reference.tolerance
    difference, known = _run(saved_model, cases, tolerance)  # what computes something else needs no advice on kernels
    ours = [case for case in known if case.signature == signatures[DEFAULT]]
    return Verification(
        path=saved_model,
        signatures=tuple(signatures),
        compared=sum(case.size for case in cases if case.outputs),
        difference=difference,
        requests=requests,
        variable_bytes=stored,
        weight_bytes=weights,
        cpu_only=_check_kernels(meta_graph, signatures[DEFAULT], gpu),
        checksums=len(contents["files"]) if contents else 0,
        engines=engine_checks.found(saved_model, ours, tolerance),
        server=server,
    )


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems) + ".")


def _check_graph(meta_graph: Any, signatures: Mapping[str, Signature]) -> None:
    if DEFAULT not in signatures:
        raise ValueError(f"It has no signature {DEFAULT}, only {', '.join(signatures) or 'none'}.")
    found = saved_graph.reaching_out(meta_graph)
    for name, signature in signatures.items():
        nodes = saved_graph.reached(meta_graph, signature)
        found += [f"{name}: {problem}" for problem in saved_graph.problems(nodes)]
        found += [f"{name}: {problem}" for problem in _check_tensors(signature)]
    _refuse(found)


def _check_kernels(meta_graph: Any, signature: Signature, gpu: bool) -> tuple[str, ...] | None:
    """Return which operations lack a GPU kernel; None where the installed TensorFlow can't tell.

    A signature that takes strings always has some: strings lie on the CPU, and so do the tables that they are looked
    up in. TensorFlow runs such operations there and the others on the GPU.
    """
    if not saved_graph.knows_gpu_kernels():
        return None
    cpu_only = saved_graph.without_gpu_kernel(saved_graph.reached(meta_graph, signature))
    if gpu and cpu_only and not any(tensor.dtype == "string" for tensor in signature.inputs.values()):
        found = ", ".join(f"{op} at {name}" for op, name in cpu_only.items())
        raise ValueError(
            f"{DEFAULT} has operations without a GPU kernel: {found}. Keep them out of the model, or pass gpu=False "
            "for a server on CPUs."
        )
    return tuple(cpu_only)


def _check_tensors(signature: Signature) -> list[str]:
    fixed = [name for name, tensor in signature.inputs.items() if tensor.shape[:1] != (None,)]
    half = [name for name, tensor in signature.outputs.items() if tensor.dtype in ("float16", "bfloat16")]
    problems = [f"the batch size of {name} is fixed" for name in fixed]
    return problems + [f"{name} is {signature.outputs[name].dtype}, which the server's JSON lacks" for name in half]


def _weight_bytes(meta_graph: Any, signatures: Mapping[str, Signature]) -> int:
    return saved_graph.variable_bytes(
        node for signature in signatures.values() for node in saved_graph.reached(meta_graph, signature)
    )


def _check_sizes(saved_model: Path, weights: int) -> int:
    """Return the size of the variables' files, which hold each weight once."""
    files = list((saved_model / "variables").glob("variables.*"))
    if weights and not files:
        raise ValueError("variables/ is missing.")
    stored = sum(file.stat().st_size for file in files)
    allowed = SLACK[0] * weights + SLACK[1]
    if stored > allowed:
        raise ValueError(
            f"variables/ has {stored:,} bytes for {weights:,} bytes of weights, more than {allowed:,.0f}: something "
            "is stored twice, or not used."
        )
    return stored


def _recorded(saved_model: Path, signatures: Mapping[str, Signature]) -> list[replay.Case]:
    """Return the warm-up requests, which need not be there."""
    path = saved_model / warmup.FILE
    cases = []
    for number, record in enumerate(warmup.read(path) if path.exists() else (), start=1):
        name = f"warm-up request {number} ({record.signature})"
        if record.signature not in signatures:
            raise ValueError(f"{name}: there is no such signature.")
        cases.append(replay.Case(name, signatures[record.signature], record.inputs, record.outputs))
    return cases


def _run(saved_model: Path, cases: Sequence[replay.Case], tolerance: float) -> tuple[float, list[replay.Case]]:
    """Run all cases; return the biggest difference to what they should give, and the cases with all their outputs."""
    answers = replay.asked(cases, functools.partial(c_api.run_apart, saved_model))
    found = replay.judge_all(cases, answers, tolerance)
    _refuse(found.problems)
    return found.difference, [
        engine_checks.known(case, first) for case, (first, *_) in zip(cases, answers, strict=True)
    ]
