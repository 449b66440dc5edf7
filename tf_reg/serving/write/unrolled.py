"""Write recurrent layers for LiteRT, whose loops take batches of one size alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras

from tf_reg._walk import layer_paths
from tf_reg.serving.write.inference import replaced
from tf_reg.serving.write.signatures import Interface


def has_loops(model: keras.Model) -> bool:
    """Whether a model has recurrent layers."""
    return bool(_recurrent(model))


def write(interface: Interface, path: Path, write: Callable[[Interface, Path], None]) -> None:
    """Write `serving_default` of a model with recurrent layers as a SavedModel that LiteRT's converter takes.

    Sequences of a fixed length are written step by step, for any number of examples. Where the length is free the loop
    stays, and a request has one example.

    Args:
        interface: The model's interface.
        path: The folder.
        write: Writes an interface.
    """
    free = any(None in tensor.shape[1:] for tensor in interface.tensors.values())
    options = dataclasses.replace(interface.options, signatures=(), formats=(), batch=1 if free else None)
    with contextlib.ExitStack() as stack:
        for layer in () if free else _recurrent(interface.model):
            stack.enter_context(replaced(layer, "unroll", True))
        write(Interface(interface.model, options), path)


def _recurrent(model: keras.Model) -> list[keras.layers.RNN]:
    return [layer for _, layer in layer_paths(model) if isinstance(layer, keras.layers.RNN)]
