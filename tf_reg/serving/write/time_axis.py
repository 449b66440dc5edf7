"""`TimeDistributed` as a server needs it, for sequences of any length."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def folded(layer: keras.layers.TimeDistributed) -> Callable[..., Any]:
    """Return a `call` for the layer that takes all steps of all sequences at once, as one bigger batch.

    Keras loops over an axis of a known length, which stays so. Over a free one it lets TensorFlow vectorise the loop,
    and in a graph with a free batch axis too what comes out has wrong shapes. In inference a layer treats the examples
    of its batch independently, so a batch of `batch * time` gives the same; the verification compares it with the
    layer's own answers.

    Args:
        layer: A layer of exactly this class, or with its `call`.
    """
    call, inner = layer.call, layer.layer
    takes = inspect.signature(inner.call).parameters

    @functools.wraps(call)
    def fold(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if inputs.shape[1] is not None:
            return call(inputs, training=training, mask=mask)
        batch, time = ops.shape(inputs)[:2]
        options = {"training": training} if "training" in takes else {}
        if mask is not None and "mask" in takes:
            options["mask"] = _merged(mask)
        outputs = inner.call(_merged(inputs), **options)
        return ops.reshape(outputs, (batch, time, *ops.shape(outputs)[1:]))

    return fold


def _merged(tensor: Any) -> Any:
    """Make `(batch * time, ...)` of `(batch, time, ...)`."""
    return ops.reshape(tensor, (-1, *ops.shape(tensor)[2:]))
