"""Cut a data set into training, validation and test examples, with each class in proportion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from tf_reg.recipes.data.sources import Source, Split
from tf_reg_cli.errors import UserError

HOLD_OUT = 0.2  # of the training examples, for a data set that has no test split
Splits = tuple[Split, Split, Split]  # training, validation, test


def cut(source: Source, train_size: int | None, validation_split: float, seed: int) -> Splits:
    """The training, validation and test splits, which share no example.

    Args:
        source: What the owner provides. Its test split is used as it is; without one, its validation split; without
            both, `HOLD_OUT` of its training examples, the same for every seed.
        train_size: How many training examples to keep in the end; all if not given.
        validation_split: The share of the training examples that is set aside for validation, if the owner has not
            made both splits.
        seed: Which examples are set aside or kept.

    Raises:
        UserError: There are too few examples.
    """
    train, validation, test = source.train, source.validation, source.test
    if test is None:
        test, validation = validation, None
    if test is None:
        train, test = _set_aside(train, round(HOLD_OUT * train.size), seed=0)
    if validation is None:
        train, validation = _set_aside(train, round(validation_split * train.size), seed)
    if train_size is None:
        return train, validation, test
    classes = len(source.class_names)
    if not classes <= train_size <= train.size:
        raise UserError(
            f"--train-size must lie between {classes} (the classes of {source.name}) and {train.size} "
            f"(what is left for training); got {train_size}."
        )
    return train.take(stratified_order(train.labels, seed)[:train_size]), validation, test


class Labelled(Protocol):
    """Examples with labels."""

    @property
    def labels(self) -> np.ndarray:
        """The examples' labels, int64 `(size,)`."""


def missing_classes(splits: Sequence[Labelled], class_names: Sequence[str]) -> Iterator[str]:
    """What to say of classes that a split has no example of, a sentence for each split."""
    for name, split in zip(("training", "validation", "test"), splits, strict=True):
        present = set(split.labels.tolist())
        missing = [str(class_names[label]) for label in range(len(class_names)) if label not in present]
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            yield f"No {name} example of {shown}."


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of examples in which every beginning has the classes in proportion.

    One example of each class comes first, then the k-th of the n examples of a class comes at the place k / n. Within
    a class, and where places are equal, the order is random.

    Args:
        labels: Int `(examples,)`.
        seed: Of the random order.

    Returns:
        The examples' numbers, int64 `(examples,)`.
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    places = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        places[members] = np.arange(len(members)) / len(members)
    return shuffled[np.argsort(places[shuffled], kind="stable")]


def _set_aside(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """The rest of a split, and examples of it picked at random; each class keeps one example at least."""
    labels = split.labels
    order = stratified_order(labels, seed)
    _, from_the_end = np.unique(labels[order][::-1], return_index=True)
    candidates = np.delete(order, len(order) - 1 - from_the_end)  # without the last example of each class
    if not 0 < count <= len(candidates):
        raise UserError(
            f"The {split.size} training examples of {split.origin} can't be cut in two parts of "
            f"{split.size - count} and {count} with an example of each class in the first: provide more examples, or "
            "another --validation-split."
        )
    picked = candidates[:count]
    return split.take(np.setdiff1d(np.arange(split.size), picked)), split.take(picked)
