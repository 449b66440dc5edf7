"""The penalties of `tf_reg.shrink`, by name or as rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tf_reg._checks import require
from tf_reg.callbacks.share import can_be_zero
from tf_reg.compaction.copies import copied
from tf_reg.compaction.coupled import channels
from tf_reg.penalties.channel_penalty import ChannelLasso
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.rules.regularize_model import regularize, remove_regularizers
from tf_reg.selection.frontier import size_of

NAMES = ("channels", "units", "inputs", "weights")


def rules_of(model: keras.Model, penalty: Any) -> Any:
    """Return a penalty as `tf_reg.regularize` takes it.

    Args:
        model: The model that gets it; it stays as it is.
        penalty: One of `NAMES`, a regularizer, or a mapping of rules.

    Raises:
        ValueError: Another penalty, one that the model doesn't take, or one that makes no weight zero.
    """
    known = penalty in NAMES if isinstance(penalty, str) else isinstance(penalty, (keras.Regularizer, Mapping))
    words = f"one of {', '.join(map(repr, NAMES))}, a regularizer or a mapping of rules"
    require(known, f"penalty is {words}", "penalty", penalty)
    rules = _named(model, penalty) if isinstance(penalty, str) else penalty
    trial = copied(model)
    remove_regularizers(trial, unsaved="ignore")
    regularize(trial, rules, unsaved="ignore")
    require(bool(can_be_zero(trial)), "penalty makes weights of the model zero, as L1 does", "penalty", penalty)
    return rules


def _named(model: keras.Model, name: str) -> Any:
    if name == "channels":
        return ChannelLasso(1.0, "flops" if size_of(model).multiply_adds is not None else True)
    if name == "inputs":
        return GroupLasso(1.0, "inputs")
    if name == "weights":
        return keras.regularizers.L1(1.0)
    free = sorted({layer for group in channels(model).groups if group.held is None for layer in group.producers})
    require(bool(free), "penalty='units' takes a model with units that can be removed", "model", model)
    lasso = GroupLasso(1.0, "outputs")
    return dict.fromkeys(free, lasso)
