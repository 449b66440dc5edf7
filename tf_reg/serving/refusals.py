"""Why a model can't be exported, in one sentence that names the layer and the way out."""

from __future__ import annotations

import collections
import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg.serving.verify import replay
from tf_reg.serving.write.signatures import Arrays, Interface
from tf_reg.serving.write.watch import RefusedError, ended, reason

_WAYS_OUT = {  # for what the verification finds; the first that fits
    "PyFunc has state": "A server runs no Python: let its `call` use operations of keras.ops or TensorFlow alone.",
    "writes a variable|draws random numbers|has state": "Let its `call` do that with `training=True` alone, or export "
    "a model without it.",
    "needs XLA": "Take `jit_compile` out of it.",
    "is NaN or infinite": "Its inputs are finite. Where its weights aren't, train again with a lower learning rate; "
    "else keep what its `call` computes within finite numbers.",
    "depends on the other examples": "Let its `call` treat every example on its own with `training=False`.",
    "differs": "Let its `call` use operations of keras.ops or TensorFlow alone, which do the same in a graph.",
}
Calls = list[tuple[str, list[Any], list[Any]]]  # of layers: the layer in words, inputs, outputs
_KINDS_OF_REASONS = ("NaN or infinite", "depends on the other examples", "differs from the model")


@contextlib.contextmanager
def named(interface: Interface, problem: str, way_out: str) -> Iterator[None]:
    """Turn whatever the calls of a model in a `with` block raise into one sentence.

    Args:
        interface: The model's interface.
        problem: The beginning of the sentence; the layer and the reason follow.
        way_out: The sentence after it.

    Raises:
        ValueError: In the place of any error but those of the system and of memory, and those that are whole.
    """
    try:
        yield
    except (OSError, MemoryError, RefusedError):
        raise
    except Exception as error:  # a layer can raise anything
        raise ValueError(f"{problem}{interface.watch.where}: {reason(error)} {way_out}".strip()) from error


def explained(interface: Interface, inputs: Arrays, text: str) -> str:
    """Return what a verification says, with the layer that it comes from, and the way out.

    Args:
        interface: The model's interface, which has written the version that was verified.
        inputs: The examples, by input name.
        text: What the verification says.
    """
    layers = interface.watch.named_in(text) or _found_by_values(interface, inputs, text)
    name = f"It comes from the layer {layers[0]}." if layers else ""
    ways = [way for kind, way in _WAYS_OUT.items() if re.search(kind, text)]
    return " ".join(filter(None, [ended(text), name, *(ways[:1] if name else [])]))


def _found_by_values(interface: Interface, inputs: Arrays, text: str) -> list[str]:
    """Name the first layer, in the order of the calls, whose own outputs show the problem."""
    if not any(kind in text for kind in _KINDS_OF_REASONS):
        return []
    calls = _calls(interface, inputs)
    if "NaN or infinite" in text:
        return [name for name, given, made in calls if _finite(given) and not _finite(made)]
    if "depends on the other examples" in text:
        others, size = _calls(interface, {name: array[:1] for name, array in inputs.items()}), 1
    else:
        others, size = _traced_calls(interface, inputs), None
    again = {name: iter([call for call in others if call[0] == name]) for name, *_ in others}
    called = collections.Counter(name for name, *_ in calls)
    alike = {name for name, *_ in others if called[name] == sum(other == name for other, *_ in others)}
    return [
        name
        for name, given, made in calls
        if name in alike
        for _, given_then, made_then in [next(again[name])]
        if _agree(given, given_then, size) and not _agree(made, made_then, size)
    ]


def _calls(interface: Interface, inputs: Arrays) -> Calls:
    """All calls of layers, with their inputs and outputs as arrays."""
    found: Calls = []
    interface.watch.finished = found
    try:
        interface.expected(inputs)
    finally:
        interface.watch.finished = None
    return [(name, _arrays(given), _arrays(made)) for name, given, made in found]


def _traced_calls(interface: Interface, inputs: Arrays) -> Calls:
    """The same of the graph that is written; no calls where another backend has none."""
    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf

    names: list[str] = []

    def outputs(tensors: Any) -> Any:
        found: Calls = []
        interface.watch.finished = found
        try:
            with interface.traced():
                interface.call(tensors)
        finally:
            interface.watch.finished = None
        here = tf.compat.v1.get_default_graph()
        names[:] = [name for name, *_ in found]
        return [
            [[t for t in side if tf.is_tensor(t) and not hasattr(t, "numpy") and t.graph is here] for side in sides]
            for _, *sides in found
        ]

    specs = {name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for name, tensor in interface.tensors.items()}
    made = tf.function(outputs, input_signature=[specs], autograph=False)(
        {name: tf.constant(array) for name, array in inputs.items()}
    )
    return [(name, _arrays(given), _arrays(out)) for name, (given, out) in zip(names, made, strict=True)]


def _arrays(values: list[Any]) -> list[np.ndarray]:
    return [ops.convert_to_numpy(value) for value in values if ops.is_tensor(value)]


def _agree(arrays: list[np.ndarray], others: list[np.ndarray], size: int | None) -> bool:
    return all(_close(one[:size] if one.ndim else one, other) for one, other in zip(arrays, others, strict=False))


def _finite(arrays: list[np.ndarray]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype.kind not in "fiub" or replay.close(one, other, 1e-4)
