"""Monte-Carlo dropout: the mean and the spread of what a model predicts while its dropout layers drop."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _backend
from tf_reg._backend import Tensor
from tf_reg.layers.dropout_rate import MovableRate, is_integer
from tf_reg.uncertainty import dropout_layers, two_stages

DRAWS = 1 << 16  # that a seed generator may make in one pass
VALUES = 1 << 23  # of the largest tensor, for all samples that go through the model together
UNKNOWN_ROWS = 64  # of samples and examples together, where the largest tensor isn't known


class Prediction(NamedTuple):
    """What `mc_predict` returns.

    Attributes:
        mean: The mean of the draws, as NumPy arrays in the structure of the model's output.
        spread: Their standard deviation (the root of the mean square deviation), likewise.
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
) -> Prediction:
    """Predict with dropout switched on, many times: the mean and the spread of the predictions.

    `mean = sum_s f(x, masks_s) / samples` and `spread = sqrt(sum_s (f(x, masks_s) - mean)^2 / samples)`: an average
    over the networks that dropout trains, and how far they are apart. Use it where a model must say how sure it is: a
    mean of probabilities is less over-confident than one pass. Gal & Ghahramani 2016, "Dropout as a Bayesian
    approximation".

    Dropout layers behave as in training, all other layers as in inference: batch normalisation uses its moving
    averages, random augmentation is off. Nothing of the model changes, its seed generators included. The model,
    functional, sequential, nested or subclassed, is run by one compiled function; it is compiled once for a shape of
    the input, and again when a rate of Keras' own layers has changed. Where the model is a graph of layers, what stands
    before its first dropout layer is computed once, not `samples` times.

    Dropout layers are Keras' `Dropout`, `SpatialDropout`, `GaussianDropout`, `AlphaDropout`, attention layers with
    `dropout`, recurrent layers with `dropout` or `recurrent_dropout`, and tf_reg's. A layer that draws once for a
    whole batch (`DropConnect`, a `noise_shape` that starts with 1) does so in each of the samples.

    Args:
        model: A Keras model; it needn't be compiled.
        x: Arrays or tensors of shape `(examples, ...)`, in a list or dict if the model takes several. Examples are
            expected to have no influence on each other, as in `predict`.
        samples: How many draws, a positive integer.
        batch_size: How many examples at once, a positive integer.
        seed: A non-negative integer for the same draws in each call (with the same shapes and batch size), or None.
        layers: The layers that draw, instead of all dropout layers: of your own, or some of them; one or several. Each
            has a `call` that takes `training`, and it or a layer inside of it has a `keras.random.SeedGenerator` to
            draw from. They run as in training, with all that is inside of them.

    Returns:
        `mean` and `spread`, each as NumPy arrays in the structure of the model's output, of shape `(examples, ...)`.

    Raises:
        ValueError: Arguments out of their ranges, a model without dropout layers, or with dropout layers that it
            doesn't call in inference; `layers` that can't draw.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)])
        >>> mean, spread = tf_reg.mc_predict(model, np.ones((10, 4)), samples=100, seed=0)
        >>> mean.shape, spread.shape
        ((10, 3), (10, 3))
    """
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        if not (is_integer(value) and value > 0):
            raise ValueError(f"{name} must be a positive integer. Received: {name}={value!r}.")
    if seed is not None and not (is_integer(seed) and seed >= 0):
        raise ValueError(f"seed must be a non-negative integer or None. Received: seed={seed!r}.")
    examples = _examples(x)
    if not model.built:
        model(tree.map_structure(lambda array: array[:1], x))
    two_stages.check_inputs(model, x)
    predictor = _predictor(model, _checked(model, layers), int(samples))
    seed = random.randrange(1 << 31) if seed is None else int(seed)
    batches = _batches(x, examples, int(batch_size))
    results = [predictor(batch, np.random.default_rng((seed, number))) for number, batch in enumerate(batches)]
    return Prediction(*tree.map_structure(lambda *parts: _joined(parts)[:examples], *results))


def _examples(x: Any) -> int:
    """How many examples there are."""
    shapes = [getattr(array, "shape", None) for array in tree.flatten(x)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            "x is an array of shape (examples, ...), or several of the same number of examples, one or more. Received: "
            f"{shapes if any(shapes) else type(x).__name__}. For a data set, call mc_predict for each batch: it "
            "compiles once."
        )
    return counts.pop()


def _batches(x: Any, examples: int, size: int) -> Iterator[Any]:
    """Batches of one size; the last one starts again from the first example, rather than being smaller."""
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
    """The compiled function, kept at the model until a layer, a variable or a fixed rate changes."""
    fixed = [dropout_layers.rates(layer) for layer in chosen if not isinstance(layer, MovableRate)]
    state = ([*map(id, model._flatten_layers())], [*map(id, model.variables)], fixed)
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
        self._called: set[int] = set()
        self._function = _backend.compile(self._moments, reads=model.variables)

    def __call__(self, x: Any, generator: np.random.Generator) -> Any:
        """Mean and spread of the model's output for a batch."""
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
        with dropout_layers.drawing(self._chosen) as self._called:
            values = [
                (v, ops.convert_to_tensor(v.value)) for v in self._model.variables
            ]  # of the scope around this one
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
                """The outputs of some samples, each of shape `(times, batch, ...)`."""
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
        """What the seed generators have in the pass of this number: never twice the same."""
        count = ops.cast(number * DRAWS, seeds.dtype)
        return [(state, ops.cast(ops.stack([seeds[i], count]), state.dtype)) for i, state in enumerate(self._states)]

    def _at_once(self, batch: int) -> int:
        """How many samples of a batch go through the second stage together."""
        stages = self._stages
        if not (stages.batch_is_free and all(map(dropout_layers.draws_for_each_example, self._chosen))):
            return 1
        rows = UNKNOWN_ROWS if stages.widest is None else VALUES // stages.widest
        return max(1, min(self._samples, rows // batch))


def _moments_of(outputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Over the samples, the mean and the sum of the squared distances from it."""
    means = [ops.mean(y, axis=0) for y in outputs]
    return means, [ops.sum(ops.square(y - mean), axis=0) for y, mean in zip(outputs, means, strict=True)]


def _merged(old: Any, done: Tensor, new: Any, count: int) -> Any:
    """The moments of `done` samples and of `count` more (Chan, Golub & LeVeque 1979)."""
    means, squares = [], []
    for mean, square, other_mean, other_square in zip(*old, *new, strict=True):
        n, gap = ops.cast(done, mean.dtype), other_mean - mean
        means.append(mean + gap * (count / (n + count)))
        squares.append(square + other_square + ops.square(gap) * (n * count / (n + count)))
    return means, squares


def _wide(y: Tensor) -> Tensor:
    return ops.cast(y, keras.backend.result_type(y.dtype, "float32"))


def _checked(model: keras.Model, layers: keras.Layer | Sequence[keras.Layer] | None) -> list[keras.Layer]:
    """The layers that draw."""
    every = model._flatten_layers()
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
    layers = [layers] if isinstance(layers, keras.Layer) else list(layers)
    if not layers:
        raise ValueError("layers must be one layer or several, or None for all dropout layers. Received: none.")
    for layer in layers:
        if not any(layer is known for known in every) or not getattr(layer, "_call_has_training_arg", False):
            raise ValueError(f"layers must be layers of the model whose call takes `training`. Received: {layer!r}.")
        if not dropout_layers.can_draw(layer):
            raise ValueError(
                f"layers must be layers that draw, or all samples are the same. Received: {layer!r}, in which nothing "
                "has both a seed generator and a rate above 0. A layer of your own draws from an attribute that it "
                "makes: self.seed_generator = keras.random.SeedGenerator()."
            )
    return layers
