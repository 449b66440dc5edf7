"""How long a network takes for a batch: called as a compiled function, and as a SavedModel."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tf_reg
from benchmarks import timing
from tf_reg.serving import saved_graph
from tf_reg.serving.verify import c_api


def seconds(model: keras.Model, batch: int) -> Callable[[], float]:
    """Return a function that calls a network once, in inference, and returns the seconds that it took.

    Args:
        model: A network with one input.
        batch: The number of examples, which are random.
    """
    examples = tf.constant(_examples(model, batch))
    call = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return functools.partial(_timed, lambda: [one.numpy() for one in keras.tree.flatten(call(examples))])


def table(models: Mapping[str, keras.Model], batch: int, repeats: int) -> timing.Times:
    """Return the seconds of each network for a batch, taken in turn.

    Args:
        models: The networks by name.
        batch: The number of examples.
        repeats: How many rounds.
    """
    return timing.interleave({name: seconds(model, batch) for name, model in models.items()}, repeats)


def served(models: Mapping[str, keras.Model], batch: int, repeats: int) -> timing.Times:
    """Return the seconds of each network's SavedModel for a batch, called through TensorFlow's C API in turn.

    Args:
        models: The networks by name.
        batch: The number of examples.
        repeats: How many rounds.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as open_ones:
        arms = {}
        for name, model in models.items():
            examples = _examples(model, 2)
            tf_reg.export(model, Path(folder) / name, output_name="outputs", examples=examples)  # probabilities or not
            signature = saved_graph.signatures(saved_graph.load(Path(folder) / name / "1"))["serving_default"]
            [given] = signature.inputs.values()
            job = c_api.Run({given.name: _examples(model, batch)}, [one.name for one in signature.outputs.values()])
            session = open_ones.enter_context(c_api.Session(Path(folder) / name / "1"))
            arms[name] = functools.partial(_timed, functools.partial(session.run, job))
        return timing.interleave(arms, repeats)


def _examples(model: keras.Model, batch: int) -> np.ndarray:
    shape = (batch, *model.inputs[0].shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(model.inputs[0].dtype)


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
