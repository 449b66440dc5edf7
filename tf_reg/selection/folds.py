"""Folds of cross-validation: which examples are fitted, and which are held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_reg._checks import count, is_integer, require, shown
from tf_reg.selection.examples import Examples

Splits = list[tuple[np.ndarray, np.ndarray]]


def splits_of(splitter: Any, examples: Examples, groups: Any, seed: int) -> Splits:
    """Return which examples are fitted and which are held out, in each fold.

    Args:
        splitter: As in `tf_reg.cross_validate`.
        examples: All examples.
        groups: As in `tf_reg.cross_validate`.
        seed: Of folds that are drawn here.

    Raises:
        ValueError: Another splitter, or one that can't divide the examples.
    """
    from sklearn import model_selection

    if is_integer(splitter):
        require(groups is None, "groups is for a splitter of groups, such as GroupKFold(5)", "groups", groups)
        splitter = model_selection.KFold(count(splitter, "splitter", 2), shuffle=True, random_state=seed)
    places, labels = np.arange(len(examples)), _labels(examples)
    if hasattr(splitter, "split") and not isinstance(splitter, str):
        try:
            pairs = list(splitter.split(places, labels, groups))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"splitter must be able to divide these {len(places)} examples. Received: {shown(splitter)} with "
                f"groups={shown(groups)}, which says: {error}"
            ) from error
    else:
        listed = isinstance(splitter, (list, tuple, Iterator))
        require(listed, "splitter is a number of folds, a splitter of scikit-learn, or pairs", "splitter", splitter)
        pairs = list(splitter)
    return _checked_pairs(pairs, places)


def _checked_pairs(pairs: list[Any], places: np.ndarray) -> Splits:
    try:
        splits = [(places[_places(fitted)], places[_places(held_out)]) for fitted, held_out in pairs]
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"splitter has pairs of arrays of places, from 0 to {len(places) - 1}. Received: {shown(pairs)}"
        ) from error
    if len(splits) < 2 or not all(len(fitted) and len(held_out) for fitted, held_out in splits):
        raise ValueError(
            "splitter makes two folds or more, each with examples to fit and to hold out. Received: "
            f"{[(len(fitted), len(held_out)) for fitted, held_out in splits]}"
        )
    return splits


def _places(given: Any) -> np.ndarray:
    array = np.asarray(given)
    return array if array.size else array.astype(int)


def _labels(examples: Examples) -> np.ndarray | None:
    """The targets as labels, for splitters that keep the shares of the classes; None for several targets."""
    targets = keras.tree.flatten(examples.targets)
    if len(targets) != 1:
        return None
    one_hot = targets[0].ndim == 2 and targets[0].shape[1] > 1
    return targets[0].argmax(axis=1) if one_hot else targets[0].reshape(len(examples), -1)[:, 0]
