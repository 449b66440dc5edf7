"""An optimizer around an optimizer that ends every step with the proximal operator of the penalties."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from tf_reg._backend import Tensor
from tf_reg._checks import count, from_config
from tf_reg._trainer import in_apply, model_with
from tf_reg.optimizers import dual_averaging as dual
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.clipping import warn_of_clipping
from tf_reg.optimizers.factors import Factors
from tf_reg.optimizers.fused import FusedUpdate, Update
from tf_reg.optimizers.ownership import Claim, Ledger
from tf_reg.optimizers.proximal_step import before_update, make_step
from tf_reg.optimizers.steered import SteeredOptimizer
from tf_reg.optimizers.wrapper import variables_of


@keras.saving.register_keras_serializable(package="tf_reg")
class Proximal(SteeredOptimizer):
    """A Keras optimizer that makes weights exactly zero: every step ends with the proximal operator of the penalty.

    A step is `w <- prox(w - inner step)`. The inner optimizer follows the gradient of the data loss alone. `prox` is
    the proximal operator of `strength * R`, with the step size and the preconditioner of the inner optimizer (see
    `tf_reg.optimizers.preconditioner`). So the training converges to a minimum of `data loss + strength * R`.

    Use it with any model whose layers have regularizers: Keras' `L1`, `L2`, `L1L2`, `tf_reg.GroupLasso`,
    `tf_reg.SparseGroupLasso`, `tf_reg.MCP`, `tf_reg.SCAD`, `tf_reg.LogSum`, `tf_reg.Lq`, or your own
    (`tf_reg.register_prox`). The optimizer takes their penalties out of the gradient. They stay in the reported loss,
    without the factor `strength`. Regularizers without a proximal operator stay in the gradient. If you compile the
    model with another optimizer, all penalties are in the gradient again.

    It may be the optimizer of `compile`, a part of it (`keras.optimizers.MultiOptimizer`, `LossScaleOptimizer`), or an
    attribute of a model with a `train_step` of its own. If it is kept anywhere else, call `optimizer.build(model)`
    after `model.compile`. In a training loop of your own, call `optimizer.build(model)` before the first loss; without
    it, the first step leaves the penalties in the gradient. Call `release` before you train the same weights with
    another optimizer in such a loop.

    To load a saved model, `import tf_reg` first. All settings of the inner optimizer (learning rate, clipping, weight
    decay, gradient accumulation, moving average, momentum) can be read and set on either of the two. A moving average
    (`use_ema`) is taken after the proximal operator, and is zero where the weight is zero. A `LossScaleOptimizer`
    belongs outside.

    In an adaptive optimizer, the step size of a weight that has had no gradient yet has no bound. There the proximal
    operator moves a weight no farther than the optimizer itself could have done. (A penalty of your own waits for the
    first gradient.) Where the learning rate has fallen to zero, zeros stay zero.

    With mini-batches a zero can come and go. With `dual_averaging` the average of all gradients so far decides what is
    zero (FTRL-Proximal with RMDA's weights: formulas and papers in `tf_reg.optimizers.dual_averaging`). The minimum is
    the same. Zeros still come back, but the longer the training, the more gradients that takes; `restart` forgets the
    old ones. It takes memory of the size of the weights. It is for L1, L1L2 and the group lassos; L2 and penalties of
    your own act as without it. The longer the training, the slower change the weights of a group, and of L1L2.

    Yun, Lozano & Yang 2021, "Adaptive proximal gradient methods for structured neural networks".

    Args:
        inner_optimizer: `SGD` (plain, with momentum, Nesterov), `Adam` (and amsgrad), `AdamW`, `RMSprop` (plain, with
            momentum, centered) or `Adagrad`, or its name.
        strength: The multiplier of all penalties, zero or above: a number, which can be changed at any time
            (`optimizer.strength = 0.5`), or a `LearningRateSchedule` of the inner optimizer's steps.
        name: The name of the optimizer.
        penalty_factors: Whether each penalty that gives zeros has factors: one number for each weight or, if the
            penalty has groups, for each group, by which its penalty is multiplied in the step. They are ones until
            `tf_reg.Reweight` or `tf_reg.set_penalty_factors` sets them. The reported loss is without them, as it is
            without `strength`. `L1L2` has them for its L1 part alone. `L2` has none, and neither have penalties of
            your own.
        dual_averaging: Whether averages of the gradients decide what is zero.

    Raises:
        ValueError: An inner optimizer whose step isn't known, or a strength below zero; when it is built, a concave
            penalty with `dual_averaging`.

    Example:

    >>> layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(1.0))
    >>> model = keras.Sequential([keras.Input((4,)), layer])
    >>> model.compile(tf_reg.Proximal(keras.optimizers.Adam(0.1)), loss="mse")
    >>> history = model.fit(np.ones((8, 4)), np.zeros((8, 1)), epochs=20, verbose=0)
    >>> int(keras.ops.count_nonzero(layer.kernel))
    0
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer | str,
        strength: float | LearningRateSchedule = 1.0,
        name: str | None = None,
        penalty_factors: bool = False,
        dual_averaging: bool = False,
    ):
        inner_optimizer = preconditioner.optimizer_of(inner_optimizer, "inner_optimizer")
        super().__init__(inner_optimizer, strength, name)
        self._dual = dual.chosen(dual_averaging)
        self._factors = Factors(penalty_factors)
        self._late = False  # whether the gradients of the next step were computed before `build`
        self._ledger = Ledger(self)
        self._fused = FusedUpdate(inner_optimizer, self.moving_average)

    def build(self, variables: Sequence[keras.Variable] | keras.Layer) -> None:
        """Make the variables of the optimizer, and take the penalties out of the gradient of the loss.

        Args:
            variables: The variables that the optimizer is going to train, or a built model. A model says also who
                trains: the optimizer then applies the model's penalties in a training loop of your own, and in `fit`
                until the model is compiled again. `build(model)` may be called again after that.

        Raises:
            ValueError: A model that has no variables yet.
        """
        model = variables if isinstance(variables, keras.Layer) else None
        if not self.built:
            variables = variables_of(model) if model is not None else variables
            super().build(variables)
            self._state.build(self)
            if self._dual is not None:
                self._dual.build(self, variables)
            self._late = in_apply()
            self._claim(variables)
            if model is None:
                self._ledger.note_caller(self._late)
        if model is not None:
            self._ledger.note(model)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("clipnorm", "global_clipnorm", "clipvalue") and getattr(self, "built", False):
            self._check_clip()

    def _check_clip(self) -> None:
        claims = self._ledger.claimed(self._trainable_variables)
        warn_of_clipping(self.inner_optimizer, claims, 1.0 if self.scheduled else self._state.strength_config())

    def _claim(self, variables: Sequence[keras.Variable]) -> None:
        if self._dual is not None:
            dual.check_penalties(variables, {})
        self._ledger.claim(variables)
        self._factors.build(self, self._ledger.claimed(variables))
        warn_of_clipping(self.inner_optimizer, self._ledger.claimed(variables), self._state.first_strength)

    @property
    def dual_averaging(self) -> bool:
        """Whether the steps are those of dual averaging."""
        return self._dual is not None

    def restart(self) -> None:
        """Let dual averaging forget the gradients so far: the next step begins a new average.

        Call it where the data or the strength has changed for good, and after you have set weights.

        Raises:
            ValueError: An optimizer without `dual_averaging`.
        """
        if self._dual is None:
            raise ValueError("restart is for dual averaging. Received: dual_averaging=False. Leave out the call.")
        if self.built:
            self._dual.restart()

    def release(self) -> None:
        """Give the penalties back to the gradient of the loss, permanently. Then only the inner optimizer is left.

        A model that is compiled again needs no release. A training loop of your own does; compile its step again.
        """
        self._ledger.release()

    def reclaim(self, model: keras.Model) -> None:
        """Take the penalties of a model as they are now, after its regularizers have changed.

        `tf_reg.regularize` calls it. The functions of the model must be compiled again.

        Args:
            model: The model that is trained with this optimizer.
        """
        self._ledger.release()
        self._claim(self._trainable_variables)
        self._ledger.note(model)
        if self._dual is not None:
            self._dual.restart()  # the sums hold the balance with the penalties of before

    @property
    def penalty_factors(self) -> bool:
        """Whether penalties that give zeros have factors."""
        return self._factors.used

    def factored(self) -> list[Claim]:
        """Return the claims whose penalties have factors, with these. None before `build`."""
        claims = self._factors.given(self._ledger.claimed(self._trainable_variables))
        return [claim for claim in claims if claim.factor is not None]

    def penalty_factor_of(self, variable: keras.Variable) -> keras.Variable | None:
        """Return the factors of a variable's penalty, which can be assigned; None where there are none.

        They are finite numbers, zero or above, in a variable of the same shape; for groups of a kernel of the shape
        `(inputs, outputs)`, of the shape `(inputs, 1)` or `(1, outputs)`.

        Args:
            variable: A variable that the optimizer trains.
        """
        return next((claim.factor for claim in self.factored() if claim.variable is variable), None)

    def pays(self, variable: keras.Variable) -> bool:
        """Return whether the penalty of a variable is one that this optimizer applies."""
        return self._ledger.has(variable)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return the inner optimizer's scaled loss.

        If the optimizer isn't built, this builds it. The penalties that the loss has already leave its gradient.
        """
        model = None if self.built else model_with(self)
        if model is not None:
            self.build(model.trainable_variables)
            loss = sum((ops.cast(term, loss.dtype) for term in self._ledger.corrections()), start=loss)
        return super().scale_loss(loss)

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Make the inner optimizer's step, then apply the proximal operators.

        Args:
            grads: The gradients of the loss. The claimed penalties aren't in them.
            trainable_variables: The variables, in the same order; those of `build` if not given.

        Raises:
            ValueError: A regularizer changed after `build`; or another number of gradients than of variables, unknown
                variables, or none for an optimizer that isn't built.
        """
        if len(grads) == 0:
            return
        if trainable_variables is None and not self.built:
            raise ValueError(
                f"apply expects the variables, or an optimizer that is built. Received: {len(grads)} gradients without "
                f"variables for {self.name!r}, which isn't built. Call optimizer.build(model) first."
            )
        given = None if trainable_variables is None else list(trainable_variables)
        variables = self._trainable_variables if given is None else given
        if not self.built:
            with keras.name_scope(self.name, caller=self):
                self.build(variables)
        claims = self._factors.given(self._ledger.claims(variables))
        dtype = self._state.tau.dtype
        rate, strength = ops.cast(self.inner_optimizer.learning_rate, dtype), ops.cast(self.strength, dtype)
        if self._late or not claims:  # the penalties are in the gradients
            strength = ops.zeros_like(strength)
        self._late = False
        keep = self._state.keeps_zeros(self.inner_optimizer, rate)
        average = self.moving_average.next(ops.floor_divide(self.calls, self.calls_per_update))
        step = self._state.advance(self.inner_optimizer, rate, strength, self.calls + 1, self._dual)
        update = Update(rate, keep, step, average)
        if self._fused.possible(variables, grads):
            self._fused.apply(grads, variables, claims, update)
            return
        old = before_update(self.inner_optimizer, claims, keep)
        self.inner_apply(grads, given)
        make_step(self.inner_optimizer, claims, old, step)
        paid = [claim.variable for claim in claims]
        self.moving_average.update(average, self.inner_optimizer._trainable_variables, paid)

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """With `use_ema`, set the weights to their averages."""
        self._ledger.note_caller(in_apply=False)
        super().finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, serialised. A strength that was set is returned as it is now."""
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "strength": self._state.strength_config(),
            "penalty_factors": self.penalty_factors,
            "dual_averaging": self.dual_averaging,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Proximal:
        """Return the optimizer that `get_config` describes, or that tf_reg 0.1 saved.

        Warns:
            UserWarning: It was saved with `every` above 1. Now the proximal operator is applied at every step.
        """

        def make(given: dict[str, Any]) -> Proximal:
            read = functools.partial(keras.saving.deserialize_keras_object, custom_objects=custom_objects)
            count(given.pop("every", 1), "every")
            return cls(**{**given, **{name: read(given[name]) for name in ("inner_optimizer", "strength")}})

        optimizer = from_config(cls.__name__, config, make)
        if config.get("every", 1) > 1:
            warnings.warn(
                f"The optimizer was saved with every={config['every']}. It now applies the operator at every step.",
                stacklevel=2,
            )
        return optimizer
