"""The update of an optimizer and its proximal step in few kernels: one pass over the memory of each weight."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tf_reg import _keras_step
from tf_reg._backend import Tensor, in_a_graph
from tf_reg._xla import Kernels, Likeness, compiles, is_dense
from tf_reg.optimizers.averaging import Average, MovingAverage
from tf_reg.optimizers.ownership import Claim
from tf_reg.optimizers.proximal_step import Before, Step, before_update, make_step, together


class Update(NamedTuple):
    """What all weights have in common in an update.

    Args:
        rate: The learning rate of the inner optimizer. A scalar.
        keep: Whether zeros stay zero. A boolean scalar.
        step: The size of the proximal step.
        average: What the moving average needs; None without one.
    """

    rate: Tensor
    keep: Tensor
    step: Step
    average: Average | None


class Unit(NamedTuple):
    """Variables that are updated together, and by themselves.

    Args:
        variables: The weights of one channel penalty that have channels in common, or one variable.
        claims: The penalties of those that have one.
    """

    variables: list[keras.Variable]
    claims: list[Claim]

    @property
    def size(self) -> int:
        """How many numbers the variables have."""
        return sum(math.prod(variable.shape) for variable in self.variables)


class FusedUpdate:
    """A step of an optimizer and the proximal step after it, in a TensorFlow graph, with a kernel for each large unit.

    TensorFlow would run the operations of both one by one, each a pass over memory. Here XLA makes a few passes of
    them. The gradients are computed outside as before. Units that aren't worth a kernel are updated by the same
    operations without one. So is a variable whose gradient is sparse, up to its proximal operator.

    Attributes:
        kernels: The kernels. They serve all graphs in which the optimizer is.

    Args:
        optimizer: The inner optimizer.
        moving_average: Its moving average.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, moving_average: MovingAverage):
        self.kernels = Kernels()
        self._optimizer = optimizer
        self._moving_average = moving_average

    def possible(self, variables: Sequence[keras.Variable], gradients: Sequence[Any]) -> bool:
        """Return whether a step can be made in kernels, and is worth one.

        Args:
            variables: The variables of the step.
            gradients: Their gradients.
        """
        return (
            in_a_graph()  # before anything is counted: on torch this is asked in every step
            and compiles(sum(math.prod(variable.shape) for variable in variables))
            and len(variables) == len(gradients)
            and _keras_step.makes_parted_steps(self._optimizer, variables)
        )

    def apply(
        self, gradients: Sequence[Any], variables: Sequence[keras.Variable], claims: Sequence[Claim], update: Update
    ) -> None:
        """Make the step. It counts as a call of the inner optimizer's `apply`.

        Args:
            gradients: The gradients of the loss; None where there is none.
            variables: Their variables.
            claims: The penalties of the step.
            update: What the step needs.

        Raises:
            ValueError: Unknown variables, or no gradient at all.
        """
        optimizer = self._optimizer
        pairs = _keras_step.with_gradients(optimizer, gradients, variables)
        make = functools.partial(self._make, pairs, variables, claims, update)
        if update.step.due is True:
            make()
        else:
            ops.cond(update.step.due, make, functools.partial(self._wait, pairs, claims, update))
        optimizer._iterations.assign_add(1)

    def _wait(self, pairs: Sequence[tuple[Any, keras.Variable]], claims: Sequence[Claim], update: Update) -> None:
        """Accumulate gradients."""
        _keras_step.accumulate(self._optimizer, *zip(*pairs, strict=True))
        self._average(self._optimizer._trainable_variables, claims, update)

    def _make(
        self,
        pairs: Sequence[tuple[Any, keras.Variable]],
        variables: Sequence[keras.Variable],
        claims: Sequence[Claim],
        update: Update,
    ) -> None:
        update = update._replace(step=update.step._replace(due=True))
        if _keras_step.clips_together(self._optimizer):
            final = _keras_step.final_gradients(self._optimizer, *zip(*pairs, strict=True))
            pairs = [(gradient, variable) for gradient, (_, variable) in zip(final, pairs, strict=True)]
        given = {id(variable): gradient for gradient, variable in pairs}
        small = Unit([], [])
        for unit in _units(variables, claims):
            gradients = [given.get(id(variable)) for variable in unit.variables]
            if not compiles(unit.size):
                small.variables.extend(unit.variables)
                small.claims.extend(unit.claims)
            elif all(is_dense(gradient) for gradient in gradients):
                likeness = self._likeness(unit, "whole", update)
                self.kernels.run(functools.partial(self._whole, unit), gradients, update, likeness=likeness)
            else:
                before = before_update(self._optimizer, unit.claims, update.keep)
                self._inner(unit.variables, gradients, update)
                likeness = self._likeness(unit, "finish", update)
                self.kernels.run(functools.partial(self._finish, unit), before, update, likeness=likeness)
        self._whole(small, [given.get(id(variable)) for variable in small.variables], update)
        done = {id(variable) for variable in variables}
        self._average([one for one in self._optimizer._trainable_variables if id(one) not in done], claims, update)

    def _likeness(self, unit: Unit, part: str, update: Update) -> Likeness | None:
        """What decides the operations on a unit; None with a constraint or a penalty of a user's own."""
        known = [claim.stand_in.penalty.parameters is not None for claim in unit.claims]
        if not all(known) or any(variable.constraint is not None for variable in unit.variables):
            return None
        optimizer, place = self._optimizer, {id(one): number for number, one in enumerate(unit.variables)}
        weights = tuple((tuple(one.shape), one.dtype, _keras_step.decays(optimizer, one)) for one in unit.variables)
        penalties = tuple(
            (place[id(one.variable)], type(one.stand_in.penalty), one.stand_in.penalty.parameters, one.factor is None)
            for one in unit.claims
        )
        sums = update.step.averages.of(unit.claims) or [] if update.step.averages and unit.claims else []
        factors = [claim.factor for claim in unit.claims if claim.factor is not None]
        own = [*_keras_step.owned(optimizer, unit.variables), *factors, *sums]
        key = (part, _keras_step.settings(optimizer), weights, penalties)
        return Likeness(key, own, _keras_step.scalars(optimizer))

    def _whole(self, unit: Unit, gradients: Sequence[Any], update: Update) -> None:
        before = before_update(self._optimizer, unit.claims, update.keep)
        self._inner(unit.variables, gradients, update)
        self._finish(unit, before, update)

    def _inner(self, variables: Sequence[keras.Variable], gradients: Sequence[Any], update: Update) -> None:
        there = [pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None]
        if not there:
            return
        final, chosen = ([*part] for part in zip(*there, strict=True))
        if not _keras_step.clips_together(self._optimizer):
            final = _keras_step.final_gradients(self._optimizer, final, chosen)
        _keras_step.update(self._optimizer, final, chosen, update.rate)

    def _finish(self, unit: Unit, before: Sequence[Before], update: Update) -> None:
        make_step(self._optimizer, unit.claims, before, update.step)
        self._average(unit.variables, unit.claims, update)

    def _average(self, variables: Sequence[keras.Variable], claims: Sequence[Claim], update: Update) -> None:
        self._moving_average.update(update.average, variables, [claim.variable for claim in claims])


def _units(variables: Sequence[keras.Variable], claims: Sequence[Claim]) -> Iterator[Unit]:
    """The units of a step. Each variable is in one."""
    claimed = {id(claim.variable) for claim in claims}
    for positions in together(claims):
        chosen = [claims[position] for position in positions]
        yield Unit([claim.variable for claim in chosen], chosen)
    for variable in variables:
        if id(variable) not in claimed:
            yield Unit([variable], [])
