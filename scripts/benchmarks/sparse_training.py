"""One training of `benchmark.py sparse`, from the images to the exported model and its numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

import tf_reg
from benchmarks.sparse_recipes import NETWORKS, PENALTIES, Recipe
from benchmarks.sparse_teacher import answers, loss, wide
from tf_reg.recipes.data.sources import Split
from tf_reg.recipes.data.tfds_source import open_tfds
from tf_reg_cli.errors import UserError

HELD_OUT = 10_000  # of the training images, for choices
Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


@dataclasses.dataclass(frozen=True)
class Images:
    """Images `(size, 28, 28, 1)`, uint8, and labels `(size,)`, to train on and to measure on."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def load(dataset: str, data_dir: str | None, validation: bool) -> Images:
    """Load a data set.

    Args:
        dataset: Its name in TensorFlow Datasets.
        data_dir: Where TensorFlow Datasets keeps its sets.
        validation: Whether to measure on the last 10,000 training images, and not on the test images.
    """
    source = open_tfds(dataset, data_dir, None)
    train = _arrays(source.train)
    if not validation:
        if source.test is None:
            raise UserError(f"{dataset} has no test images. Give --validation.")
        return Images(train, _arrays(source.test))
    order = np.random.default_rng(0).permutation(len(train[1]))
    kept, held = order[HELD_OUT:], order[:HELD_OUT]
    return Images((train[0][kept], train[1][kept]), (train[0][held], train[1][held]))


def _arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    records = split.read(split.indices).map(lambda record, label: (split.decode(record), label))
    images, labels = zip(*records.batch(1000).as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


class Trained(NamedTuple):
    """A network that was trained.

    Args:
        model: It, at the end.
        weights: How many weights it had at the start, biases not counted.
        multiply_adds: How many it had at the start; None where they aren't known.
        channels: How many channels it had at the start, for each tuple of layers that make them together.
    """

    model: keras.Model
    weights: int
    multiply_adds: int | None
    channels: dict[tuple[str, ...], int]


def train(recipe: Recipe, images: Images, seed: int, verbose: int = 0, dense: keras.Model | None = None) -> Trained:
    """Train a network.

    Args:
        recipe: How.
        images: The data.
        seed: Of the initial weights, the order of the images and their shifts.
        verbose: As in `fit`.
        dense: The dense network after its training, for a recipe that follows it.
    """
    taught = None if dense is None else answers(dense, recipe, images.train[0][: recipe.train_size])
    keras.utils.set_random_seed(seed)
    model = NETWORKS[recipe.network]()
    before = (tf_reg.sparsity(model).total.weights, _multiply_adds(model), _channels(model))
    if dense is not None and recipe.start == "dense":
        model.set_weights(dense.get_weights())
    if recipe.penalty is not None:
        tf_reg.regularize(model, PENALTIES[recipe.penalty](model, recipe.strength))
    batches = _batches(recipe, images, seed, taught if recipe.teacher else None)
    part = recipe.compacted or recipe.search
    twice = bool(recipe.compacted) or recipe.refit_rate is not None  # whether the refit has an optimizer of its own
    _compile(model, recipe, _rate(recipe, len(batches), refit=not twice))
    for epoch in range(0, recipe.search, part):
        last = epoch + part >= recipe.search
        refit = recipe.refit if last and not twice else 0
        until = min(epoch + part, recipe.search) + refit
        callbacks = list(_callbacks(recipe, until, refit))
        model.fit(batches, initial_epoch=epoch, epochs=until, callbacks=callbacks, verbose=verbose, shuffle=False)
        if recipe.compacted:
            model = tf_reg.compact(model, _inputs(images)[:8], keep_optimizer=True)
    if twice and recipe.refit:
        tf_reg.remove_regularizers(model)
        plain = recipe.dense()
        rest = dataclasses.replace(plain, search=0, teacher=recipe.teacher, temperature=recipe.temperature)
        _compile(model, rest, _rate(rest, len(batches), refit=True), refit=True)
        model.fit(batches, epochs=rest.refit, verbose=verbose, shuffle=False)
    return Trained(model, *before)


def _compile(model: keras.Model, recipe: Recipe, rate: Rate, refit: bool = False) -> None:
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=recipe.decay or None)
    if recipe.penalty is not None:
        optimizer = tf_reg.Proximal(optimizer, penalty_factors=recipe.reweight is not None)
    metrics = [] if recipe.teacher else ["accuracy"]  # the answers are among the targets
    model.compile(optimizer, loss(recipe, refit), metrics=metrics, steps_per_execution=20)


def _callbacks(recipe: Recipe, until: int, refit: int) -> Any:
    if recipe.penalty is None:
        return
    if recipe.target is not None:
        exact = recipe.of in ("weights", "groups", "channels")
        yield tf_reg.TargetSparsity(recipe.target, of=recipe.of, refit_epochs=refit, exact=exact)
    elif recipe.warmup:
        yield tf_reg.StrengthSchedule(lambda epoch: min(1.0, (epoch + 1) / recipe.warmup))
    if recipe.target is None and refit:
        yield tf_reg.Refit(refit)
    if recipe.reweight is not None and recipe.reweight.get("start", 1) < until:
        yield tf_reg.Reweight(**recipe.reweight, end=recipe.search)


def _rate(recipe: Recipe, steps: int, refit: bool) -> Rate:
    """Constant in the search; in a refit that follows with the same optimizer, a cosine down to zero."""
    if not refit or not recipe.refit:
        return recipe.rate
    constant = recipe.search * steps
    warmup = {"warmup_target": recipe.rate, "warmup_steps": constant} if constant else {}  # to the rate it begins with
    first = recipe.rate if constant or recipe.refit_rate is None else recipe.refit_rate
    return keras.optimizers.schedules.CosineDecay(first, recipe.refit * steps, **warmup)


def _batches(recipe: Recipe, images: Images, seed: int, taught: np.ndarray | None = None) -> tf.data.Dataset:
    """Full batches of shifted images between 0 and 1, and of one-hot labels; then the answers of a teacher to them."""
    pixels, labels = images.train
    size = recipe.train_size or len(labels)
    far = recipe.shift
    padded = wide(pixels[:size], far)
    side = padded.shape[1]
    flat, targets = tf.constant(padded.ravel()), tf.one_hot(labels[:size], 10)
    soft = None if taught is None else tf.constant(taught.reshape(-1, 10))
    places = tf.constant((np.arange(28)[:, None] * side + np.arange(28)).ravel(), "int64")
    drawn = tf.random.Generator.from_seed(seed)

    def batch(numbers: Any) -> tuple[Any, Any]:
        down, right = (drawn.uniform(tf.shape(numbers), 0, 2 * far + 1, "int64") for _ in range(2))
        start = numbers * side * side + down * side + right
        found = tf.gather(flat, start[:, None] + places[None])
        wanted = tf.gather(targets, numbers)
        if soft is not None:
            wanted = tf.concat([wanted, tf.gather(soft, (down * (2 * far + 1) + right) * size + numbers)], axis=-1)
        return tf.reshape(tf.cast(found, "float32") / 255, (-1, 28, 28, 1)), wanted

    order = tf.data.Dataset.range(size).shuffle(size, seed=seed, reshuffle_each_iteration=True)
    options = tf.data.Options()  # rewriting the pipeline's graph would copy the images into it
    options.experimental_optimization.apply_default_optimizations = False
    return order.batch(recipe.batch_size, drop_remainder=True).map(batch).prefetch(4).with_options(options)


def result(
    recipe: Recipe, images: Images, seed: int, folder: Path, dense_folder: Path, verbose: int = 0
) -> dict[str, Any]:
    """Return the numbers of one training. A training that is in its folder already isn't repeated.

    If the recipe is paired, the dense network of the same settings is trained too, with the same seed. The sparse one
    is compacted and exported; the error, the parameters and the multiply-adds are those of the exported model.

    Args:
        recipe: How to train.
        images: The data.
        seed: The seed of both.
        folder: Where the results of this recipe and seed are kept.
        dense_folder: Where those of the dense network are kept, which recipes may share.
        verbose: As in `fit`.
    """
    file = folder / "result.json"
    if file.exists():
        return json.loads(file.read_text())
    began = time.perf_counter()
    dense = _of_dense(recipe, images, seed, dense_folder, verbose) if recipe.paired else None
    middle = time.perf_counter()
    followed = keras.saving.load_model(dense_folder / f"{seed}.keras", compile=False) if recipe.follows else None
    trained = train(recipe, images, seed, verbose, followed)
    small = tf_reg.compact(trained.model, _inputs(images)[:8])
    folder.mkdir(parents=True, exist_ok=True)
    small.save(folder / "model.keras")
    version = tf_reg.export(small, folder / "saved_model", output_name="logits", examples=_inputs(images)[:8])
    found = {
        "dense_error": dense,
        "error": _error(version, images),
        "weights": trained.weights,
        "parameters": small.count_params(),
        "multiply_adds": _multiply_adds(small),
        "dense_multiply_adds": trained.multiply_adds,
        "nonzero": _nonzero(small),
        "widths": _widths(small),
        "channels": _left(trained.channels, _channels(small)),
        "seconds": [middle - began, time.perf_counter() - middle],
    }
    _write(file, found)
    return found


def _of_dense(recipe: Recipe, images: Images, seed: int, folder: Path, verbose: int) -> float:
    """The error of the dense network, in percent. The network is kept beside it, for recipes that follow it."""
    file, kept = folder / f"{seed}.json", folder / f"{seed}.keras"
    if not file.exists() or (recipe.follows and not kept.exists()):
        model = train(recipe.dense(), images, seed, verbose).model
        wrong = model.predict(_inputs(images), verbose=0, batch_size=1000).argmax(axis=1) != images.test[1]
        folder.mkdir(parents=True, exist_ok=True)
        model.save(staged := folder / f"{seed}.{os.getpid()}.keras")
        staged.replace(kept)
        _write(file, {"error": 100 * float(wrong.mean())})
    return json.loads(file.read_text())["error"]


def _write(file: Path, found: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_suffix(f".{os.getpid()}")
    staged.write_text(json.dumps(found))
    staged.replace(file)


def _inputs(images: Images) -> np.ndarray:
    return images.test[0].astype("float32") / 255


def _error(version: Path, images: Images) -> float:
    """The error of a SavedModel, in percent."""
    graph = tf.saved_model.load(version).signatures["serving_default"]
    wrong = 0
    for at in range(0, len(images.test[1]), 1000):
        part = slice(at, at + 1000)
        logits = graph(tf.constant(_inputs(images)[part]))["logits"].numpy()
        wrong += int((logits.argmax(axis=1) != images.test[1][part]).sum())
    return 100 * wrong / len(images.test[1])


def _nonzero(model: keras.Model) -> int:
    """How many weights aren't zero, biases not counted."""
    total = tf_reg.sparsity(model).total
    return total.weights - total.zeros


def _multiply_adds(model: keras.Model) -> int | None:
    """The multiply-adds of an example."""
    counts = tf_reg.plan_compaction(model).multiply_adds
    return counts[0] if counts else None


def _widths(model: keras.Model) -> list[int]:
    """Inputs of the first layer with weights, and the channels of all layers but the last."""
    plan = tf_reg.plan_compaction(model)
    first = plan.layers[0].inputs
    return [*([] if first is None else [first[0]]), *(one.before for one in plan.layers[:-1])]


def _channels(model: keras.Model) -> dict[tuple[str, ...], int]:
    """How many channels each tuple of layers makes together."""
    return {group.producers: group.size for group in tf_reg.channels(model).free}


def _left(before: dict[tuple[str, ...], int], after: dict[tuple[str, ...], int]) -> dict[str, list[int]]:
    """How many channels there were and are: those of residual streams, which have several producers, and all."""
    streams = [names for names in before if len(names) > 1]
    return {
        kind: [sum(before[names] for names in chosen), sum(after.get(names, 0) for names in chosen)]
        for kind, chosen in (("streams", streams), ("all", list(before)))
    }
