"""How long a network takes for a batch, called as a compiled function."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing


def seconds(model: keras.Model, batch: int, seed: int = 0) -> Callable[[], float]:
    """Return a function that calls a network once, in inference, and returns the seconds that it took.

    Args:
        model: A network with one input.
        batch: The number of examples, which are random.
        seed: Their seed.
    """
    shape = (batch, *model.inputs[0].shape[1:])
    examples = tf.constant(np.random.default_rng(seed).normal(size=shape), model.inputs[0].dtype)
    call = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def timed() -> float:
        start = time.perf_counter()
        result = call(examples)
        for one in keras.tree.flatten(result):
            one.numpy()
        return time.perf_counter() - start

    return timed


def table(models: Mapping[str, keras.Model], batch: int, repeats: int) -> timing.Times:
    """Return the seconds of each network for a batch, taken in turn.

    Args:
        models: The networks by name.
        batch: The number of examples.
        repeats: How many rounds.
    """
    return timing.interleave({name: seconds(model, batch) for name, model in models.items()}, repeats)
