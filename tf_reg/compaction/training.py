"""What a model was compiled with, for the model that was made from it: settings, and the state of the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg._checks import require
from tf_reg.compaction.objects import remade
from tf_reg.compaction.removal import Removal
from tf_reg.penalties.penalty import FACTOR
from tf_reg.penalties.registry import required_penalty_of
from tf_reg.penalties.stand_in import unwrapped

Slots = dict[tuple[int, str], keras.Variable]  # by the number of the weight, and what the slot is for


def compile_alike(model: keras.Model, other: keras.Model) -> None:
    """Compile a model with the settings of another one: the same losses, and new optimizers and metrics.

    Args:
        model: The model that is compiled.
        other: The model to compile.
    """
    settings = dict(_keras.compile_arguments(model))
    for name in ("metrics", "weighted_metrics"):
        settings[name] = tree.map_structure(
            lambda metric: remade(metric) if isinstance(metric, keras.Metric) else metric, settings.get(name)
        )
    settings["optimizer"] = remade(model.optimizer)
    other.compile(**settings)


def carry_optimizer(model: keras.Model, other: keras.Model, removal: Removal, places: Mapping[int, Any]) -> None:
    """Give the optimizer of a compacted model the state of the first model's optimizer.

    Args:
        model: The model.
        other: The compacted model, which is compiled alike.
        removal: What was removed.
        places: The variable of the compacted model for each one of the model, by the id of the latter.

    Raises:
        ValueError: An optimizer with a slot of another shape than its weight.
    """
    old, new = model.optimizer, other.optimizer
    if not old.built:
        return
    new.build(other.trainable_variables)
    known = [variable for variable in model.variables if id(variable) in places]
    before, rest = _slots(old, known)
    after, others = _slots(new, [places[id(variable)] for variable in known])
    for (place, kind), slot in after.items():
        weight = known[place]
        if (place, kind) in before:
            value = ops.convert_to_numpy(before[place, kind].value)
            _assign(slot, _cut(removal, weight, kind, value), old)
    for one, two in zip(rest, others, strict=True):
        _assign(two, ops.convert_to_numpy(one.value), old)


def _cut(removal: Removal, weight: keras.Variable, kind: str, value: np.ndarray) -> np.ndarray:
    """What is left of a slot of a weight. One of another shape than the weight is returned as it is."""
    if kind == FACTOR:
        return _cut_factors(removal, weight, value)
    return removal.cut(weight, value) if value.shape == tuple(weight.shape) else value


def _cut_factors(removal: Removal, weight: keras.Variable, value: np.ndarray) -> np.ndarray:
    """What is left of the factors of a penalty: one for each entry of its weight, each group or each channel."""
    penalty, along = required_penalty_of(unwrapped(weight.regularizer)), removal.along(weight)
    if penalty.coupled:
        axes = zip(along, value.shape, strict=True)
        return value[np.ix_(*(kept if len(kept) == size else np.ones(size, bool) for kept, size in axes))]
    plan = penalty.grouping(weight.shape)
    left = value if plan is None else np.broadcast_to(value, plan.shape).reshape(weight.shape)
    for axis, kept in enumerate(along):
        left = np.compress(kept, left, axis)
    plan = penalty.grouping(left.shape)
    return left if plan is None else np.max(left.reshape(plan.shape), axis=plan.axes, keepdims=True, initial=0.0)


def _assign(slot: keras.Variable, value: np.ndarray, optimizer: keras.Optimizer) -> None:
    require(
        value.shape == tuple(slot.shape),
        "keep_optimizer=True takes an optimizer whose slots have the shapes of their weights; leave it out, and the "
        "optimizer starts anew",
        "optimizer",
        optimizer,
    )
    slot.assign(value)


def _slots(optimizer: keras.Optimizer, weights: list[keras.Variable]) -> tuple[Slots, list[keras.Variable]]:
    """The slots that an optimizer has for each weight, and its other variables.

    A slot's name begins with the path of its weight. Weights of one path have their slots in one order.
    """
    by_name: dict[str, list[int]] = {}
    for place, weight in enumerate(weights):
        by_name.setdefault(weight.path.replace("/", "_") + "_", []).append(place)
    slots: Slots = {}
    rest = []
    for variable in optimizer.variables:
        fitting = [name for name in by_name if variable.name.startswith(name)]
        if not fitting:
            rest.append(variable)
            continue
        name = max(fitting, key=len)
        kind = variable.name.removeprefix(name)
        slots[next(place for place in by_name[name] if (place, kind) not in slots), kind] = variable
    return slots, rest
