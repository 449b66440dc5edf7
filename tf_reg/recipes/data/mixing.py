"""Random changes of training batches by Keras' layers: MixUp, CutMix, RandAugment and RandomErasing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from keras import layers

from tf_reg_cli.config import Config

PIXELS = (0, 255)


def mixed(batches: tf.data.Dataset, config: Config) -> tf.data.Dataset:
    """Return training batches with the random changes that a configuration asks for.

    RandAugment and RandomErasing change each image, then MixUp or CutMix the batch: with both, they take turns.

    The layers run in a generator of Python. As a part of the pipeline their draws would make TensorFlow, where it is
    deterministic, decode images one by one.

    Args:
        batches: Images of shape `(batch, height, width, channels)` from 0 to 255, and one-hot labels.
        config: `rand_augment`, `random_erasing`, `mixup`, `cutmix`; `seed`.
    """
    seed = config.seed
    single, whole = [], []
    if config.rand_augment is not None:
        single.append(layers.RandAugment(PIXELS, num_ops=2, factor=config.rand_augment, seed=seed))
    if config.random_erasing is not None:
        single.append(layers.RandomErasing((config.random_erasing,) * 2, value_range=PIXELS, seed=seed))
    if config.mixup is not None:
        whole.append(layers.MixUp(config.mixup, seed=seed))
    if config.cutmix is not None:
        whole.append(layers.CutMix(config.cutmix, seed=seed))
    if not (single or whole):
        return batches
    turns = [_compiled([*single, last]) for last in whole] or [_compiled(single)]

    def changed() -> Iterator[Any]:
        for number, batch in enumerate(batches):
            yield turns[number % len(turns)](*batch)

    images, labels = batches.element_spec
    floats = tf.TensorSpec(images.shape, "float32"), labels
    made = tf.data.Dataset.from_generator(changed, output_signature=floats)
    return made.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(2)


def _compiled(changes: Sequence[Any]) -> Callable[..., Any]:
    """Return a function that applies layers, one after the other, to images and labels."""

    @tf.function(reduce_retracing=True)
    def change(images: Any, labels: Any) -> tuple[Any, Any]:
        batch = {"images": tf.cast(images, "float32"), "labels": labels}
        for layer in changes:
            batch = layer(batch, training=True)
        return batch["images"], batch["labels"]

    return change
