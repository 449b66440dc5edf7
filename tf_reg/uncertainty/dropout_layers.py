"""Which layers of a model drop at random in training, and how to make these, and nothing else, drop in inference."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import layers

from tf_reg.layers.drop_block import DropBlock2D
from tf_reg.layers.drop_connect import DropConnect
from tf_reg.layers.stochastic_depth import StochasticDepth

RATED = (layers.Dropout, layers.GaussianDropout, layers.AlphaDropout, StochasticDepth, DropBlock2D, DropConnect)
ATTENTION = (layers.Attention, layers.AdditiveAttention)
_SPATIAL = (layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)
_PER_EXAMPLE = (*RATED[:-1], *_SPATIAL, *ATTENTION)
_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN, layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


def dropout_layers(model: keras.Layer) -> list[keras.Layer]:
    """List the layers of a model that drop something in training, at rates that aren't zero.

    These are Keras' dropout layers and attention layers, recurrent layers (or recurrent cells in a plain `RNN`) with
    `dropout` or `recurrent_dropout`, tf_reg's layers, and what is made of these by subclassing.
    """
    every = model._flatten_layers()
    cells = {id(layer.cell) for layer in every if isinstance(layer, _RECURRENT)}
    return [layer for layer in every if id(layer) not in cells and any(rate > 0 for rate in rates(layer))]


def rates(layer: keras.Layer) -> tuple[float, ...]:
    """The rates at which a layer drops something; empty where it isn't of a kind that does."""
    if isinstance(layer, RATED):
        return (layer.rate,)
    if isinstance(layer, ATTENTION):
        return (layer.dropout,)
    if isinstance(layer, _RECURRENT) or hasattr(layer, "get_dropout_mask"):
        return (layer.dropout, layer.recurrent_dropout)
    return ()


def can_draw(layer: keras.Layer) -> bool:
    """Whether a layer or one inside of it draws at a rate above zero, as far as its seed generators and rates say."""
    return any(part._seed_generators and (not rates(part) or any(rates(part))) for part in layer._flatten_layers())


def draws_for_each_example(layer: keras.Layer) -> bool:
    """Whether it is known that a layer draws for each example of a batch anew."""
    if isinstance(layer, (layers.Dropout, layers.AlphaDropout)) and type(layer) in _PER_EXAMPLE:
        return not layer.noise_shape or layer.noise_shape[0] is None
    return type(layer) in (*_PER_EXAMPLE, *_RECURRENT)


@contextlib.contextmanager
def drawing(chosen: Sequence[keras.Layer]) -> Iterator[set[int]]:
    """Make these layers and those inside of them behave as in training, whatever `training` they are called with.

    To be used while a function is traced. Yields the ids of the layers that have been called so far.
    """
    called: set[int] = set()
    inner = {id(part): part for layer in chosen for part in layer._flatten_layers()}
    forced = [part for part in inner.values() if part._call_has_training_arg]
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


def seed_states(model: keras.Layer) -> list[keras.Variable]:
    """The states of all seed generators of a model's layers, each once."""
    states = [generator.state for layer in model._flatten_layers() for generator in layer._seed_generators]
    return list({id(state): state for state in states}.values())
