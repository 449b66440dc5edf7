"""What the signatures of a model shall offer, the names in them, and the models that can't have them."""

from __future__ import annotations

import dataclasses
import keyword
import numbers
from collections.abc import Collection, Iterable
from typing import Any

import keras

from tf_reg._checks import flag
from tf_reg._walk import layer_paths
from tf_reg.serving.write import formats

DEFAULT, UINT8, BYTES = "serving_default", "serving_uint8", "serving_bytes"


@dataclasses.dataclass(frozen=True)
class Options:
    """What the signatures of a model offer beside its own outputs.

    Args:
        input_name: The input's name, for a model with one.
        output_name: The output's name, for a model with one.
        signatures: Further signatures: `"serving_uint8"`, `"serving_bytes"`; kept as a tuple, each once.
        class_id: Add the output `class_id`.
        top_k: Add the outputs `top_k_ids` and `top_k_<output_name>`, for that many classes.
        logits: Add the output `logits`.
        formats: Other formats to write too, kept as a tuple, each once.
        batch: The number of examples of a request; None for any.

    Raises:
        ValueError: If there is no such signature or format.
        ImportError: If what a format needs isn't installed.
    """

    input_name: str = "inputs"
    output_name: str = "probabilities"
    signatures: Collection[str] = ()
    class_id: bool = False
    top_k: int | None = None
    logits: bool = False
    formats: Collection[str] = ()
    batch: int | None = None

    def __post_init__(self) -> None:
        given = self.signatures
        flag(self.class_id, "class_id")
        flag(self.logits, "logits")
        if isinstance(given, str) or not isinstance(given, Collection) or not all(s in (UINT8, BYTES) for s in given):
            raise ValueError(f"`signatures` may have {UINT8!r} and {BYTES!r}, in a list. Received: {given!r}.")
        object.__setattr__(self, "signatures", tuple(dict.fromkeys(given)))
        object.__setattr__(self, "formats", formats.checked(self.formats))

    @property
    def names(self) -> tuple[str, ...]:
        """All signatures, the default one first."""
        return (DEFAULT, *self.signatures)

    @property
    def extras(self) -> list[str]:
        """The outputs beside the model's own."""
        top_k = [] if self.top_k is None else ["top_k_ids", f"top_k_{self.output_name}"]
        return ["class_id"] * self.class_id + top_k + ["logits"] * self.logits


def structures(model: keras.Model) -> tuple[Any, Any]:
    """Return how a model's inputs and outputs are declared: one alone, a list or a dictionary of them."""
    if isinstance(model, keras.Sequential):  # has no `input` before its first call
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def input_names(model: keras.Model, options: Options) -> list[str]:
    """Return the names of a model's inputs in its signatures, in the order of `model.inputs`."""
    if len(model.inputs) == 1:
        return [options.input_name]
    structure = structures(model)[0]
    names = _keys(structure) if isinstance(structure, dict) else [tensor.name for tensor in model.inputs]
    return _names("inputs", names, all(map(_is_parameter, names)), "keras.Input(shape, name=...)")


def output_names(model: keras.Model, options: Options) -> list[str]:
    """Return the names of a model's outputs in its signatures, in the order of `model.outputs`."""
    if len(model.outputs) == 1:
        return [options.output_name]
    structure = structures(model)[1]
    names = _keys(structure) if isinstance(structure, dict) else list(model.output_names)
    return _names("outputs", names, all(map(_is_name, names)), "the last layers, or let the model return a dictionary")


def own_output(outputs: Iterable[str]) -> str | None:
    """Return which of a signature's outputs is the model's own, all others being extras; None where it isn't clear."""
    names = set(outputs)
    own = [name for name in names if names - {name, "class_id", "logits"} in (set(), {"top_k_ids", f"top_k_{name}"})]
    return "logits" if "logits" in own else next(iter(own), None)


def check_names(options: Options) -> None:
    """Refuse names that a signature made here can't have.

    Raises:
        ValueError: If it can't.
    """
    for name, value, good in (
        ("input_name", options.input_name, _is_parameter(options.input_name)),
        ("output_name", options.output_name, _is_name(options.output_name)),
    ):
        if not good:
            raise ValueError(f"`{name}` must be a name as Python's variables have. Received: {value!r}.")


def _keys(structure: dict[Any, Any]) -> list[Any]:
    """The keys of a dictionary in Keras' order: sorted, or an `OrderedDict`'s own."""
    places = keras.tree.pack_sequence_as(structure, list(range(len(structure))))
    return sorted(structure, key=places.__getitem__)


def _names(what: str, names: list[Any], good: bool, mend: str) -> list[str]:
    made_up = any(str(name).startswith(("keras_tensor", "input_layer")) for name in names)
    if not good or made_up or len(set(names)) < len(names):
        raise ValueError(
            f"Several {what} need names that stay, each another one, as Python's variables have. Received: "
            f"{', '.join(map(str, names))}. Name {mend}."
        )
    return names


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and name != "self"


def _is_parameter(name: Any) -> bool:
    """Whether it can be a parameter of a function: TensorFlow makes one of each input."""
    return _is_name(name) and not keyword.iskeyword(name)


def check_model(model: keras.Model) -> None:
    """Refuse a model that no signature can be made of.

    Raises:
        ValueError: If it isn't built, or has nested inputs or outputs, takes strings on another backend than
            TensorFlow, or has layers that remember the batch before.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"The model must be one of Keras. Received: {model!r}.")
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if not inputs or not outputs:
        raise ValueError(
            f"The model must be built. Received: {model.name!r} with {len(inputs)} inputs and {len(outputs)} outputs. "
            "Begin it with keras.Input(shape), or call it on a batch."
        )
    if isinstance(model, keras.Sequential) and len(outputs) > 1:
        raise ValueError(
            f"A sequential model must have one output. Received: {model.name!r} with {len(outputs)}. It becomes "
            "functional, and its outputs keep their names, by inputs = keras.Input(shape); "
            "keras.Model(inputs, model(inputs))."
        )
    for structure in structures(model):
        parts = list(structure.values()) if isinstance(structure, dict) else structure
        if isinstance(parts, list | tuple) and any(isinstance(part, dict | list | tuple) for part in parts):
            raise ValueError(
                "Several inputs or outputs must be a flat list or dictionary, as a request is. Received nested ones "
                f"in the model {model.name!r}."
            )
    strings = [tensor.name for tensor in inputs if tensor.dtype == "string"]
    if strings and keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Inputs of strings take KERAS_BACKEND=tensorflow. Received: {', '.join(strings)} on "
            f"{keras.backend.backend()}. Load the model there, or turn them into numbers in the client."
        )
    words = [tensor.name for tensor in outputs if tensor.dtype == "string"]
    if words:
        raise ValueError(
            f"The outputs must be numbers. Received strings for {', '.join(words)}. Let the model return the number of "
            "a word, and look the word up in the client."
        )
    _check_layers(model)


def _check_layers(model: keras.Model) -> None:
    remember = [
        repr(path) for path, layer in layer_paths(model) if isinstance(layer, keras.layers.RNN) and layer.stateful
    ]
    if remember:
        raise ValueError(
            f"A server answers each request on its own. Received the layers {', '.join(remember)} with stateful=True. "
            "Build the same model with stateful=False, give it the weights by `set_weights(model.get_weights())`, and "
            "send whole sequences, or make the states inputs and outputs."
        )


def check_options(options: Options, model: keras.Model) -> None:
    """Refuse options that the model can't have.

    Raises:
        ValueError: If it can't.
    """
    switches = {"class_id": options.class_id, "top_k": options.top_k is not None, "logits": options.logits}
    wanted = [name for name, on in switches.items() if on]
    shape = model.outputs[0].shape
    if wanted and (len(model.outputs) != 1 or (len(shape) != 2 and wanted != ["logits"])):
        raise ValueError(
            f"{', '.join(wanted)}: for a model with one output, (batch, classes). Received: {len(model.outputs)} "
            f"outputs, the first of shape {shape}."
        )
    names = [options.output_name, *options.extras]
    if len(set(names)) < len(names):
        raise ValueError(
            f"The outputs must have different names, so choose another `output_name`. Received: {', '.join(names)}."
        )
    if options.top_k is not None and not _is_count(options.top_k, shape[-1]):
        raise ValueError(f"`top_k` must be from 1 to the model's {shape[-1]} classes. Received: {options.top_k!r}.")
    if len(model.inputs) != 1 and options.signatures:
        raise ValueError(f"{', '.join(options.signatures)}: for a model with one input. Received: {len(model.inputs)}.")
    shape = tuple(model.inputs[0].shape[1:])
    if BYTES in options.signatures and (len(shape) != 3 or None in shape or shape[-1] not in (1, 3, 4)):
        raise ValueError(
            f"{BYTES} needs images of a fixed size, (height, width, channels) with 1, 3 or 4 channels. Received "
            f"the input shape {shape}."
        )


def _is_count(value: Any, most: int | None) -> bool:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and most is not None and 1 <= value <= most
