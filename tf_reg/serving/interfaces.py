"""The interface of a model: to be exported, or to be compared with what was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tf_reg.serving import saved_graph
from tf_reg.serving.verify import verification
from tf_reg.serving.write import subclassed
from tf_reg.serving.write.options import Options, own_output
from tf_reg.serving.write.signatures import Interface


def of(model: keras.Model, options: Options, input_signature: Any, examples: Any) -> Interface:
    """Return the interface of a model of any kind. Call this where the model's state is kept."""
    if not subclassed.is_subclassed(model):
        return Interface(model, options)
    return Interface(subclassed.as_functional(model, input_signature, examples), options, model)


def of_saved(path: Path, model: keras.Model, examples: Any) -> Interface:
    """Return the interface of a model under the names that a SavedModel has for its inputs and outputs.

    Args:
        path: The version's folder.
        model: The model that it is compared with.
        examples: What they are compared on; None for made-up ones.

    Raises:
        VerificationError: If the SavedModel has no signature that can be called.
        ValueError: If the names differ.
    """
    try:
        signature = saved_graph.signatures(saved_graph.load(path))[verification.DEFAULT]
    except (ValueError, KeyError) as error:
        raise verification.VerificationError(f"{path} can't be served: {error}") from error
    own = own_output(signature.outputs)
    specs = subclassed.specs(signature, examples) if subclassed.is_subclassed(model) else None
    interface = of(model, Options(next(iter(signature.inputs), "inputs"), own or "probabilities"), specs, examples)
    inputs, outputs = set(interface.tensors), set(interface.outputs)
    extras = [name for name in signature.outputs if name in ("class_id", "logits") or name.startswith("top_k_")]
    if inputs != set(signature.inputs) or not outputs <= set(signature.outputs) <= outputs | set(extras):
        raise ValueError(
            f"The model has the inputs {', '.join(interface.tensors)} and outputs {', '.join(interface.outputs)}, the "
            f"SavedModel {', '.join(signature.inputs)} and {', '.join(signature.outputs)}."
        )
    return interface
