"""An optimizer with penalties whose strength can be set, and whose zeros can be frozen."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from tf_reg.optimizers.state import State
from tf_reg.optimizers.wrapper import OptimizerWrapper


class SteeredOptimizer(OptimizerWrapper):
    """An optimizer around an optimizer, with a strength.

    Abstract. The subclass calls `self._state.build(self)` in its `build`.

    Args:
        inner_optimizer: The optimizer that makes the step.
        strength: The multiplier of all penalties: a number, or a schedule.
        name: The name of the optimizer.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        strength: float | LearningRateSchedule,
        name: str | None = None,
    ):
        super().__init__(inner_optimizer, name)
        self._state = State(strength)

    @property
    def scheduled(self) -> bool:
        """Whether the strength is a schedule, which can't be set."""
        return self._state.scheduled

    @property
    def strength(self) -> Any:
        """The multiplier of all penalties: a variable (a float before `build`), or a schedule's value at this step."""
        return self._state.strength(self.calls)

    @strength.setter
    def strength(self, strength: float) -> None:
        self._state.set_strength(strength)

    @property
    def frozen(self) -> bool:
        """Whether zeros stay zero."""
        return bool(ops.convert_to_numpy(self._state.frozen))

    def freeze(self) -> None:
        """Keep every penalised weight at zero that is zero, from the next step on.

        It needs no new compilation and is saved with the model. With `strength = 0` after it, the weights that are
        left are fitted without the bias of the penalty.
        """
        self._state.frozen = True

    def unfreeze(self) -> None:
        """Undo `freeze`: from the next step on, a weight that is zero may change."""
        self._state.frozen = False
