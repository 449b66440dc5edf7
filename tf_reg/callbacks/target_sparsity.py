"""A callback that moves the strength of `tf_reg.Proximal` until a wanted share of the model is exactly zero."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

from tf_reg._checks import is_integer, number, require
from tf_reg.callbacks.batches import batches_done, steps_at_once
from tf_reg.callbacks.hard_budget import HardBudget, check_budget
from tf_reg.callbacks.search_time import too_short
from tf_reg.callbacks.share import NEEDS, Share, ShareMeter
from tf_reg.callbacks.strength import StrengthCallback, strength_of
from tf_reg.callbacks.strength_search import StrengthSearch

# What changes in a search, beside what is made from the model when it is needed.
_STATE = (
    "_first_epoch", "_in_epoch", "_batches", "_share", "_half_unit", "_strength", "_refit", "_cut", "_keep",
)  # fmt: skip


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

    With `exact` the number is exact: `k = round((1 - target) * n)` of n weights, groups or channels stay. The search
    ends with a little more than k. Then the k largest are kept, and the others become zero: the nearest point with k
    that aren't. The size of a group or channel is the root mean square of its weights; of equal ones the first stays.
    The largest of each layer stays. If more than n - k are zero, or all of a layer, the strength falls until enough
    have come back. Where they don't, or k is below the number of layers, a warning says so.

    With `round_to` the number that stays in each layer is a multiple of it, or all of the layer. Of all such choices it
    is one with the largest total, k at most; of these the one that keeps the largest sum of mean squares.

    `strength`, `zero_share` (the share that was measured last) and `refit` (1 in the refit, else 0) join the `logs`.
    A callback that brings back older weights, such as `EarlyStopping(restore_best_weights=True)`, undoes the work.

    Zhu & Gupta 2017, "To prune, or not to prune" (the plan); Han et al. 2015, "Learning both weights and connections
    for efficient neural networks" (the refit).

    Args:
        target: The wanted share, above 0 and below 1.
        of: `"weights"`: exact zeros among the weights whose penalty gives zeros, which L2's doesn't; `"groups"`: dead
            groups among those of regularizers that have groups, such as `tf_reg.GroupLasso`; `"channels"`: dead
            channels among those that `tf_reg.channels` says are free, and that such penalties can make dead: they are
            on all weights that make the channel, or on all that read it; `"parameters"`: 1 - live / all parameters, as
            `tf_reg.sparsity` counts them: the share that `tf_reg.compact` saves; `"flops"`: the same of multiply-adds,
            as `tf_reg.plan_compaction` counts them. The share is measured a few hundred times. For the last two that
            takes 0.01 s each in a small network, 0.4 s in MobileNetV2.
        tolerance: How far from the target counts as reached, as a share: 0.01 is one percentage point.
        refit_epochs: How many of the last epochs to keep for the refit; a third of all if not given. If the target is
            reached before, all epochs that are left refit.
        initial: The strength to start with, above 0; if not given, a thousandth of the optimizer's (of 1 where that
            is 0). Too low costs little time.
        keep_zeros: Whether zeros are kept during the search. If not given, for `of="weights"` only.
        exact: Whether exactly as many stay as the target says, for weights, groups and channels.
        round_to: With `exact`, for groups and channels: a number such as 8, of which the number that stays in each
            layer is a multiple. Channels that belong together count as a layer. None for any number.

    Raises:
        ValueError: Arguments out of their ranges; in training, an optimizer that isn't a `tf_reg.Proximal` with a
            number as its strength, a model without what `of` counts, no epoch left before the refit, and with `exact` a
            target with which nothing would stay.

    Warns:
        UserWarning: At the start of training, where its steps are too few for the search, with how many epochs do; at
            the end, where the share isn't at the target and where an output doesn't depend on the input any more;
            with `exact` also where the search ended far from the target, and where a layer becomes zero.

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
        of: Literal["weights", "groups", "channels", "parameters", "flops"] = "weights",
        tolerance: float = 0.01,
        refit_epochs: int | None = None,
        initial: float | None = None,
        keep_zeros: bool | None = None,
        exact: bool = False,
        round_to: int | None = None,
    ) -> None:
        super().__init__()
        self.target, self.tolerance = number(target), number(tolerance)
        self.initial = None if initial is None else number(initial)
        require(0 < self.target < 1, "target is a share, above 0 and below 1", "target", target)
        known = isinstance(of, str) and of in NEEDS
        require(known, f"of is one of {', '.join(map(repr, NEEDS))}", "of", of)
        require(0 < self.tolerance < 1, "tolerance is a share, above 0 and below 1", "tolerance", tolerance)
        whole = refit_epochs is None or (is_integer(refit_epochs) and refit_epochs >= 0)
        require(whole, "refit_epochs is a number of epochs, zero or above", "refit_epochs", refit_epochs)
        above = self.initial is None or 0 < self.initial < math.inf
        require(above, "initial is a strength above 0", "initial", initial)
        decided = keep_zeros is None or isinstance(keep_zeros, bool)
        require(decided, "keep_zeros is True, False or None", "keep_zeros", keep_zeros)
        self.of = of
        self.refit_epochs = None if refit_epochs is None else int(refit_epochs)
        self.keep_zeros = of == "weights" if keep_zeros is None else keep_zeros
        check_budget(exact, of, round_to)
        self.exact, self.round_to = exact, None if round_to is None else int(round_to)
        self._reset()

    def _reset(self) -> None:
        self._at_once = 1
        self._meter: ShareMeter | None = None
        self._budget: HardBudget | None = None
        self._search: StrengthSearch | None = None
        self._first_epoch: int | None = None
        self._in_epoch = 0  # batches of this epoch so far
        self._batches = 0
        self._share = math.nan
        self._half_unit = 0.0
        self._strength = math.nan
        self._refit = False
        self._cut = 0  # how many the budget set to zero
        self._keep: int | None = None  # how many the budget kept

    def get_state(self) -> dict[str, Any]:
        """Return what `tf_reg.Resume` saves of the search."""
        return {name: getattr(self, name) for name in _STATE} | {"search": self._search and dict(vars(self._search))}

    def set_state(self, state: dict[str, Any]) -> None:
        """Bring back what `get_state` returned."""
        search = state["search"]
        for name in _STATE:
            setattr(self, name, state[name])
        self._search = None if search is None else StrengthSearch.of_state(search)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew, from a low strength."""
        super().on_train_begin(logs)
        self._reset()
        self._at_once = steps_at_once(self.model)
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
            self._measure()  # a model without what is counted is refused first
            has = self.target, search * steps, self.refit_epochs, steps, self.exact
            short = too_short(self.model, self.optimizer(), *has)
            if short:
                self._warn(short)
        self._in_epoch = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Now and then: measure the share, then move the strength or freeze."""
        done = batches_done(batch, self.params, self._at_once)
        self._batches += done - self._in_epoch
        self._in_epoch = done
        if self._refit or self._search is None or self._batches < self._search.due:
            return
        measured, over = self._measure(), self._batches >= self._search.batches
        if self.exact:
            share = self._meet_budget(measured, over)
            enough = share > self._search.target
        else:
            tolerance = self.tolerance if over else self.tolerance / 4
            self._refit = abs(self._share - self.target) <= max(tolerance, self._half_unit)
            share, enough = self._share, self._share >= self.target
        optimizer = self.optimizer()
        if self._refit or (self.keep_zeros and not enough):
            optimizer.freeze()
        else:
            optimizer.unfreeze()
        norms = {path: layer.norm for path, layer in measured.layers.items() if layer.zeros < layer.count}
        self._strength = 0.0 if self._refit else self._search.steer(self._batches, share, norms)
        if self.exact and not over:
            self._search.due = min(self._search.due, self._search.batches)
        optimizer.strength = self._strength

    def _meet_budget(self, measured: Share, over: bool, last: bool = False) -> float:
        """Set all but the largest to zero, if the search is over or has only a few more.

        Args:
            measured: What was measured last.
            over: Whether the time of the search is over.
            last: Whether training is over.

        Returns:
            The share of what can't stay, which the search moves.
        """
        if self._budget is None:
            channels = self._meter.channels if self._meter else []
            self._budget = HardBudget(self.model, self.of, channels, self.target, self.round_to or 1)
        budget = self._budget
        alive = budget.alive() if self.round_to else measured.number - measured.zeros
        window = max(self.tolerance / 2 * budget.count, self.round_to or 1)
        dead = any(layer.zeros == layer.count for layer in measured.layers.values())
        if dead and not over and budget.keep >= len(measured.layers):  # a layer of zeros comes back first
            alive = min(alive, budget.keep // 2)
        if self._search is not None:
            self._search.target = max(0.0, 1 - (budget.keep + window / 2) / budget.count)
        if last or (alive >= budget.keep and (over or alive - budget.keep <= window)):
            self._keep = budget.apply(fewer=over)
        if self._keep is not None:
            self._refit, self._cut = True, alive - self._keep
            self._measure()
        return 1 - alive / budget.count

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `strength`, `zero_share` and `refit` to `logs`."""
        if logs is not None:
            logs.update(strength=self._strength, zero_share=self._share, refit=float(self._refit))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn where the target isn't reached, and of outputs that are the same for all inputs."""
        measured = self._measure()
        if self.exact:
            self._end_of_budget(measured)
        elif not self._refit or abs(self._share - self.target) > max(self.tolerance, self._half_unit):
            outcome = "froze at it, and other weights came later" if self._refit else "did not reach it"
            self._warn(
                f"{outcome}: the share is {self._share:.4f} at the end, with a strength of {self._strength:.3g}. Train "
                "for more epochs or with a larger tolerance; a share that stays below may be all that the regularised "
                "layers can give."
            )
        self._meter = self._budget = None
        super().on_train_end(logs)

    def _end_of_budget(self, measured: Share) -> None:
        if not self._refit:
            self._meet_budget(measured, over=True, last=True)
        if self._refit:
            optimizer = self.optimizer()
            optimizer.freeze()
            optimizer.strength = self._strength = 0.0
            measured = self._measure()
        alive, budget = measured.number - measured.zeros, self._budget
        if budget is None or self._keep is None:
            keep = "as many as it says" if budget is None else budget.keep
            self._warn(
                f"has too many zeros: {alive:,} of {measured.number:,} {self.of} aren't zero, and {keep} are to stay. "
                "They didn't come back in time. Train longer, with a lower initial strength, or keep_zeros=False."
            )
        elif alive != self._keep:
            self._warn(
                f"kept {self._keep:,} of {measured.number:,} {self.of}, and {alive:,} aren't zero at the end. "
                "Something else changed them: a constraint, or a callback that brings back older weights."
            )
        elif self._cut > max(self.tolerance * budget.count, self.round_to or 1):
            self._warn(
                f"set {self._cut:,} of {measured.number:,} {self.of} to zero at once: the search had not come near the "
                "target. Train for more epochs, or with a higher initial strength."
            )

    def _warn(self, outcome: str) -> None:
        exact = ", exact=True" if self.exact else ""
        warnings.warn(f"TargetSparsity({self.target}, of={self.of!r}{exact}) {outcome}", stacklevel=3)

    def _measure(self) -> Share:
        model = self.model  # on JAX, reading this attribute brings the weights up to date
        if self._meter is None:
            self._meter = ShareMeter(model, self.of)
        measured = self._meter.measure()
        self._share, self._half_unit = measured.value, measured.half_unit
        return measured
