"""What every penalty of a weight can be asked."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tf_reg._backend import Tensor
from tf_reg._checks import from_config
from tf_reg.penalties.groups import Grouping

FACTOR = "penalty_factor"  # how the name of an optimizer's variable ends that has a weight's factors


class Penalty(abc.ABC):
    """A penalty `R(w)` of one weight, with its strength in it: all that the rest of tf_reg needs to know of it.

    A class of penalties has one file that answers all of these questions; `tf_reg.penalties.registry.penalty_of` finds
    the penalty of a regularizer. A subclass says how large the penalty is and what its proximal operator is. Every
    other answer here is the careful one: it is right for any penalty, and may promise less than could be promised.
    """

    @abc.abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report, a scalar; its gradient is not to be relied on.

        Args:
            x: The weight, of any shape that the penalty takes.
        """

    def value_in_sum(self, x: Tensor) -> Tensor:
        """A number to report as a term of the sum over all weights of a model; no more than the sum is relied on.

        Args:
            x: As in `value`.
        """
        return self.value(x)

    @abc.abstractmethod
    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """The proximal operator: the minimiser over w of `sum (w - value)^2 / (2 step) + R(w)`.

        Args:
            value: The weight.
            step: The step size, not negative: a scalar, or a tensor of the shape of `value`. The strength of the
                penalty isn't part of it. Where it is zero the result is `value`. A penalty with groups also takes one
                number for each group, of the shape `grouping(value.shape).one_each`.

        Returns:
            A tensor of the shape and dtype of `value`.
        """

    @property
    def elementwise(self) -> bool:
        """Whether the proximal operator treats each entry by itself, whatever the weight's shape."""
        return False

    @property
    def coupled(self) -> bool:
        """Whether the penalty is one of several weights, so that its proximal operator needs all of them."""
        return False

    @property
    def parameters(self) -> tuple[float | str, ...] | None:
        """What else than the class tells the proximal operator from another; None where it isn't known."""
        return None

    @property
    def is_finite(self) -> bool:
        """Whether the penalty is a finite number everywhere. A constraint is a penalty that isn't."""
        return False

    @property
    def gives_zeros(self) -> bool:
        """Whether the proximal operator can make entries exactly zero."""
        return True

    def zero_threshold(self, gradient: Tensor) -> float:
        """The smallest m for which w = 0 is stationary for `data loss + m * R`; infinite where none is known.

        Args:
            gradient: The gradient of the data loss at w = 0, of the weight's shape.
        """
        return math.inf

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """The size below which no gradient moves any entry of w = 0 away from zero; 0 where none is known.

        Args:
            shape: The weight's shape.
            by_norm: Whether a gradient's size is its Euclidean norm. If not, it is its largest absolute entry.
        """
        return 0.0

    def grouping(self, shape: Sequence[int]) -> Grouping | None:
        """The groups that become zero together; None where single entries do, or where it isn't known.

        Args:
            shape: The weight's shape.
        """
        return None

    def factor_shape(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The shape of the factors that the parts of the penalty can have; None where it takes none.

        A part is a weight or a group. Penalties without zeros take none, and neither do those whose parts aren't known.

        Args:
            shape: The weight's shape.
        """
        plan = self.grouping(shape)
        if not self.gives_zeros or (plan is None and not self.elementwise):
            return None
        return tuple(shape) if plan is None else plan.one_each

    def sizes(self, x: Tensor, weights: Mapping[int, Any] | None = None) -> Tensor:
        """The size of each part, of the shape `factor_shape`: `|w|`, or the root mean square of a group.

        Args:
            x: The weight, of a shape that has factors.
            weights: Of a penalty of several weights: what to take in the place of the others' values, by the ids of
                the variables.
        """
        plan = self.grouping(x.shape)
        return ops.abs(x) if plan is None else plan.root_mean_squares(x)

    def weighted_prox(self, value: Tensor, step: Tensor, factor: Tensor) -> Tensor:
        """The proximal operator of `sum_g factor_g * R_g(w_g)`, where g is a part: that of R with `step * factor`.

        Args:
            value: The weight, of a shape that has factors.
            step: The step size: a scalar, or a tensor of the shape of `value`.
            factor: The factors, of the shape `factor_shape`, finite and not negative.
        """
        plan = self.grouping(value.shape)
        return self.prox(value, (step if plan is None else plan.view(step)) * factor)

    @property
    def takes_layout(self) -> bool:
        """Whether the groups depend on the type of the weight's layer, which nobody has told the penalty."""
        return False

    @property
    def takes_heads(self) -> bool:
        """Whether the groups are the heads of an attention, so that the layout says its sizes."""
        return False

    def with_layout(self, layout: str) -> Any:
        """The regularizer of the same penalty for a layer of another type. Ask `takes_layout` first.

        Args:
            layout: A word of `tf_reg.penalties.groups.LAYOUTS`, or the layout of `tf_reg.penalties.heads.Heads`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no layout.")

    def resized(self, before: Sequence[int], after: Sequence[int]) -> Any:
        """The regularizer of the same penalty for a weight that has lost zeros; None where it is the same regularizer.

        Args:
            before: The weight's shape.
            after: Its new shape.
        """
        return None


class PenaltyRegularizer(keras.regularizers.Regularizer, Penalty):
    """A penalty of tf_reg that is a Keras regularizer itself: its config says all of it, and it is finite."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The arguments of the constructor."""
        return tuple(map(str, self.get_config().values()))

    @property
    def is_finite(self) -> bool:
        """Yes."""
        return True

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return the penalty that `get_config` describes."""
        return from_config(cls.__name__, config, lambda given: cls(**given))
