"""A callback that moves the strength of `tf_reg.Proximal` until a wanted share of the model is exactly zero."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

from tf_reg._checks import is_integer, number, require
from tf_reg.callbacks.strength import StrengthCallback, strength_of
from tf_reg.callbacks.strength_search import StrengthSearch
from tf_reg.measure.meter import Meter
from tf_reg.measure.statistics import WeightStatistics
from tf_reg.penalties.registry import penalty_of


class TargetSparsity(StrengthCallback):
    """Move the strength until a wanted share of the model is exactly zero, then refit the rest without penalty.

    The training has two parts. In the search the strength starts at `initial` and changes until the share is at the
    target. In the refit the zeros are frozen (`Proximal.freeze()`), the strength is 0, and the other weights are fitted
    without the bias of the penalty. The refit starts as soon as the share is within a quarter of `tolerance` of the
    target, and once the time of the search is over as soon as it is within `tolerance`.

    During the search the share follows a plan: `target * (1 - (1 - t)^3)`, with t from 0 to 1 over nine tenths of the
    search. The logarithm of the strength rises where the share falls behind the plan, and falls where the share is
    ahead. It doesn't rise while the norm of a layer shrinks so fast that the layer would be zero before the search
    ends.

    With `keep_zeros` a zero stays zero from the first step on, unless there are too many. The target is then reached
    with a much lower strength, and the zeros are spread over all units. This gives the best accuracy for a share of
    single weights. Without it weights leave zero again, the strength becomes higher, and whole units become zero:
    fewer parameters remain for the same share of zeros.

    The share is a *zero share*: of the weights (or groups) whose penalty gives zeros. It is the sparsity of the model,
    as `tf_reg.sparsity` counts it, where there are no other weights that count. Frozen weights and those without such
    a penalty can't become zero; a target for all of them together might not be within reach.

    Use it when the size of the model is given and the strength is not. Groups become zero one by one, so `of="groups"`
    ends at the nearest multiple of one group, and `of="parameters"` at what one more input or output makes. If only a
    layer of zeros can reach the target, a layer becomes zero: look at `tf_reg.sparsity(model)`.

    `strength`, `zero_share` (the share that was measured last) and `refit` (1 in the refit, else 0) join the `logs`.
    A callback that brings back older weights, such as `EarlyStopping(restore_best_weights=True)`, undoes the work.

    Zhu & Gupta 2017, "To prune, or not to prune" (the plan); Han et al. 2015, "Learning both weights and connections
    for efficient neural networks" (the refit).

    Args:
        target: The wanted share, above 0 and below 1.
        of: `"weights"`: exact zeros among the weights whose penalty gives zeros, which L2's doesn't; `"groups"`: dead
            groups among those of regularizers that have groups, such as `tf_reg.GroupLasso`; `"parameters"`: 1 - live /
            all parameters, as `tf_reg.sparsity` counts them: the share that `tf_reg.compact` saves. The share is
            measured a few hundred times. For this one that takes 0.01 s each in a small network, 0.4 s in MobileNetV2.
        tolerance: How far from the target counts as reached, as a share: 0.01 is one percentage point.
        refit_epochs: How many of the last epochs to keep for the refit; a third of all if not given. If the target is
            reached before, all epochs that are left refit.
        initial: The strength to start with, above 0; if not given, a thousandth of the optimizer's (of 1 where that
            is 0). Too low costs little time.
        keep_zeros: Whether zeros are kept during the search. If not given, for `of="weights"` only.

    Raises:
        ValueError: Arguments out of their ranges; in training, an optimizer that isn't a `tf_reg.Proximal` with a
            number as its strength, a model without what `of` counts, no epoch left before the refit.

    Warns:
        UserWarning: At the end of training, where the share isn't at the target.

    Example:
        >>> layer = keras.layers.Dense(50, kernel_regularizer=keras.regularizers.L1(1e-3))
        >>> model = keras.Sequential([keras.Input((20,)), layer])
        >>> model.compile(tf_reg.Proximal(keras.optimizers.SGD(0.1)), "mse")
        >>> x, y = keras.random.normal((64, 20), seed=1), keras.random.normal((64, 50), seed=2)
        >>> history = model.fit(x, y, 8, epochs=30, verbose=0, callbacks=[tf_reg.TargetSparsity(0.8)])
        >>> bool(abs(tf_reg.sparsity(model).total.sparsity - 0.8) <= 0.01)
        True
    """

    def __init__(
        self,
        target: float,
        of: Literal["weights", "groups", "parameters"] = "weights",
        tolerance: float = 0.01,
        refit_epochs: int | None = None,
        initial: float | None = None,
        keep_zeros: bool | None = None,
    ) -> None:
        super().__init__()
        self.target, self.tolerance = number(target), number(tolerance)
        self.initial = None if initial is None else number(initial)
        require(0 < self.target < 1, "target is a share, above 0 and below 1", "target", target)
        known = isinstance(of, str) and of in _SHARES
        require(known, f"of is one of {', '.join(map(repr, _SHARES))}", "of", of)
        require(0 < self.tolerance < 1, "tolerance is a share, above 0 and below 1", "tolerance", tolerance)
        whole = refit_epochs is None or (is_integer(refit_epochs) and refit_epochs >= 0)
        require(whole, "refit_epochs is a number of epochs, zero or above", "refit_epochs", refit_epochs)
        above = self.initial is None or 0 < self.initial < math.inf
        require(above, "initial is a strength above 0", "initial", initial)
        decided = keep_zeros is None or isinstance(keep_zeros, bool)
        require(decided, "keep_zeros is True, False or None", "keep_zeros", keep_zeros)
        self.of = of
        self.refit_epochs = refit_epochs
        self.keep_zeros = of == "weights" if keep_zeros is None else keep_zeros
        self._reset()

    def _reset(self) -> None:
        self._meter: Meter | None = None
        self._search: StrengthSearch | None = None
        self._first_epoch: int | None = None
        self._in_epoch = 0  # batches of this epoch so far
        self._batches = 0
        self._share = math.nan
        self._half_unit = 0.0
        self._strength = math.nan
        self._refit = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew, from a low strength."""
        super().on_train_begin(logs)
        self._reset()
        optimizer = self.optimizer()
        self._strength = self.initial or 1e-3 * (strength_of(optimizer) or 1.0)
        optimizer.strength = self._strength
        if self.keep_zeros:
            optimizer.freeze()
        else:
            optimizer.unfreeze()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Plan the search, as soon as the number of batches of an epoch is known."""
        self._first_epoch = epoch if self._first_epoch is None else self._first_epoch
        steps = self.params.get("steps") or self._in_epoch
        if self._search is None and steps:
            epochs = self.params["epochs"] - self._first_epoch
            search = epochs - (epochs / 3 if self.refit_epochs is None else self.refit_epochs)
            require(search > 0, f"refit_epochs must be below the {epochs} of fit", "refit_epochs", self.refit_epochs)
            self._search = StrengthSearch(self.target, search * steps, self._strength)
        self._in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Now and then: measure the share, then move the strength or freeze."""
        self._batches += batch + 1 - self._in_epoch  # with `steps_per_execution`, several batches end at once
        self._in_epoch = batch + 1
        if self._refit or self._search is None or self._batches < self._search.due:
            return
        optimizer = self.optimizer()
        layers = self._measure()
        tolerance = self.tolerance / 4 if self._batches < self._search.batches else self.tolerance
        self._refit = abs(self._share - self.target) <= max(tolerance, self._half_unit)
        if self._refit or (self.keep_zeros and self._share < self.target):
            optimizer.freeze()
        else:
            optimizer.unfreeze()
        norms = {path: layer.norm for path, layer in layers.items() if layer.zeros < layer.count}
        self._strength = 0.0 if self._refit else self._search.steer(self._batches, self._share, norms)
        optimizer.strength = self._strength

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `strength`, `zero_share` and `refit` to `logs`."""
        if logs is not None:
            logs.update(strength=self._strength, zero_share=self._share, refit=float(self._refit))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn where the target isn't reached."""
        self._measure()
        if not self._refit or abs(self._share - self.target) > max(self.tolerance, self._half_unit):
            outcome = "froze at it, and other weights came later" if self._refit else "did not reach it"
            warnings.warn(
                f"TargetSparsity({self.target}, of={self.of!r}) {outcome}: the share is {self._share:.4f} at the end, "
                f"with a strength of {self._strength:.3g}. Train for more epochs or with a larger tolerance; a share "
                "that stays below may be all that the regularised layers can give.",
                stacklevel=2,
            )
        self._meter = None

    def _measure(self) -> dict[str, WeightStatistics]:
        model = self.model  # on JAX, reading this attribute brings the weights up to date
        if self._meter is None:
            self._meter = Meter(model, near_zero=0.0, of=_gives_zeros, report=self.of == "parameters")
        measured = self._meter.measure()
        zeros, count = _SHARES[self.of](measured.total)
        if not count:
            raise ValueError(
                f"TargetSparsity(of={self.of!r}) needs {_NEEDS[self.of]}. Received a model without. "
                "Give its layers a kernel_regularizer, such as keras.regularizers.L1."
            )
        self._share, self._half_unit = zeros / count, 0.5001 / count
        if self.of == "parameters":
            report = measured.report.total
            self._share, self._half_unit = 1 - report.live / report.parameters, 0.0
        return measured.layers


def _gives_zeros(regularizer: Any) -> bool:
    penalty = penalty_of(regularizer)
    return penalty is not None and penalty.gives_zeros


_SHARES: dict[str, Callable[[WeightStatistics], tuple[int, int]]] = {
    "weights": lambda found: (found.zeros, found.count),
    "groups": lambda found: (found.dead_groups, found.groups),
    "parameters": lambda found: (found.zeros, found.count),
}
_NEEDS = {
    "weights": "weights with a penalty that gives zeros",
    "groups": "kernels with a regularizer that has groups, such as tf_reg.GroupLasso",
    "parameters": "weights with a penalty that gives zeros",
}
