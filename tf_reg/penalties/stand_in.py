"""The regularizer that a variable has while an optimizer applies its penalty in a proximal step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._trainer import has_own_step, trainer
from tf_reg.penalties.registry import required_penalty_of

Holder = Callable[[keras.Layer | None], bool]


class OutOfGradient(keras.regularizers.Regularizer):
    """A penalty that is part of the loss, but not of its gradient while an optimizer applies it.

    It replaces a variable's regularizer and returns the same value. It asks its holders at each call whether one of
    them applies the penalty. If none does, the gradient flows as usual, so no penalty is lost. Several optimizers that
    train the same variable share one stand-in.

    Args:
        regularizer: The regularizer that it replaces.
        holder: A function of the model that is trained, or of None in a training loop of your own. It returns whether
            its optimizer applies the penalty there.

    Example:

    >>> penalty = OutOfGradient(keras.regularizers.L1(1.0), lambda model: True)
    >>> float(penalty(keras.ops.array([2.0, -1.0])))
    3.0
    """

    def __init__(self, regularizer: Callable[[Tensor], Tensor], holder: Holder):
        self.regularizer = regularizer
        self.penalty = required_penalty_of(regularizer)
        self.holders = [holder]
        self._in_gradient: tuple[weakref.ref[keras.Model] | None] | None = None  # where the last call let it flow

    def held(self, model: keras.Layer | None) -> bool:
        """Return whether an optimizer applies the penalty.

        Args:
            model: The model that is trained; None for a training loop of your own.
        """
        return any(holder(model) for holder in tuple(self.holders))  # a holder removes itself if its optimizer dies

    def in_gradient(self) -> bool:
        """Return whether the gradients of the training that is running have the penalty in them already."""
        if self._in_gradient is None:
            return False
        model, now = self._in_gradient[0], trainer()
        return now is None if model is None else now is not None and model() is now

    def reset(self) -> None:
        """Forget what the last call did."""
        self._in_gradient = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the regularizer's penalty."""
        model = trainer()
        if self.held(model):
            self._in_gradient = None
            summed = model is not None and not has_own_step(model)  # Keras adds up all that the model has
            return (self.penalty.value_in_sum if summed else self.penalty.value)(ops.stop_gradient(x))
        self._in_gradient = (None if model is None else weakref.ref(model),)
        return self.regularizer(x)


def unwrapped(regularizer: Any) -> Any:
    """Return the regularizer that an `OutOfGradient` replaced, and every other regularizer unchanged.

    Args:
        regularizer: The value of `variable.regularizer`, which may be None.

    Example:

    >>> unwrapped(OutOfGradient(keras.regularizers.L2(0.5), lambda model: True)).get_config()
    {'l2': 0.5}
    """
    return regularizer.regularizer if isinstance(regularizer, OutOfGradient) else regularizer
