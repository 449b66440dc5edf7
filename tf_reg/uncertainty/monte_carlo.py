"""Monte-Carlo dropout: the mean and the standard deviation of predictions with dropout switched on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _backend, _keras
from tf_reg._backend import Tensor
from tf_reg._checks import is_integer, shown
from tf_reg.layers.dropout_rate import MovableRate
from tf_reg.uncertainty import dropout_layers, two_stages

DRAWS = 1 << 16  # how many draws a seed generator may make in one pass
VALUES = 1 << 23  # how many values the largest tensor may have, for all samples that go through the model together
UNKNOWN_ROWS = 64  # how many rows (samples times examples) go through together where the largest tensor isn't known


class Prediction(NamedTuple):
    """What `mc_predict` returns.

    Attributes:
        mean: The mean of the samples, as NumPy arrays in the structure of the model's output.
        spread: Their standard deviation (divided by `samples`, not by `samples - 1`), in the same structure.
    """

    mean: Any
    spread: Any


def mc_predict(
    model: keras.Model,
    x: Any,
    samples: int = 50,
    batch_size: int = 32,
    seed: int | None = None,
    layers: keras.Layer | Sequence[keras.Layer] | None = None,
    same_masks: bool = False,
) -> Prediction:
    """Predict many times with dropout switched on. Return the mean and the standard deviation of the predictions.

    `mean = sum_s f(x, masks_s) / samples` and `spread = sqrt(sum_s (f(x, masks_s) - mean)^2 / samples)`. The mean
    averages over the networks that dropout trains. The spread says how far apart these networks are. Use it where a
    model must say how sure it is: a mean of probabilities is less over-confident than one pass. Gal & Ghahramani 2016,
    "Dropout as a Bayesian approximation".

    Dropout layers run as in training. All other layers run as in inference: batch normalisation uses its moving
    averages, random augmentation is off. No weight and no seed generator of the model changes. The model can be
    functional, sequential, nested or subclassed. One compiled function runs it. It is compiled once for each shape of
    the input, and again when a rate of Keras' own layers has changed. In a functional or sequential model, what comes
    before the first dropout layer is computed once, not `samples` times.

    Dropout layers are Keras' `Dropout`, `SpatialDropout`, `GaussianDropout`, `AlphaDropout`, attention layers with
    `dropout`, recurrent layers with `dropout` or `recurrent_dropout`, and tf_reg's dropout layers. A layer that draws
    one mask for a whole batch (`DropConnect`, a `noise_shape` that starts with 1) draws one in each sample.

    Args:
        model: A Keras model; it needn't be compiled.
        x: Arrays or tensors of shape `(examples, ...)`, in a list or dict if the model takes several. The prediction
            for one example must not depend on the other examples, as in `predict`. For stateful recurrent layers: one
            batch. Every sample starts from their states, which stay as they are; a call of the model moves them on.
        samples: The number of predictions, a positive integer.
        batch_size: The number of examples in a batch, a positive integer.
        seed: A non-negative integer for the same random draws in each call (with the same shapes and batch size), or
            None.
        layers: One layer or several that run as in training instead of all dropout layers: some of these, or layers of
            your own. The `call` of each takes `training`. Each, or a layer inside it, has a
            `keras.random.SeedGenerator` and draws from it. The layers inside run as in training too.
        same_masks: Whether each sample is one network: the same masks for all examples. Two equal examples then have
            equal predictions, and differences between examples come from the examples alone. Each example is a batch
            of its own, so it takes longer. By default each example has masks of its own.

    Returns:
        `mean` and `spread`, each as NumPy arrays in the structure of the model's output, of shape `(examples, ...)`.

    Raises:
        ValueError: An argument is out of its range. The model has no dropout layers, or has some that it doesn't call
            in inference. `layers` has a layer that can't draw.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
        >>> mean, spread = tf_reg.mc_predict(model, np.ones((10, 4)), samples=100, seed=0)
        >>> mean.shape, spread.shape
        ((10, 3), (10, 3))
    """
    if not isinstance(model, keras.Layer):
        raise ValueError(f"model must be a Keras model. Received: model={shown(model)}.")
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        if not (is_integer(value) and 0 < value < 1 << 31):
            raise ValueError(f"{name} must be a positive integer. Received: {name}={shown(value)}.")
    if seed is not None and not (is_integer(seed) and seed >= 0):
        raise ValueError(f"seed must be a non-negative integer or None. Received: seed={shown(seed)}.")
    if not isinstance(same_masks, bool):
        raise ValueError(f"same_masks must be True or False. Received: same_masks={shown(same_masks)}.")
    examples = _examples(x)
    if not model.built:
        first = min(examples, int(batch_size))  # the batch that stateful layers are built for
        model(tree.map_structure(lambda array: array[:first], x))
    chosen = _checked(model, layers)
    two_stages.check_inputs(model, x)
    batch_size = 1 if same_masks else int(batch_size)
    _check_states(model, examples, batch_size)
    predictor = _predictor(model, chosen, int(samples))
    seed = random.randrange(1 << 31) if seed is None else int(seed)
    numbered = enumerate(_batches(x, examples, batch_size))
    results = [predictor(batch, np.random.default_rng((seed, 0 if same_masks else n))) for n, batch in numbered]
    return Prediction(*tree.map_structure(lambda *parts: _joined(parts)[:examples], *results))


def _examples(x: Any) -> int:
    """Return the number of examples."""
    shapes = [getattr(array, "shape", None) for array in tree.flatten(x)]
    shapes = [tuple(shape) if shape is not None else None for shape in shapes]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "x is an array of shape (examples, ...), or several of the same number of examples, one or more. Received: "
            f"{shapes if any(shapes) else type(x).__name__}. For a data set, call mc_predict for each batch: it "
            "compiles once."
        )
    return counts.pop()


def _check_states(model: keras.Model, examples: int, batch_size: int) -> None:
    """Raise `ValueError` for another number of examples than the states of recurrent layers are for."""
    for layer, states in dropout_layers.memories(model).items():
        size = states[0].shape[0]
        if examples != size or batch_size < size:
            raise ValueError(
                f"x must be one batch of {size} examples: {layer!r} is stateful and has a state for each of them. "
                f"Received: {examples} examples with batch_size={batch_size}. Call mc_predict for each batch, and "
                "the model after it, which moves the states on."
            )


def _batches(x: Any, examples: int, size: int) -> Iterator[Any]:
    """Yield batches of one size. The last batch is filled up with the first examples."""
    if examples <= size:
        yield x
        return
    for start in range(0, examples, size):
        yield tree.map_structure(lambda array: _rows(array, start, size), x)  # noqa: B023


def _rows(array: Any, start: int, size: int) -> Any:
    part = array[start : start + size]
    missing = size - part.shape[0]
    if not missing:
        return part
    return (np if isinstance(part, np.ndarray) else ops).concatenate([part, array[:missing]])


def _joined(parts: Sequence[Tensor]) -> np.ndarray:
    arrays = [ops.convert_to_numpy(part) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _predictor(model: keras.Model, chosen: list[keras.Layer], samples: int) -> _Predictor:
    """Return the compiled function. The model keeps it until a layer, a variable or a rate of Keras' layers changes."""
    fixed = [dropout_layers.rates(layer) for layer in chosen if not isinstance(layer, MovableRate)]
    state = ([*map(id, _keras.sublayers(model))], [*map(id, model.variables)], fixed)
    kept = model.__dict__.get("_tf_reg_predictors")
    if kept is None or kept[0] != state:
        kept = model.__dict__["_tf_reg_predictors"] = (state, {})
    key = (samples, *map(id, chosen))
    if key not in kept[1]:
        kept[1][key] = _Predictor(model, chosen, samples)
    return kept[1][key]


class _Predictor:
    """The compiled function of one model, one choice of layers and one number of samples."""

    def __init__(self, model: keras.Model, chosen: Sequence[keras.Layer], samples: int) -> None:
        self._stages: two_stages.Graph | two_stages.Whole = two_stages.staged(model, chosen)
        self._model, self._chosen, self._samples = model, chosen, samples
        self._states = dropout_layers.seed_states(model)
        self._variables = [*model.variables, *(v for states in dropout_layers.memories(model).values() for v in states)]
        self._called: set[int] = set()
        self._function = _backend.compile(self._moments, reads=self._variables)

    def __call__(self, x: Any, generator: np.random.Generator) -> Any:
        """Return the mean and the standard deviation of the model's output for a batch."""
        seeds = generator.integers(1, 1 << 31, size=len(self._states)).astype("int32")
        with _backend.global_seed(int(generator.integers(1 << 31))):
            moments = self._function(tree.map_structure(ops.convert_to_tensor, x), ops.convert_to_tensor(seeds))
        missed = [layer.name for layer in self._chosen if id(layer) not in self._called]
        if missed:
            raise ValueError(
                f"mc_predict reaches every dropout layer with `training=False`. The model doesn't call {missed} "
                "then, as in `if training: x = self.dropout(x)`. Give the layers that should draw as `layers`: the "
                "layer that holds such a condition, or all dropout layers but those that the model doesn't need."
            )
        return moments

    def _moments(self, x: Any, seeds: Tensor) -> tuple[Any, Any]:
        """Return the mean and the standard deviation, each in the structure of the model's output."""
        with dropout_layers.drawing(self._chosen) as self._called:
            # The values come from the scope around this one, where there is one.
            values = [(v, ops.convert_to_tensor(v.value)) for v in self._variables]
            with keras.StatelessScope(values):
                tensors = self._stages.before(x)
                if two_stages.masked(tensors):
                    self._stages = two_stages.Whole(self._model)
                    tensors = self._stages.before(x)
            batch = tree.flatten(x)[0].shape[0]
            at_once = self._at_once(batch)
            loops = (self._samples - 1) // at_once
            first = self._samples - loops * at_once

            def draw(number: Any, times: int) -> list[Tensor]:
                """Return the outputs of `times` samples, each of shape `(times, batch, ...)`."""
                with keras.StatelessScope(values + self._seeded(seeds, number)):
                    outputs = self._stages.after(two_stages.repeated(tensors, times))
                self._structure = outputs
                return [_wide(ops.reshape(y, (times, batch, *y.shape[1:]))) for y in tree.flatten(outputs)]

            def more(number: Any, moments: Any) -> Any:
                done = ops.cast(first + number * at_once, "float32")
                return _merged(moments, done, _moments_of(draw(number + 1, at_once)), at_once)

            means, squares = _moments_of(draw(0, first))
            if loops:
                means, squares = _backend.loop(loops, more, (means, squares))
        spreads = [ops.sqrt(square / self._samples) for square in squares]
        return tree.pack_sequence_as(self._structure, means), tree.pack_sequence_as(self._structure, spreads)

    def _seeded(self, seeds: Tensor, number: Any) -> list[tuple[keras.Variable, Tensor]]:
        """Return a state for each seed generator in the pass of this number. No two passes have the same states."""
        count = ops.cast(number * DRAWS, seeds.dtype)
        return [(state, ops.cast(ops.stack([seeds[i], count]), state.dtype)) for i, state in enumerate(self._states)]

    def _at_once(self, batch: int) -> int:
        """Return how many samples of a batch go through the second stage together."""
        stages = self._stages
        if not (stages.batch_is_free and all(map(dropout_layers.draws_for_each_example, self._chosen))):
            return 1
        rows = UNKNOWN_ROWS if stages.widest is None else VALUES // stages.widest
        return max(1, min(self._samples, rows // batch))


def _moments_of(outputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the mean over the samples and the sum of the squared distances from it."""
    means = [ops.mean(y, axis=0) for y in outputs]
    return means, [ops.sum(ops.square(y - mean), axis=0) for y, mean in zip(outputs, means, strict=True)]


def _merged(old: Any, done: Tensor, new: Any, count: int) -> Any:
    """Return the moments of `done` old samples and `count` new ones together (Chan, Golub & LeVeque 1979)."""
    means, squares = [], []
    for mean, square, other_mean, other_square in zip(*old, *new, strict=True):
        n, gap = ops.cast(done, mean.dtype), other_mean - mean
        means.append(mean + gap * (count / (n + count)))
        squares.append(square + other_square + ops.square(gap) * (n * count / (n + count)))
    return means, squares


def _wide(y: Tensor) -> Tensor:
    return ops.cast(y, keras.backend.result_type(y.dtype, "float32"))


def _checked(model: keras.Model, layers: keras.Layer | Sequence[keras.Layer] | None) -> list[keras.Layer]:
    """Return the layers that run as in training, or raise `ValueError`."""
    every = _keras.sublayers(model)
    if layers is None:
        found = dropout_layers.dropout_layers(model)
        if not found:
            kinds = sorted({type(layer).__name__ for layer in every})
            raise ValueError(
                "mc_predict needs a model with dropout layers: without, all samples are the same. Received a model of "
                f"{', '.join(kinds)}, without dropout at a rate above 0. If a layer of your own drops, give it as "
                "`layers`; for a plain prediction: model.predict(x)."
            )
        return found
    layers = [layers] if isinstance(layers, keras.Layer) else layers
    if not isinstance(layers, (list, tuple)):
        raise ValueError(f"layers must be one layer or several, or None. Received: layers={shown(layers)}.")
    if not layers:
        raise ValueError("layers must be one layer or several, or None for all dropout layers. Received: none.")
    for layer in layers:
        known = isinstance(layer, keras.Layer) and any(layer is one for one in every)
        if not known or not dropout_layers.takes_training(layer):
            raise ValueError(
                f"layers must be layers of the model whose call takes `training`. Received: {shown(layer)}."
            )
        if not dropout_layers.can_draw(layer):
            raise ValueError(
                f"layers must be layers that draw, or all samples are the same. Received: {layer!r}, in which nothing "
                "has both a seed generator and a rate above 0. A layer of your own draws from an attribute that it "
                "makes: self.seed_generator = keras.random.SeedGenerator()."
            )
    return list(layers)
