"""What layers do beyond inference even with `training=False`, taken out while a model is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from tf_reg._walk import layer_paths
from tf_reg.serving.write import grouped, time_axis
from tf_reg.serving.write.watch import replaced_method

_QUIET = {"dropout": 0.0, "recurrent_dropout": 0.0}
_DRAWS = "get_random_transformation"  # of Keras' augmentation layers


@contextlib.contextmanager
def inference(model: keras.Model) -> Iterator[None]:
    """Let a model do what a server can run, and nothing else, within a `with` block.

    - Recurrent cells with dropout draw masks and write the seed's state whether they use them or not.
    - Some of Keras' augmentation layers draw their random numbers too, and ignore them.
    - On a machine with a GPU recurrent layers would be written as cuDNN kernels, which run nowhere else.
    - `TimeDistributed` over a free axis would be vectorised to a graph that computes something else.
    - Convolutions in groups would be written as a function for XLA, which the server has switched off.

    Args:
        model: A built model.
    """
    with contextlib.ExitStack() as stack:
        for _, layer in layer_paths(model):
            for name, value in _settings(layer).items():
                stack.enter_context(replaced(layer, name, value))
            if _DRAWS in dir(layer) and type(layer).__module__.startswith("keras."):
                stack.enter_context(replaced_method(layer, _DRAWS, _drawn_in_training(getattr(layer, _DRAWS))))
            if grouped.is_grouped(layer):
                stack.enter_context(replaced_method(layer, "call", grouped.called(layer)))
            if type(layer).call is keras.layers.TimeDistributed.call:
                stack.enter_context(replaced_method(layer, "call", time_axis.folded(layer)))
        yield


@contextlib.contextmanager
def replaced(thing: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute another value within a `with` block."""
    before = getattr(thing, name)
    setattr(thing, name, value)
    try:
        yield
    finally:
        setattr(thing, name, before)


def _settings(layer: keras.Layer) -> dict[str, Any]:
    is_cell = all(isinstance(vars(layer).get(name), float | int) for name in _QUIET)
    return (_QUIET if is_cell else {}) | ({"use_cudnn": False} if "use_cudnn" in vars(layer) else {})


def _drawn_in_training(draw: Any) -> Any:
    def drawn(data: Any, training: Any = True, **options: Any) -> Any:
        return draw(data, training=training, **options) if training else None

    return drawn
