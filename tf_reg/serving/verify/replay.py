"""Requests to a SavedModel that tell whether it computes what it should, and the judgement on its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tf_reg.serving.saved_graph import Signature, Tensor
from tf_reg.serving.verify.c_api import Run

Arrays = Mapping[str, np.ndarray]
Answers = Sequence[np.ndarray]  # the outputs of one call, in the signature's order
SINGLES = 3  # examples that are also asked for alone


class Case(NamedTuple):
    """Examples for one signature, and the outputs they should give, as far as they are known.

    Args:
        name: What the case is called in a message.
        signature: The signature that is called.
        inputs: Arrays by input name, `(examples, ...)`, 1 example or more.
        outputs: Arrays by output name, `(examples, ...)`.
    """

    name: str
    signature: Signature
    inputs: Arrays
    outputs: Arrays

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(next(iter(self.inputs.values())))


class Judgement(NamedTuple):
    """How far outputs were from what they should be, at most, and what is wrong with them."""

    difference: float
    problems: list[str]


def check(case: Case) -> None:
    """Refuse examples that the signature can't take.

    Raises:
        ValueError: If a name, a dtype or a shape differs.
    """
    for side, arrays, tensors in (
        ("inputs", case.inputs, case.signature.inputs),
        ("outputs", case.outputs, case.signature.outputs),
    ):
        if (side == "inputs" and arrays.keys() != tensors.keys()) or not arrays.keys() <= tensors.keys():
            raise ValueError(f"{case.name} has the {side} {_list(arrays)}, the signature {_list(tensors)}.")
        for name, array in arrays.items():
            _check_array(case, name, array, tensors[name])


def runs(case: Case) -> list[Run]:
    """Return the calls that `judge` needs the answers of: all examples twice, among others, and some alone."""
    size = case.size
    everything = np.arange(size)
    batches = [everything, everything, np.concatenate([everything[::-1], everything])]
    batches += [everything[number : number + 1] for number in range(min(size, SINGLES))]
    feeds = [
        {case.signature.inputs[name].name: array[batch] for name, array in case.inputs.items()} for batch in batches
    ]
    fetches = [tensor.name for tensor in case.signature.outputs.values()]
    return [Run(feed, fetches) for feed in feeds]


def asked(cases: Sequence[Case], run: Callable[[list[Run]], Sequence[Answers]]) -> list[list[Answers]]:
    """Return the answers to `runs` of each case, all asked at once.

    Args:
        cases: The cases.
        run: Takes calls, and returns the outputs of each.

    Raises:
        ValueError: If a signature can't take its examples.
    """
    for case in cases:
        check(case)
    needed = [runs(case) for case in cases]
    found = iter(run([one for some in needed for one in some]))
    return [[next(found) for _ in some] for some in needed]


def judge_all(cases: Sequence[Case], answers: Sequence[Sequence[Answers]], tolerance: float) -> Judgement:
    """Compare the answers of `asked(cases, ...)` as `judge` does those of one case."""
    found = [judge(case, some, tolerance) for case, some in zip(cases, answers, strict=True)]
    return Judgement(max(one.difference for one in found), [problem for one in found for problem in one.problems])


def judge(case: Case, answers: Sequence[Answers], tolerance: float) -> Judgement:
    """Compare the answers to `runs(case)` with one another and with what they should be.

    Args:
        case: The case.
        answers: The outputs of each run, in the signature's order.
        tolerance: How far an output may be off, absolutely and relatively; a repeated call must agree exactly.
    """
    difference, problems = 0.0, []
    for name, (first, second, among, *alone) in zip(case.signature.outputs, zip(*answers, strict=True), strict=True):
        size = case.size
        if first.shape[:1] != (size,) or among.shape[:1] != (2 * size,):
            problems.append(f"the output {name} has no batch axis: {first.shape} for {size} examples")
            continue
        if _is_broken(case, first):
            problems.append(f"the output {name} is NaN or infinite, although the inputs are finite")
        if not _identical(first, second):
            problems.append(f"the output {name} differs when the same request is repeated")
        together = np.concatenate([among[size:], among[size - 1 :: -1] if size else among, *alone])
        again = np.concatenate([first, first, *(first[number : number + 1] for number in range(len(alone)))])
        if not close(together, again, tolerance):
            off = distance(together, again)
            problems.append(f"the output {name} depends on the other examples of its batch, by {off:.2g}")
        if name in case.outputs:
            difference = max(difference, distance(first, case.outputs[name]))
            if not close(first, case.outputs[name], tolerance):
                off = distance(first, case.outputs[name])
                problems.append(
                    f"the output {name} differs from the model by {off:.2g}, where {tolerance:g} is allowed"
                )
    return Judgement(difference, [f"{case.name}: {problem}" for problem in problems])


def close(received: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays agree: whole numbers exactly, others within the tolerance, absolutely and relatively."""
    if received.shape != expected.shape:
        return False
    if received.dtype.kind != "f":
        return np.array_equal(received, expected)
    return np.allclose(received, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def distance(received: np.ndarray, expected: np.ndarray) -> float:
    """Return the biggest difference between two arrays; infinite for other shapes, and for NaN against a number."""
    if received.shape != expected.shape or received.dtype.kind == "O":
        return 0.0 if np.array_equal(received, expected) else np.inf
    with np.errstate(invalid="ignore"):
        differences = np.abs(np.asarray(received, "float64") - np.asarray(expected, "float64"))
    same = (np.isnan(received) & np.isnan(expected)) | (received == expected)
    return float(np.max(np.where(same, 0, np.nan_to_num(differences, nan=np.inf)), initial=0))


def random_inputs(signature: Signature, examples: int = 3) -> dict[str, np.ndarray]:
    """Return made-up inputs for a signature of numbers: pixels from 0 to 255, or the whole numbers 0 and 1.

    Raises:
        ValueError: If an input holds strings.
    """
    generator = np.random.default_rng(0)
    made = {}
    for name, tensor in signature.inputs.items():
        if tensor.dtype == "string":
            raise ValueError(f"The input {name} takes strings, which can't be made up.")
        shape = (examples, *(64 if size is None else size for size in tensor.shape[1:]))
        high = 255 if "float" in tensor.dtype or tensor.dtype == "uint8" else 2
        made[name] = generator.uniform(0, high, shape).astype(tensor.dtype)
    return made


def _is_broken(case: Case, outputs: np.ndarray) -> bool:
    """Whether an output of an example is not finite although all of the example's inputs are."""
    fine = np.ones(case.size, bool)
    for array in case.inputs.values():
        fine &= _finite(array)
    return bool(np.any(fine & ~_finite(outputs)))


def _finite(array: np.ndarray) -> np.ndarray:
    """Which examples hold finite numbers alone, `(examples,)`."""
    if array.dtype.kind != "f":
        return np.ones(len(array), bool)
    return np.isfinite(array.reshape(len(array), -1)).all(axis=1)


def _identical(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()


def _check_array(case: Case, name: str, array: np.ndarray, tensor: Tensor) -> None:
    dtype = "string" if array.dtype.kind == "O" else array.dtype.name
    fits = len(array.shape) == len(tensor.shape) and all(
        want is None or have == want for have, want in zip(array.shape, tensor.shape, strict=True)
    )
    if dtype != tensor.dtype or not fits or len(array) != case.size:
        raise ValueError(
            f"{case.name}: {name} must be {tensor.dtype} of the shape {tensor.shape}, {case.size} examples. "
            f"Received: {dtype} of the shape {array.shape}."
        )


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(names) or "none"
