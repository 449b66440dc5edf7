"""The penalty of Keras' own regularizers `L1`, `L2` and `L1L2`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, regularizers

from tf_reg import _xla
from tf_reg._backend import Tensor
from tf_reg.penalties import proximal_operators
from tf_reg.penalties.penalty import Penalty


class ElasticNet(Penalty):
    """`l1 * sum |w| + l2 * sum w^2`, without a factor of 1/2: what Keras' `L1`, `L2` and `L1L2` compute.

    Zou & Hastie 2005, "Regularization and variable selection via the elastic net".

    Args:
        regularizer: A `keras.regularizers.L1`, `L2` or `L1L2`. Its strengths are read when they are needed.

    Example:

    >>> penalty = ElasticNet(keras.regularizers.L1(0.5))
    >>> float(penalty.value(keras.ops.array([[3.0, -1.0]])))
    2.0
    >>> penalty.zero_threshold(keras.ops.array([0.1, -2.0]))
    4.0
    """

    def __init__(self, regularizer: keras.Regularizer):
        self.regularizer = regularizer
        self._read: dict[str, tuple[Any, int, float]] = {}  # torch tensors, with the version and the number in it

    @property
    def l1(self) -> float:
        """The strength of `sum |w|`."""
        return self._strength("l1")

    @property
    def l2(self) -> float:
        """The strength of `sum w^2`."""
        return self._strength("l2")

    def _strength(self, name: str) -> float:
        """A strength as a Python number: Keras' `L1` holds a tensor. Reading one of torch waits for its device."""
        held = getattr(self.regularizer, name, 0.0)
        if type(held) is float:
            return held
        version = getattr(held, "_version", None) if keras.backend.backend() == "torch" else None
        if version is None:
            return _number(held)
        before = self._read.get(name)
        if before is None or before[0] is not held or before[1] != version:
            before = self._read[name] = (held, version, _number(held))
        return before[2]

    def value(self, x: Tensor) -> Tensor:
        """The penalty as a number to report.

        Where XLA computes it, it is added up by columns: see `tf_reg._xla.sums_by_columns`. On torch, where a call of
        Keras takes longer than the sum of a small weight, torch is called.
        """
        if keras.backend.backend() == "torch" and ops.is_tensor(x):
            return _on_torch(x, self.l1, self.l2)
        l1, l2 = self.l1, self.l2
        if len(x.shape) < 2 or l1 + l2 == 0 or not _xla.sums_by_columns(math.prod(x.shape)):
            return self.regularizer(x)
        return _xla.fused(_by_columns, ops.convert_to_tensor(x), l1, l2)

    def prox(self, value: Tensor, step: Tensor) -> Tensor:
        """Soft threshold, then shrink: see `tf_reg.penalties.proximal_operators.elastic_net`."""
        return proximal_operators.elastic_net(value, step, self.l1, self.l2)

    def weighted_prox(self, value: Tensor, step: Tensor, factor: Tensor) -> Tensor:
        """That of `l1 * sum factor * |w| + l2 * sum w^2`: the L2 part is as it was, since it selects no weight.

        Zou & Zhang 2009, "On the adaptive elastic-net with a diverging number of parameters".
        """
        wide, threshold = proximal_operators.widen(value, step * factor * self.l1)
        shrunk = proximal_operators.elastic_net(proximal_operators.soft(wide, threshold), step, l2=self.l2)
        return ops.cast(shrunk, value.dtype)

    @property
    def elementwise(self) -> bool:
        """Yes."""
        return True

    @property
    def parameters(self) -> tuple[float, float]:
        """`(l1, l2)`."""
        return self.l1, self.l2

    @property
    def is_finite(self) -> bool:
        """Yes."""
        return True

    @property
    def gives_zeros(self) -> bool:
        """Whether there is an L1 part."""
        return self.l1 > 0

    def zero_threshold(self, gradient: Tensor) -> float:
        """`max |gradient| / l1`: 0 for a gradient of zero, infinite without an L1 part."""
        largest = float(np.max(np.abs(ops.convert_to_numpy(gradient).astype("float64")), initial=0.0))
        if largest == 0:
            return 0.0
        return largest / self.l1 if self.l1 > 0 else math.inf

    def slope_at_zero(self, shape: Sequence[int], by_norm: bool) -> float:
        """`l1`, by either measure."""
        return self.l1


def as_one(terms: Iterable[Any]) -> keras.Regularizer | None:
    """The `L1L2` that is the sum of several regularizers; None where they aren't all Keras' own.

    Args:
        terms: Regularizers.

    Example:

    >>> as_one([keras.regularizers.L1(0.5), keras.regularizers.L2(0.25)]).get_config()
    {'l1': 0.5, 'l2': 0.25}
    """
    terms = list(terms)
    if not all(type(term) in (regularizers.L1, regularizers.L2, regularizers.L1L2) for term in terms):
        return None
    parts = [ElasticNet(term) for term in terms]
    return regularizers.L1L2(sum(part.l1 for part in parts), sum(part.l2 for part in parts))


def _on_torch(x: Tensor, l1: float, l2: float) -> Tensor:
    """`l1 * sum |w| + l2 * sum w^2`, by the operations of torch that Keras' regularizers call."""
    if l1 and l2:
        return l1 * x.abs().sum() + l2 * x.square().sum()
    return l1 * x.abs().sum() if l1 else l2 * x.square().sum()


def _by_columns(x: Tensor, l1: float, l2: float) -> Tensor:
    """`l1 * sum |w| + l2 * sum w^2` in one pass.

    The strength is multiplied in between the two sums: XLA would otherwise make one sum of them.
    """
    size, strength = ops.abs(x), l1 + l2
    columns = ops.sum(size * (l1 / strength + l2 / strength * size), axis=tuple(range(len(x.shape) - 1)))
    return ops.sum(strength * columns)


def _number(value: Any) -> float:
    """A number or a tensor as a Python number. `float` can't read a tensor in a TensorFlow function."""
    if keras.ops.is_tensor(value):
        value = value.numpy() if keras.backend.backend() == "tensorflow" else value
        return value.item()
    return float(value)
