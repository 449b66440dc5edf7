"""What a `Proximal` minimises: the loss on examples without its penalties, its gradient, and how far the minimum is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg import _walk
from tf_reg._backend import compile as compiled
from tf_reg._backend import with_gradients
from tf_reg.optimizers.operators import prox
from tf_reg.optimizers.ownership import Claim
from tf_reg.optimizers.proximal import Proximal
from tf_reg.optimizers.proximal_step import together
from tf_reg.penalties.channel_parts import squares
from tf_reg.penalties.coupled import ChannelMember
from tf_reg.penalties.penalty import Penalty
from tf_reg.penalties.stand_in import OutOfGradient
from tf_reg.selection.examples import Examples

AT_ONCE = 1024  # examples in one pass, so that large data sets fit into memory
STEP = 0.1  # the step of the proximal operator whose fixed points are the minima: not lost in rounding


class Objective:
    """The loss of a compiled model on examples, in inference, without the penalties that its `Proximal` applies.

    Regularizers without a proximal operator stay in it, as they do in training. It is the mean over the batches that
    Keras' `evaluate` reports: each batch counts by its size.

    Args:
        model: A built model, compiled with a loss.
        optimizer: The `Proximal` of the model, built.

    Attributes:
        variables: The trainable variables of the model.
        claims: The penalties that the optimizer applies.
    """

    def __init__(self, model: keras.Model, optimizer: Proximal):
        self._model = model
        self.variables = list(model.trainable_variables)
        self.claims = claims_of(model, optimizer)
        others = [one for one in model.variables if not any(one is own for own in self.variables)]
        self._alone = compiled(self._loss, model.variables)
        self._both = with_gradients(self._loss, self.variables, others)

    @property
    def selected(self) -> list[Claim]:
        """The claims whose penalties give zeros."""
        return [claim for claim in self.claims if claim.stand_in.penalty.gives_zeros]

    def loss(self, examples: Examples) -> float:
        """The loss.

        Args:
            examples: What it is the mean over.
        """
        return sum(share * float(ops.convert_to_numpy(self._alone(*parts))) for share, parts in _batches(examples))

    def loss_and_gradients(self, examples: Examples) -> tuple[float, list[np.ndarray]]:
        """The loss, and its gradient for each of `variables`.

        Args:
            examples: What it is the mean over.
        """
        loss, gradients = 0.0, [np.zeros(one.shape, "float64") for one in self.variables]
        for share, parts in _batches(examples):
            value, found = self._both(*parts)
            loss += share * float(ops.convert_to_numpy(value))
            for total, gradient in zip(gradients, found, strict=True):
                total += share * ops.convert_to_numpy(gradient)
        return loss, gradients

    def penalty(self) -> float:
        """The penalties that the optimizer applies, without its strength."""
        values = [claim.stand_in.penalty.value_in_sum(ops.convert_to_tensor(claim.variable)) for claim in self.claims]
        return float(sum(ops.convert_to_numpy(value) for value in values))

    def violation(self, gradients: Sequence[np.ndarray], strength: float, relaxed: bool = False) -> float:
        """How far the weights are from a minimum of `loss + strength * penalty`, as a share of the strength.

        At a minimum the weights are a fixed point of the proximal gradient step (the Karush-Kuhn-Tucker conditions).
        What the step moves, divided by its size, is the part of the gradient that nothing balances. The result is the
        smallest change of the strength that could balance it in the penalised weights. Of the other weights it is the
        largest gradient, divided by the largest one of a penalised weight. The larger of the two is returned.

        Args:
            gradients: Those of `loss_and_gradients` at these weights.
            strength: The multiplier of the penalties, above zero.
            relaxed: Whether to ask about a minimum of the loss alone, over the weights that aren't zero.
        """
        slope = {id(one): gradient for one, gradient in zip(self.variables, gradients, strict=True)}
        left = {id(one.variable): _alive(one, slope) for one in self.claims} if relaxed else {}
        for positions in [] if relaxed else together(self.claims):
            chosen = [self.claims[position] for position in positions]
            for claim, rest in zip(chosen, _unbalanced(chosen, slope, strength), strict=True):
                left[id(claim.variable)] = rest
        scale = max((float(np.max(np.abs(slope[one]), initial=0.0)) for one in left), default=0.0)
        free = [float(np.max(np.abs(rest), initial=0.0)) for one, rest in slope.items() if one not in left]
        return max(critical_strength(self.claims, left) / strength, max(free, default=0.0) / (scale or 1.0))

    def _loss(self, *parts: Any) -> Any:
        inputs, targets, *weights = parts
        with without_penalties(self.claims):
            outputs = self._model(inputs, training=False)
            return self._model.compute_loss(
                x=inputs, y=targets, y_pred=outputs, sample_weight=weights[0] if weights else None, training=False
            )


def numbers(claim: Claim, value: Any) -> list[Any]:
    """The numbers of a weight that its penalty is of: all, or those of free channels.

    Args:
        claim: The penalty.
        value: The weight.
    """
    penalty = claim.stand_in.penalty
    return [part.matrix(value) for part in penalty.parts] if isinstance(penalty, ChannelMember) else [value]


def claims_of(model: keras.Model, optimizer: Proximal) -> list[Claim]:
    """The penalties that an optimizer applies to a model.

    Args:
        model: A built model.
        optimizer: Its `Proximal`, built.
    """
    paid = [weight.variable for weight in _walk.regularized(model) if optimizer.pays(weight.variable)]
    return [
        Claim(one, one.regularizer, one.regularizer.penalty.prox, optimizer.penalty_factor_of(one))
        for one in paid
        if isinstance(one.regularizer, OutOfGradient)
    ]


def critical_strength(claims: Sequence[Claim], gradients: dict[int, Any]) -> float:
    """The smallest multiplier of the penalties for which zeros are stationary.

    Args:
        claims: The penalties.
        gradients: The gradient of the loss for each claimed variable where all of them are zero, by its id.
    """
    return max((_critical(claim, gradients) for claim in claims), default=0.0)


def _critical(claim: Claim, gradients: dict[int, Any]) -> float:
    penalty: Penalty = claim.stand_in.penalty
    if not isinstance(penalty, ChannelMember):
        gradient = gradients[id(claim.variable)]
        if claim.factor is not None:  # the penalty of a part with the factor f balances f times as much
            factor = ops.convert_to_numpy(claim.factor)
            gradient = np.where(factor > 0, gradient / np.where(factor > 0, factor, 1), 0)
        return penalty.zero_threshold(ops.convert_to_tensor(gradient, dtype=claim.variable.dtype))
    found = 0.0
    for part in penalty.parts:
        rows = [m.part.matrix(gradients[id(m.variable)]) for m in penalty.members(part.group) if m.variable.trainable]
        norms = np.sqrt(sum(ops.convert_to_numpy(squares(one)) for one in rows))
        found = max(found, float(norms.max()) / (penalty.rule.strength * part.factor * part.unit or np.inf))
    return found


def _alive(claim: Claim, slope: dict[int, Any]) -> np.ndarray:
    """The gradient of a weight, where it isn't zero."""
    return np.where(ops.convert_to_numpy(claim.variable) != 0, slope[id(claim.variable)], 0)


def _unbalanced(claims: Sequence[Claim], slope: dict[int, Any], strength: float) -> list[np.ndarray]:
    """What the proximal gradient step changes in each weight, divided by the step size."""
    values = [ops.convert_to_tensor(claim.variable) for claim in claims]
    moved = [
        value - ops.cast(STEP * slope[id(claim.variable)], value.dtype)
        for claim, value in zip(claims, values, strict=True)
    ]
    step = ops.convert_to_tensor(STEP * strength, dtype=values[0].dtype)
    new = prox([[claim] for claim in claims], moved, [step] * len(claims))
    pairs = zip(new, values, strict=True)
    return [(ops.convert_to_numpy(value).astype("float64") - ops.convert_to_numpy(one)) / STEP for one, value in pairs]


def _batches(examples: Examples) -> Iterator[tuple[float, Any]]:
    """Tensors of some examples at a time, and which share of all they are."""
    for batch in examples.batches(AT_ONCE):
        yield len(batch) / len(examples), keras.tree.map_structure(ops.convert_to_tensor, batch.parts)


@contextlib.contextmanager
def without_penalties(claims: Sequence[Claim]) -> Iterator[None]:
    """Let the losses of the layers be without the claimed penalties, within a `with` block.

    Args:
        claims: The penalties.
    """
    try:
        for claim in claims:
            claim.variable.regularizer = None
        yield
    finally:
        for claim in claims:
            claim.variable.regularizer = claim.stand_in
