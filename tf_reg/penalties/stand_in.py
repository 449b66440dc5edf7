"""What stands in for a variable's regularizer while a proximal step pays its penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg.penalties.registry import required_penalty_of

Holder = Callable[[keras.Model | None], bool]


class OutOfGradient(keras.regularizers.Regularizer):
    """A penalty that is reported in the loss and left out of its gradient, for as long as it is held.

    It stands in for a variable's regularizer while a proximal step pays the penalty. Its value is the regularizer's.
    Once nobody holds it the gradient flows again, so a penalty is never lost. Models that share a variable and are
    trained in turn, each with a proximal optimizer of its own, share its stand-in.

    Args:
        regularizer: The regularizer that it stands in for.
        holder: Says whether a proximal step pays the penalty, in the training of the given model or, for None, in the
            one that goes on now.

    Example:

    >>> penalty = OutOfGradient(keras.regularizers.L1(1.0), lambda model: True)
    >>> float(penalty(keras.ops.array([2.0, -1.0])))
    3.0
    """

    def __init__(self, regularizer: Callable[[Tensor], Tensor], holder: Holder):
        self.regularizer = regularizer
        self.penalty = required_penalty_of(regularizer)
        self.holders = [holder]

    def held(self, model: keras.Model | None = None) -> bool:
        """Whether a proximal step pays the penalty.

        Args:
            model: In the training of which model; in the one that goes on now if not given.
        """
        return any(holder(model) for holder in tuple(self.holders))  # one whose optimizer dies meanwhile leaves

    def __call__(self, x: Tensor) -> Tensor:
        """The regularizer's penalty."""
        return self.penalty.value(ops.stop_gradient(x)) if self.held() else self.regularizer(x)


def unwrapped(regularizer: Any) -> Any:
    """The regularizer itself, where `OutOfGradient` stands in for it.

    Args:
        regularizer: What `variable.regularizer` holds, None too.

    Example:

    >>> unwrapped(OutOfGradient(keras.regularizers.L2(0.5), lambda model: True)).get_config()
    {'l2': 0.5}
    """
    return regularizer.regularizer if isinstance(regularizer, OutOfGradient) else regularizer
