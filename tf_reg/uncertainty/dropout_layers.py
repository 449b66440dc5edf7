"""Which layers of a model drop values at random in training, and how to make them do so in inference."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import layers

from tf_reg import _keras
from tf_reg.layers.drop_block import DropBlock2D
from tf_reg.layers.drop_connect import DropConnect
from tf_reg.layers.stochastic_depth import StochasticDepth

RATED = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout, StochasticDepth, DropBlock2D, DropConnect)
ATTENTION = (layers.Attention, layers.AdditiveAttention)
_SPATIAL = (layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)
_PER_EXAMPLE = (*RATED[:-1], *_SPATIAL, *ATTENTION)
_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN, layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


def dropout_layers(model: keras.Layer) -> list[keras.Layer]:
    """List the layers of a model that drop values in training. A layer whose rates are zero isn't one of them.

    They are Keras' dropout layers and attention layers, recurrent layers with `dropout` or `recurrent_dropout`,
    recurrent cells with them in a plain `RNN`, tf_reg's dropout layers, and subclasses of all these.

    Args:
        model: A model or a layer.
    """
    every = _keras.sublayers(model)
    cells = {id(layer.cell) for layer in every if isinstance(layer, _RECURRENT)}
    return [layer for layer in every if id(layer) not in cells and any(rate > 0 for rate in rates(layer))]


def rates(layer: keras.Layer) -> tuple[float, ...]:
    """Return the dropout rates of a layer. The result is empty for a layer of a kind that drops nothing.

    Args:
        layer: Any layer.
    """
    if isinstance(layer, RATED):
        return (layer.rate,)
    if isinstance(layer, ATTENTION):
        return (layer.dropout,)
    if isinstance(layer, _RECURRENT) or hasattr(layer, "get_dropout_mask"):
        return (layer.dropout, layer.recurrent_dropout)
    return ()


def takes_training(layer: keras.Layer) -> bool:
    """Return whether the `call` of a layer has an argument `training`.

    Args:
        layer: Any layer.
    """
    return "training" in inspect.signature(layer.call).parameters


def can_draw(layer: keras.Layer) -> bool:
    """Return whether a layer, or a layer inside it, has a seed generator and no rates, or a rate above zero.

    Args:
        layer: Any layer.
    """
    return any(_own_seed_states(part) and (not rates(part) or any(rates(part))) for part in _keras.sublayers(layer))


def draws_for_each_example(layer: keras.Layer) -> bool:
    """Return whether a layer is known to draw separately for each example of a batch.

    Args:
        layer: Any layer.
    """
    if isinstance(layer, (layers.Dropout, layers.AlphaDropout)) and type(layer) in _PER_EXAMPLE:
        return not layer.noise_shape or layer.noise_shape[0] is None
    return type(layer) in (*_PER_EXAMPLE, *_RECURRENT)


def memories(model: keras.Layer) -> dict[str, list[keras.Variable]]:
    """Find the states of the stateful recurrent layers of a model, by the layers' names.

    `variables` doesn't contain them. The first axis of each is that of the examples.

    Args:
        model: A built model or layer.
    """
    recurrent = [part for part in _keras.sublayers(model) if isinstance(part, layers.RNN) and part.stateful]
    return {part.name: keras.tree.flatten(part.states) for part in recurrent if part.states is not None}


@contextlib.contextmanager
def drawing(chosen: Sequence[keras.Layer]) -> Iterator[set[int]]:
    """Make layers, and the layers inside them, run as in training, whatever `training` they are called with.

    Use it while a function is traced. The layers get `training=True` in their `call`, not in their `__call__`: Keras
    hands a `training` given to `__call__` on to the layers that are called next and that take none of their own.

    Args:
        chosen: The layers.

    Yields:
        The ids of the layers that have been called so far.
    """
    called: set[int] = set()
    inner = {id(part): part for layer in chosen for part in _keras.sublayers(layer)}
    forced = [part for part in inner.values() if takes_training(part)]
    for layer in forced:
        layer.__dict__["call"] = functools.partial(_call_in_training, layer, called)
    try:
        yield called
    finally:
        for layer in forced:
            del layer.__dict__["call"]


def _call_in_training(layer: keras.Layer, called: set[int], *args: Any, **kwargs: Any) -> Any:
    called.add(id(layer))
    return type(layer).call(layer, *args, **{**kwargs, "training": True})


def seed_states(layer: keras.Layer) -> list[keras.Variable]:
    """Return the states of all seed generators of a layer and of the layers inside it, each once.

    `variables` contains them and `weights` doesn't.

    Args:
        layer: A layer or a model.
    """
    others = {id(variable) for variable in (*layer.weights, *layer.metrics_variables)}
    return list({id(variable): variable for variable in layer.variables if id(variable) not in others}.values())


def _own_seed_states(layer: keras.Layer) -> list[keras.Variable]:
    """Return the states of the seed generators that are attributes of a layer itself."""
    inner = {id(state) for part in _keras.direct_sublayers(layer) for state in seed_states(part)}
    return [state for state in seed_states(layer) if id(state) not in inner]
