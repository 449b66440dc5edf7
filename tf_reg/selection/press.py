"""One step down: train under a penalty that rises until enough can be cut out, and cut it out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from tf_reg import _keras
from tf_reg.callbacks.strength import proximal_of
from tf_reg.compaction.compact import compact
from tf_reg.compaction.copies import copied
from tf_reg.compaction.objects import remade
from tf_reg.optimizers.proximal import Proximal
from tf_reg.rules.regularize_model import regularize
from tf_reg.selection.examples import Examples
from tf_reg.selection.frontier import size_of
from tf_reg.selection.natural import learned
from tf_reg.selection.refitting import fit_once
from tf_reg.selection.zeroing import make_zero

FIRST = 0.02  # the first strength, in natural units
DOUBLINGS, LOOKS = 4, 4  # of the strength, at most, and looks at the size for each
STEPS = 40  # in which the strength doubles, at least


class Pressed(NamedTuple):
    """A model that was made smaller, before its refit.

    Args:
        model: The compacted model.
        strength: The strength at the end.
    """

    model: keras.Model
    strength: float


def press(
    start: keras.Model,
    rules: Any,
    optimizer: keras.Optimizer,
    goal: float,
    epoch: Callable[[int], Examples],
    batch: int,
) -> Pressed:
    """Train a copy of a model under a penalty whose strength rises, until it is small enough.

    The strength begins at a fiftieth of the natural unit: that at which the penalty of the weights as they are is as
    large as what the model has learned, the loss of the best constant answer minus its own loss. Where the goal isn't
    reached when it has doubled four times, the least important channels are made zero too.

    Args:
        start: A compiled model without regularizers.
        rules: The penalty, as `tf_reg.regularize` takes it; its strength counts as one.
        optimizer: The optimizer; one like it trains.
        goal: The multiply-adds (or parameters) that compaction shall leave at most.
        epoch: Returns the examples in which the strength doubles, in their order, by the number of the doubling.
        batch: Examples a batch.
    """
    model = copied(start)
    unit = learned(model, epoch(0))
    regularize(model, rules, unmatched="ignore", unsaved="ignore")
    unit /= max(float(ops.convert_to_numpy(sum(model.losses))), 1e-12)
    settings = _keras.compile_arguments(start)
    model.compile(
        Proximal(remade(optimizer), strength=FIRST * unit),
        settings["loss"],
        settings.get("loss_weights"),
        jit_compile=settings.get("jit_compile", "auto"),
        run_eagerly=settings.get("run_eagerly", False),
    )
    looking = _Looking(goal, math.ceil(len(epoch(0)) / batch))
    number = 0
    while not looking.done:
        fit_once(model, epoch(number), batch, callbacks=[looking])
        number += 1
    if not looking.reached:
        make_zero(model, goal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a check that tells nothing: the candidate is tested anyway
        return Pressed(compact(model), looking.strength)


class _Looking(keras.callbacks.Callback):
    """Looks at the size several times an epoch, raises the strength, and ends the training.

    Args:
        goal: When to end.
        batches: In which the strength doubles.
    """

    def __init__(self, goal: float, batches: int) -> None:
        super().__init__()
        self._goal, self._every = goal, math.ceil(batches / LOOKS)
        self._batches = self._looks = 0
        self.done = self.reached = False
        self.strength = math.nan

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look, where it is time."""
        self._batches += 1
        if self._batches % self._every or self.done:
            return
        self._looks += 1
        model = self.model  # on JAX, reading it brings the variables up to date
        optimizer = proximal_of(model)
        assert optimizer is not None
        self.strength = float(ops.convert_to_numpy(optimizer.strength))
        self.reached = size_of(model, compacted=True).cost <= self._goal
        self.done = self.reached or self._looks >= LOOKS * DOUBLINGS
        if self.done:
            model.stop_training = True
        else:
            optimizer.strength = self.strength * 2 ** (1 / LOOKS)
