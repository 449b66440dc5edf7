"""How many numbers of every weight compaction leaves."""

from __future__ import annotations

import math

import keras

from tf_reg.compaction.plan import NotCompactableError, made_biases, plan_compaction
from tf_reg.compaction.removal import Removal


def removal_of(model: keras.Layer) -> Removal | None:
    """Return what `tf_reg.compact` would remove from a model.

    Args:
        model: A built model or layer.

    Returns:
        None for what `tf_reg.compact` doesn't take: a layer alone, a model with a `call` of its own, and one in which a
        layer is within two others.
    """
    try:
        return plan_compaction(model).removal
    except NotCompactableError:
        return None


def left(removal: Removal) -> dict[int, int]:
    """Return how many numbers of each variable `tf_reg.compact` would leave, by the variable's id.

    Variables of layers that have no part in the outputs are missing: a compacted model hasn't got them. The numbers of
    a bias that it would make, for a kernel without one, are counted with the kernel.

    Args:
        removal: What it would remove.
    """
    kept = removal.analysis.graph.model.variables
    sizes = {id(variable): math.prod(removal.shape(variable)) for variable in kept}
    for layer in removal.analysis.layers:
        for kernel, made in made_biases(removal, layer):
            sizes[id(kernel)] += made
    return sizes


def channels(removal: Removal) -> tuple[int, int]:
    """Return how many channels nothing holds, and how many of them `tf_reg.compact` would remove.

    Args:
        removal: What it would remove.
    """
    analysis = removal.analysis
    made = {
        int(root) for axes in analysis.slices.values() for ids in axes.values() for root in analysis.labels.roots(ids)
    }
    return len(made - set(analysis.reasons)), len(removal.roots)
