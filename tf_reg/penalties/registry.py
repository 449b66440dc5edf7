"""Which penalty a regularizer is: those of Keras and tf_reg, and those that a user registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras

from tf_reg._backend import Tensor
from tf_reg._checks import shown
from tf_reg.penalties.column_lasso import ColumnLasso
from tf_reg.penalties.coupled import ChannelMember
from tf_reg.penalties.elastic_net import ElasticNet
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.penalty import Penalty
from tf_reg.penalties.scad import SCAD
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso

ProximalMap = Callable[[Tensor, Tensor], Tensor]
Method = Callable[[Any, Tensor, Tensor], Tensor]
_Method = TypeVar("_Method", bound=Method)

_OWN = (ChannelMember, ColumnLasso, GroupLasso, LogSum, Lq, MCP, SCAD, SparseGroupLasso)
_PENALTIES: dict[type, Callable[[Any], Penalty]] = {
    keras.regularizers.L1: ElasticNet,
    keras.regularizers.L2: ElasticNet,
    keras.regularizers.L1L2: ElasticNet,
    **{own: lambda regularizer: regularizer for own in _OWN},
}


def penalty_of(regularizer: Any) -> Penalty | None:
    """The penalty of a regularizer; None where its class isn't known.

    A class is known by itself: a subclass may be another penalty, and is registered by itself.

    Args:
        regularizer: A regularizer of a layer, or None.

    Example:

    >>> penalty_of(keras.regularizers.L1(0.5)).gives_zeros, penalty_of(keras.regularizers.L2(0.5)).gives_zeros
    (True, False)
    >>> penalty_of(keras.regularizers.OrthogonalRegularizer()) is None
    True
    """
    make = _PENALTIES.get(type(regularizer))
    return None if make is None else make(regularizer)


def required_penalty_of(regularizer: Any) -> Penalty:
    """The penalty of a regularizer that must have a proximal operator.

    Args:
        regularizer: A regularizer of a layer.

    Raises:
        ValueError: Its class isn't known.
    """
    penalty = penalty_of(regularizer)
    if penalty is None:
        raise ValueError(
            f"A proximal step needs a proximal operator. Received: {regularizer!r}, for whose class none is "
            "registered. Register one with tf_reg.register_prox."
        )
    return penalty


def group_penalty_of(regularizer: Any) -> Penalty | None:
    """The penalty that says what a regularizer's groups are; None where it has none.

    A subclass of `GroupLasso` has the groups of `GroupLasso`, whatever its proximal operator is.

    Args:
        regularizer: A regularizer of a layer, or None.
    """
    return regularizer if isinstance(regularizer, Penalty) else penalty_of(regularizer)


def register_prox(regularizer_class: type) -> Callable[[_Method], _Method]:
    """Give a class of regularizers its proximal operator, for optimizers that apply it instead of a gradient.

    The operator of the penalty R returns the minimiser over w of `sum (w - value)^2 / (2 step) + R(w)`. `step` is a
    scalar or a tensor of the shape of `value`, and not negative; where it is zero the operator returns `value`. It
    holds for exactly this class: a subclass may be another penalty, and registers its own.

    Args:
        regularizer_class: A subclass of `keras.Regularizer`. Registering it again replaces the operator.

    Raises:
        ValueError: Something that isn't a class.

    Example:

    >>> class NonNegative(keras.Regularizer):
    ...     def __call__(self, x):
    ...         return 0.0 * keras.ops.sum(x)
    >>> @tf_reg.register_prox(NonNegative)
    ... def project(regularizer, value, step):
    ...     return keras.ops.relu(value)
    >>> bool(tf_reg.proximal_map(NonNegative())(keras.ops.array([-1.0]), 0.1)[0] == 0)
    True
    """
    if not isinstance(regularizer_class, type):
        raise ValueError(
            f"regularizer_class is a class. Received: {shown(regularizer_class)}. Write @register_prox(TheClass)."
        )

    def register(method: _Method) -> _Method:
        _PENALTIES[regularizer_class] = lambda regularizer: Registered(regularizer, method)
        return method

    return register


def proximal_map(regularizer: Any) -> ProximalMap | None:
    """The proximal operator of a regularizer, for tensors of floats and without checks; None where it has none.

    Args:
        regularizer: As in `tf_reg.proximal_map`.
    """
    penalty = penalty_of(regularizer)
    return None if penalty is None else penalty.prox


class Registered(Penalty):
    """The penalty of a class that was given to `register_prox`.

    Its value is the regularizer's own. Nothing else is known of it, so all other answers are those of `Penalty`.

    Args:
        regularizer: The regularizer.
        method: Its proximal operator, a function of the regularizer, a value and a step.
    """

    def __init__(self, regularizer: Callable[[Tensor], Tensor], method: Method):
        self.regularizer = regularizer
        self.method = method

    def value(self, x: Tensor) -> Tensor:
        """The value of the regularizer."""
        return self.regularizer(x)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """What the registered function returns."""
        return self.method(self.regularizer, value, step)
