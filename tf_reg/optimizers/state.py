"""The numbers of a `Proximal` that change while a model trains."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from tf_reg._backend import Tensor, is_known
from tf_reg._checks import number, shown
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.dual_averaging import DualAveraging
from tf_reg.optimizers.proximal_step import Step

NO_RATE = 1e-30  # a learning rate below it makes steps that are lost in rounding, or in numbers without all digits
FALLEN = 1e-3  # of what a learning rate was: below it, momentum moves the weights, and the gradients hardly do


class State:
    """Strength, frozen and tau: plain values before `build`, variables of the optimizer after it.

    Attributes:
        scheduled: Whether the strength is a schedule.
        first_strength: The strength that the training starts with; 1 for a schedule.
        tau: The step size of the last update with its momentum, without the preconditioner. A scalar.

    Args:
        strength: The multiplier of all penalties: a number, or a schedule of it.
    """

    def __init__(self, strength: float | LearningRateSchedule):
        self.scheduled = isinstance(strength, LearningRateSchedule)
        self._strength: Any = strength if self.scheduled else _checked(strength)
        self.first_strength: float = 1.0 if self.scheduled else self._strength
        self._frozen: Any = False
        self.tau: Any = 0.0

    def build(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Make the variables, with the values that were set before.

        Their order is a part of the file format of saved models.

        Args:
            optimizer: The optimizer that they belong to.
        """
        if not self.scheduled:
            self._strength = _scalar(optimizer, "strength", self._strength)
        self._frozen = _scalar(optimizer, "frozen", self._frozen, "bool")
        self.tau = _scalar(optimizer, "tau", self.tau)
        _scalar(optimizer, "pending", 0.0)  # nobody reads it: tf_reg 0.1 had it, and loads files by place

    def strength(self, step: Tensor) -> Any:
        """Return the multiplier: a schedule's value at a step, else a variable, or a float before `build`.

        Args:
            step: The number of the step, for a schedule.
        """
        return self._strength(step) if self.scheduled else self._strength

    def set_strength(self, strength: Any) -> None:
        """Set the multiplier.

        Args:
            strength: A number, zero or above: Python's, NumPy's, a tensor or a variable without axes. A tensor whose
                value isn't known yet, in a step that is being compiled, isn't checked.

        Raises:
            ValueError: Another value, or a strength that was given as a schedule.
        """
        if self.scheduled:
            raise ValueError(
                "This Proximal was given a schedule as its strength, which then can't be set. "
                f"Received: strength={strength!r}. Construct it with a number instead."
            )
        if isinstance(strength, LearningRateSchedule):
            raise ValueError(
                "A strength that is set is a number. Received a LearningRateSchedule: give it to the constructor, or "
                "use tf_reg.StrengthSchedule."
            )
        if isinstance(self._strength, keras.Variable):
            self._strength.assign(_checked(strength) if _is_known(strength) else strength)
        else:
            self._strength = self.first_strength = _checked(strength)

    @property
    def frozen(self) -> Any:
        """Whether zeros stay zero: a variable, or a bool before `build`."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if isinstance(self._frozen, keras.Variable):
            self._frozen.assign(frozen)
        else:
            self._frozen = frozen

    def keeps_zeros(self, inner: keras.optimizers.Optimizer, rate: Tensor) -> Tensor:
        """Return whether zeros stay zero in the next update, a boolean scalar.

        They do if they are frozen, and if the learning rate has fallen to zero or far below what it was. Then momentum
        alone moves the weights, and it may move a zero farther than the penalty brings it back.

        Args:
            inner: The inner optimizer.
            rate: The learning rate of the update, a scalar.
        """
        usual = self.tau * (1 - (getattr(inner, "momentum", 0.0) or 0.0))  # if the rate had been constant, the rate
        return ops.logical_or(self.frozen, rate <= ops.maximum(NO_RATE, FALLEN * usual))

    def advance(
        self,
        inner: keras.optimizers.Optimizer,
        rate: Tensor,
        strength: Tensor,
        calls: Tensor,
        averaging: DualAveraging | None,
    ) -> Step:
        """Return the size of the next proximal step.

        Args:
            inner: The inner optimizer.
            rate: The learning rate of its next update. A scalar.
            strength: The multiplier of all penalties in that update. A scalar.
            calls: How often the inner optimizer will have been called then.
            averaging: The averages of gradients, which are advanced too; None without.
        """
        calls_per_update = inner.gradient_accumulation_steps or 1
        updates = ops.floor_divide(calls, calls_per_update)
        due = True if calls_per_update == 1 else calls % calls_per_update == 0
        tau, amount = preconditioner.with_momentum(inner, self.tau, preconditioner.step_size(inner, rate, updates))
        if due is not True:
            tau, amount = ops.where(due, tau, self.tau.value), ops.where(due, amount, ops.zeros_like(amount))
        self.tau.assign(tau)
        averages = None if averaging is None else averaging.advance(amount, strength)
        return Step(amount * strength, preconditioner.reach(inner, rate, tau), due, averages)

    def strength_config(self) -> Any:
        """Return the strength as it is now, serialised: a schedule, or a float."""
        if self.scheduled:
            return keras.saving.serialize_keras_object(self._strength)
        return float(ops.convert_to_numpy(self._strength))


def _scalar(optimizer: keras.optimizers.Optimizer, name: str, value: float, dtype: str | None = None) -> keras.Variable:
    if dtype == "bool":  # `Constant` multiplies, and TensorFlow 2.18 can't multiply booleans
        initializer: Any = "ones" if value else "zeros"
    else:
        initializer = keras.initializers.Constant(value)
    return optimizer.add_variable((), initializer, dtype, aggregation="only_first_replica", name=name)


def _is_known(strength: Any) -> bool:
    """Whether the value of a strength can be read now. Python can't read it while a step is compiled."""
    value = strength.value if isinstance(strength, keras.Variable) else strength
    return not ops.is_tensor(value) or is_known(value)


def _checked(strength: Any) -> float:
    value = number(strength)
    if not 0 <= value < math.inf:
        raise ValueError(
            "strength is a finite number, zero or above, or a keras LearningRateSchedule. "
            f"Received: strength={shown(strength)}"
        )
    return value
