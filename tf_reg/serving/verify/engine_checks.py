"""What other engines make of a version: OpenVINO of the SavedModel itself, others of the formats that lie beside it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_reg.serving import saved_graph
from tf_reg.serving.saved_graph import Signature
from tf_reg.serving.verify import engines, replay
from tf_reg.serving.verify.engines import ENGINES, EngineError
from tf_reg.serving.verify.replay import Answers, Case
from tf_reg.serving.write.formats import FORMATS
from tf_reg.serving.write.options import DEFAULT

_INT8 = 6  # of TensorFlow's dtypes
SECOND = "openvino"  # reads SavedModels by a front end of its own
NOT_FOR_IT = "TensorFlow itself answers right: where the model isn't for OpenVINO, work where OpenVINO isn't installed."


def second_is_there() -> bool:
    """Whether OpenVINO is installed."""
    return engines.is_installed(SECOND)


def known(case: Case, answers: Answers) -> Case:
    """Return a case with all outputs: those that are known, and what TensorFlow has answered for the others."""
    return case._replace(outputs={**dict(zip(case.signature.outputs, answers, strict=True)), **case.outputs})


def found(saved_model: Path, cases: Sequence[Case], tolerance: float) -> dict[str, float | str]:
    """Ask all engines that have something to read in a version.

    Args:
        saved_model: The version's folder.
        cases: Examples for `serving_default`, with all outputs.
        tolerance: How far an output may be off, absolutely and relatively.

    Returns:
        By the title of each engine, how far its outputs were off at most, or why it wasn't asked.

    Raises:
        ValueError: If an engine answers something else, or can't read the file that is made for it.
    """
    answers: dict[str, float | str] = {}
    if cases and second_is_there():
        try:
            check_second(saved_model)
            answers[ENGINES[SECOND].title] = difference(SECOND, saved_model, cases, tolerance)
        except EngineError as error:  # no fault of the SavedModel, which TensorFlow has run
            answers[ENGINES[SECOND].title] = f"not asked: {placed(str(error), saved_model)}"
        except ValueError as error:
            raise ValueError(f"{error} {NOT_FOR_IT}") from error
    for name, one in FORMATS.items():
        if cases and (saved_model / one.file).exists():
            there = engines.is_installed(name)
            answers[ENGINES[name].title] = (
                in_format(name, saved_model / one.file, cases, tolerance)
                if there
                else f'not asked: it isn\'t installed, pip install -e ".[{ENGINES[name].extra}]"'
            )
    return answers


def check_second(saved_model: Path) -> None:
    """Refuse what OpenVINO 2026.4 takes and computes wrongly: of a product of int8 it cuts the sums to int8.

    Raises:
        EngineError: If there is such a product.
    """
    integers = [node for node in _nodes(saved_model) if node.op == "BatchMatMulV3" and node.attr["Ta"].type == _INT8]
    if integers:
        raise EngineError("it can't convert BatchMatMulV3")


def _nodes(saved_model: Path) -> list[Any]:
    meta_graph = saved_graph.load(saved_model)
    return saved_graph.reached(meta_graph, saved_graph.signatures(meta_graph)[DEFAULT])


def placed(message: str, saved_model: Path) -> str:
    """Return what an engine says, with the node of each operation that it can't do: its name has its layer's."""
    said = re.fullmatch(r"(it has no operation|it can't convert) (.*)", message)
    if said is None:
        return message
    places = {node.op: f" (at {node.name})" for node in reversed(_nodes(saved_model))}
    return f"{said[1]} {', '.join(op + places.get(op, '') for op in said[2].split(', '))}"


def in_format(name: str, file: Path, cases: Sequence[Case], tolerance: float) -> float:
    """Return how far the outputs of a file in a format are off at most, in the engine of the format.

    Raises:
        ValueError: If they are off by more than is allowed, or the engine can't read it.
    """
    try:
        return difference(name, file, cases, tolerance)
    except EngineError as error:
        raise ValueError(f"{ENGINES[name].title} can't run {file.name}: {error}") from error


def difference(engine: str, path: Path, cases: Sequence[Case], tolerance: float) -> float:
    """Return how far an engine's outputs are off at most.

    Args:
        engine: A key of `ENGINES`.
        path: What it reads.
        cases: Examples for `serving_default`.
        tolerance: How far an output may be off, absolutely and relatively.

    Raises:
        EngineError: If the engine can't load or run it.
        ValueError: If an output is off by more than is allowed, or of another dtype.
    """
    named = [_by_name(case) for case in cases]
    answers = replay.asked(named, functools.partial(engines.run_apart, engine, path))
    judged = replay.judge_all(named, answers, tolerance)
    problems = [*_wrong_dtypes(named[0].signature, answers[0][0]), *judged.problems]
    if problems:
        read = "the SavedModel" if path.is_dir() else path.name
        raise ValueError(f"{ENGINES[engine].title} runs {read} otherwise: {'; '.join(problems)}.")
    return judged.difference


def words(found: float | str) -> str:
    """Return a value of `found` in words."""
    return found if isinstance(found, str) else f"difference at most {found:.2g}"


def _by_name(case: Case) -> Case:
    """The same case, its tensors called by their names in a request, as engines know them."""
    inputs, outputs = ({name: tensor._replace(name=name) for name, tensor in side.items()} for side in case.signature)
    return case._replace(signature=Signature(inputs, outputs))


def _wrong_dtypes(signature: Signature, answer: Answers) -> list[str]:
    return [
        f"the output {name} is {array.dtype.name} instead of {tensor.dtype}"
        for (name, tensor), array in zip(signature.outputs.items(), answer, strict=True)
        if array.dtype.name != tensor.dtype
    ]
