"""Whether two models compute the same, on inputs made up for it and on given ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg._backend import global_seed, tensor_of, without_gradients
from tf_reg._ending import endings, recording
from tf_reg._graph import as_graph
from tf_reg.compaction.made_up import NotKnownError, made_up, size_of, structure_of

TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 1e-2}  # of the largest output
ROUNDINGS = 10  # what all roundings of a model make, in those of its weights alone
ROUNDING = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-11}
TELLS = 10  # times the tolerance: what outputs differ by, from example to example, in a check that counts


@dataclasses.dataclass(frozen=True)
class Check:
    """Two models were called on the same inputs.

    Attributes:
        inputs: What the inputs were: batch, magnitude.
        output: The number of the output.
        error: The largest difference between the two, divided by the largest absolute value.
        limit: What rounding may make of it.
        silent: Why the check counts as none; empty if it counts.
    """

    inputs: str
    output: int
    error: float
    limit: float
    silent: str = ""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far the outputs of two models are apart; print it for a sentence.

    An output that a softmax, a sigmoid or the like makes is compared before that: afterwards, differences can't be
    seen.

    Attributes:
        tried: All checks.
        limit: What rounding makes of an error at most, in a model that doesn't blow it up.
    """

    tried: tuple[Check, ...]
    limit: float

    @property
    def largest(self) -> float:
        """The largest error of all checks."""
        return max((check.error for check in self.tried), default=0.0)

    @property
    def checks(self) -> int:
        """How many checks count: their outputs are finite, and differ from example to example by more than rounding."""
        return sum(not check.silent for check in self.tried)

    @property
    def within_rounding(self) -> bool:
        """Whether the two models compute the same."""
        return all(check.error <= check.limit for check in self.tried)

    @property
    def reasons(self) -> str:
        """Why checks count as none, in words."""
        return "; ".join(dict.fromkeys(check.silent for check in self.tried if check.silent))

    def __str__(self) -> str:
        counted = ", ".join(dict.fromkeys(check.inputs for check in self.tried if not check.silent))
        words = f"{self.checks} of {len(self.tried)} checks count" + (f" ({counted})" if counted else "")
        words += f"; {self.reasons}" if self.reasons else ""
        return (
            f"{words}: the largest difference is {self.largest:.1e} of the largest output, the limit {self.limit:.0e}"
        )


def compare(model: keras.Model, other: keras.Model, examples: Any = None, seed: int = 0) -> Difference:
    """Call two models, in inference, on the same inputs: random ones, constants, and examples.

    No call changes a state of the models.

    Args:
        model: A functional or sequential model.
        other: A model with the same inputs and outputs.
        examples: Inputs of the model, in the structure that it takes, with a batch axis; None for none.
        seed: The seed of the random inputs.

    Raises:
        ValueError: Examples that the model doesn't take, or a model whose outputs are random.
    """
    pair, tried = _Pair(model, other), list[Check]()
    try:
        for words, inputs in made_up(model, np.random.default_rng(seed), size_of(model)):
            tried += pair.checks(words, inputs)
    except NotKnownError as error:
        tried.append(Check("none", 0, 0.0, 0.0, str(error)))
    if examples is not None:
        tried += pair.checks("examples", _checked(model, examples))
    return Difference(tuple(tried), pair.limit)


class _Pair:
    """Two models, and what is known of the outputs of the first one."""

    def __init__(self, model: keras.Model, other: keras.Model) -> None:
        self._models = (model, other)
        self._endings = [endings(as_graph(one)) for one in self._models]
        self._references: dict[int, np.ndarray] = {}  # the first example of each output
        used = {layer.compute_dtype for layer in _keras.sublayers(model) if not isinstance(layer, keras.Model)}
        used |= {keras.backend.standardize_dtype(tensor.dtype) for tensor in model.outputs}
        self.limit = max(TOLERANCES.get(dtype, 0.0) for dtype in used)

    def outputs(self, which: int, inputs: Any, weights: Sequence[Any] = ()) -> list[np.ndarray]:
        """Call one of the two: float64 arrays, before the last activations."""
        model, ends = self._models[which], self._endings[which]
        with (
            keras.StatelessScope(weights),
            global_seed(0),
            without_gradients(),
            recording([end for end in ends if end is not None]) as seen,
        ):
            values = tree.flatten(model(inputs, training=False))
            for place, end in enumerate(ends):
                if len(given := seen.get(id(end), [])) == 1:
                    values[place] = given[0]
        return [ops.convert_to_numpy(value).astype("float64") for value in values]

    def checks(self, words: str, inputs: Any) -> list[Check]:
        """Call both on inputs."""
        try:
            one = self.outputs(0, inputs)
        except Exception as error:
            return [Check(words, 0, 0.0, 0.0, f"your model refuses these inputs ({_first_line(error)})")]
        try:
            two = self.outputs(1, inputs)
        except Exception as error:
            return [Check(words, 0, math.inf, 0.0, f"the new model refuses these inputs ({_first_line(error)})")]
        found = [
            Check(words, place, _error(a, b), self.limit, self._silent(place, a))
            for place, (a, b) in enumerate(zip(one, two, strict=True))
        ]
        return found if all(check.error <= self.limit for check in found) else self._judged(found, inputs, one)

    def _judged(self, found: list[Check], inputs: Any, one: list[np.ndarray]) -> list[Check]:
        """Find out what rounding makes of the outputs: the model is called again, and with weights that are rounded."""
        again, rounded = self.outputs(0, inputs), self.outputs(0, inputs, self._rounded())
        judged = []
        for check, a, b, c in zip(found, one, again, rounded, strict=True):
            limit = max(self.limit, ROUNDINGS * _error(a, c))
            if _error(a, b) > limit:
                raise ValueError(
                    "To compare two models, their outputs must not be random in inference. Received: a model that "
                    "answers the same inputs differently in two calls. Take the random layers out, or give them a seed "
                    "generator of Keras."
                )
            blown_up = "" if limit < TELLS * self.limit else "rounding alone changes the outputs of your model"
            judged.append(dataclasses.replace(check, limit=limit, silent=check.silent or blown_up))
        return judged

    def _rounded(self) -> list[tuple[keras.Variable, Any]]:
        """The weights of the first model, each a rounding away from what it is."""
        random, found = np.random.default_rng(0), []
        for variable in self._models[0].weights:
            if keras.backend.is_float_dtype(variable.dtype):
                value = ops.convert_to_numpy(variable.value).astype("float64")
                step = ROUNDING.get(keras.backend.standardize_dtype(variable.dtype), 0.0)
                value *= 1 + step * random.choice([-1, 1], size=value.shape)
                found.append((variable, ops.convert_to_tensor(value, dtype=variable.dtype)))
        return found

    def _silent(self, place: int, one: np.ndarray) -> str:
        """Why an output can't tell anything; empty if it can."""
        if not np.isfinite(one).all():
            return "the outputs of your model are not finite on random inputs"
        return "" if self._tells(place, one) else "the outputs of your model are constant on random inputs"

    def _tells(self, place: int, one: np.ndarray) -> bool:
        """Whether an output differs from example to example, or from that of earlier inputs."""
        first = one[:1] if one.ndim else one
        reference = self._references.setdefault(place, first)
        spread = np.abs(one - first).max(initial=0.0)
        if reference.shape == first.shape:
            spread = max(spread, np.abs(first - reference).max(initial=0.0))
        return bool(spread > TELLS * self.limit * np.abs(one).max(initial=0.0))


def _error(one: np.ndarray, two: np.ndarray) -> float:
    """The largest difference of two arrays, divided by the largest absolute value of the first one.

    Places where the first one is NaN don't count: the zeros that read a dead channel make NaN of an infinite one.
    """
    finite, infinite = np.isfinite(one), np.isinf(one)
    if one.shape != two.shape or not np.array_equal(one[infinite], two[infinite]):
        return math.inf
    difference = np.abs(one[finite] - two[finite]).max(initial=0.0)
    if difference == 0:
        return 0.0
    size = np.abs(one[finite]).max()
    return float(difference / size) if size and np.isfinite(difference) else math.inf


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:150]}"


def _checked(model: keras.Model, examples: Any) -> Any:
    """The examples as tensors."""

    def convert(tensor: keras.KerasTensor, value: Any) -> Any:
        array = np.asarray(value)
        if array.ndim != len(tensor.shape) or any(
            want not in (None, got) for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True)
        ):
            raise ValueError(f"an array of the shape {array.shape} for an input of the shape {tensor.shape}")
        return tensor_of(array, tensor.dtype)

    structure = structure_of(model)
    try:
        tree.assert_same_structure(structure, examples)
        return tree.map_structure(convert, structure, examples)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            "examples are inputs of the model, in the structure that it takes, with a batch axis. "
            f"Received: {str(error).splitlines()[0][:200]}."
        ) from None
