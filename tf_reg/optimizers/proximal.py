"""An optimizer around an optimizer, whose steps end in the proximal map of the penalties: zeros that are zero."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from tf_reg._backend import Tensor, in_a_graph, trace_again
from tf_reg._xla import update
from tf_reg.optimizers import preconditioner
from tf_reg.optimizers.ownership import Claim, Ledger, in_apply
from tf_reg.optimizers.wrapper import OptimizerWrapper
from tf_reg.penalties.group_lasso import is_elementwise


@keras.saving.register_keras_serializable(package="tf_reg")
class Proximal(OptimizerWrapper):
    """A Keras optimizer that ends every step with the proximal map of the penalties: weights become exactly zero.

    A step is `w <- prox(inner step of w)`, where the inner step follows the gradient of the data alone and `prox` is
    the map of `strength * R`, in the metric of the inner optimizer (see `tf_reg.optimizers.preconditioner`), so that
    the minimum of `data loss + strength * R` is where it stops.

    Use it with any model whose layers have regularizers: Keras' `L1`, `L2`, `L1L2`, `tf_reg.GroupLasso`,
    `tf_reg.SparseGroupLasso`, or your own (`tf_reg.register_prox`). Their penalties leave the gradient and stay in the
    reported loss, without the factor `strength`. Regularizers without a proximal map stay in the loss as ever. Compile
    the model with another optimizer, and all penalties are back in the loss.

    In your own training loop call `optimizer.build(model.trainable_variables)` before the first loss; otherwise the
    first step leaves the penalties to the gradient, which has them already. To load a saved model, `import tf_reg`
    first. Gradient accumulation, weight decay, clipping and moving averages are set on the inner
    optimizer. A moving average (`use_ema`) is taken after the map, and is zero where the weight is. A
    `LossScaleOptimizer` belongs outside. A weight that has never had a gradient has a very large step in an adaptive
    optimizer's metric and goes to zero at once: rows of an Embedding before their first use, for instance.

    Yun, Lozano & Yang 2021, "Adaptive proximal gradient methods for structured neural networks"; for `every`:
    Langford, Li & Zhang 2009, "Sparse online learning via truncated gradient".

    Args:
        inner_optimizer: `SGD` (plain, with momentum, Nesterov), `Adam` (and amsgrad), `AdamW`, `RMSprop` (plain, with
            momentum, centered) or `Adagrad`, or its name.
        strength: The multiplier of all penalties, zero or above: a number, which can be changed at any time
            (`optimizer.strength = 0.5`), or a `LearningRateSchedule` of the inner optimizer's steps.
        every: Apply the map only at every k-th step, with the sum of the k steps. It costs less; between two maps the
            weights aren't exactly zero. At the end of `fit` and before `freeze` it is applied too; for zeros in what is
            saved after an epoch, let k divide the epoch's steps.
        name: The name of the optimizer.

    Raises:
        ValueError: An inner optimizer whose metric isn't known, a strength below zero, an `every` below 1.

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
        every: int = 1,
        name: str | None = None,
    ):
        inner_optimizer = keras.optimizers.get(inner_optimizer)
        preconditioner.check(inner_optimizer)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every is a number of steps, 1 or above. Received: every={every!r}")
        super().__init__(inner_optimizer, name)
        self.every = every
        scheduled = isinstance(strength, LearningRateSchedule)
        self._strength: Any = strength if scheduled else self._scalar("strength", _checked(strength))
        self._first_strength = 1.0 if scheduled else _checked(strength)
        self._frozen = self._scalar("frozen", False, dtype="bool")
        self._tau = self._scalar("tau", 0.0)
        self._pending = self._scalar("pending", 0.0)
        self._late = False
        self._ledger = Ledger(self)

    def _scalar(self, name: str, value: float, dtype: str | None = None) -> keras.Variable:
        # `Constant` multiplies. TensorFlow 2.18 can't multiply booleans.
        initializer = keras.initializers.Constant(value) if value else "zeros"
        return self.add_variable((), initializer, dtype, aggregation="only_first_replica", name=name)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the inner optimizer's variables, and take the penalties out of the gradient of the loss.

        Args:
            variables: The model's trainable variables.
        """
        if self.built:
            return
        super().build(variables)
        self._ledger.claim(variables)
        self._late = in_apply()
        if self._late and in_a_graph():
            trace_again()
        _warn_of_clipping(self.inner_optimizer, self._ledger.claims(variables), self._first_strength)

    @property
    def strength(self) -> Any:
        """The multiplier of all penalties: a variable, or a schedule's value at the next step."""
        if isinstance(self._strength, LearningRateSchedule):
            return self._strength(self.calls)
        return self._strength

    @strength.setter
    def strength(self, strength: float) -> None:
        if isinstance(self._strength, LearningRateSchedule):
            raise ValueError(
                "This Proximal was given a schedule as its strength, which then can't be set. "
                f"Received: strength={strength!r}. Construct it with a number instead."
            )
        if isinstance(strength, LearningRateSchedule):
            raise ValueError(
                "A strength that is set is a number. Received a LearningRateSchedule: give it to the constructor, or "
                "use tf_reg.StrengthSchedule."
            )
        given = isinstance(strength, keras.Variable) or ops.is_tensor(strength)
        self._strength.assign(strength if given else _checked(strength))

    @property
    def frozen(self) -> bool:
        """Whether zeros stay zero."""
        return bool(self._frozen.numpy())

    def freeze(self) -> None:
        """From the next step on, every penalised weight that is zero stays zero.

        It needs no new compilation and is saved with the model. With `strength = 0` after it, the weights that are
        left are fitted without the penalty's bias.
        """
        self.settle()
        self._frozen.assign(True)

    def unfreeze(self) -> None:
        """Undo `freeze`: from the next step on, a weight that is zero may come back."""
        self._frozen.assign(False)

    def release(self) -> None:
        """Give the penalties back to the gradient of the loss, for good; then this is the inner optimizer alone.

        A model that is compiled anew needs no release; a training loop of your own does. Compile its step again.
        """
        self._ledger.release()

    def reclaim(self, model: keras.Model) -> None:
        """Take over the penalties of a model as they are now: its regularizers changed after `build`.

        `tf_reg.regularize` calls it. The model's functions must be compiled again.

        Args:
            model: The model that is trained with this optimizer.
        """
        self._ledger.release()
        self._ledger.claim(self._trainable_variables, model)
        _warn_of_clipping(self.inner_optimizer, self._ledger.claims(self._trainable_variables), self._first_strength)

    def pays(self, variable: keras.Variable) -> bool:
        """Whether a variable's penalty was taken over by this optimizer."""
        return self._ledger.has(variable)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """The inner optimizer's scaled loss."""
        model = None if self.built else self._ledger.model_in_training()
        if model is not None:
            self.build(model.trainable_variables)
            loss = sum((ops.cast(term, loss.dtype) for term in self._ledger.paid_already()), start=loss)
        return super().scale_loss(loss)

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Make the inner optimizer's step, then apply the proximal maps.

        Args:
            grads: The gradients of the loss without the claimed penalties.
            trainable_variables: The variables, in the same order; those of `build` if not given.

        Raises:
            ValueError: A regularizer changed after `build`.
        """
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        if not self.built:
            with keras.name_scope(self.name, caller=self):
                self.build(variables)
        claims = self._ledger.claims(variables)
        zeros = self._zeros(claims)
        rate = ops.cast(self.inner_optimizer.learning_rate, self._tau.dtype)
        strength = ops.cast(self.strength, self._tau.dtype)
        if self._paid_by_gradient():
            strength = ops.zeros_like(strength)
        self.inner_optimizer.apply(grads, variables)
        amount, due = self._amount(rate, strength)
        self._map(claims, zeros, amount, due)
        claimed = {id(claim.variable) for claim in claims}
        self.average(lambda variable: id(variable) in claimed)

    def settle(self) -> None:
        """Where `every` is above 1, apply the map for the steps since the last one: then zeros are zero.

        The end of `fit` and `freeze` call it. Nothing else changes: the next map comes when it is due.
        """
        if not self.built or self.calls_per_update * self.every == 1:
            return
        claims = self._ledger.claims(self._trainable_variables)
        pending = self._pending.value
        self._map(claims, self._zeros(claims), pending, pending > 0)
        self._pending.assign(ops.zeros_like(pending))
        self.zero_averages([claim.variable for claim in claims])

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Apply the map that is left; with `use_ema`, the averages become the weights."""
        self.settle()
        super().finalize_variable_values(var_list)

    def _paid_by_gradient(self) -> bool:
        """Whether the gradients of this step have the penalties in them: they came before `build`."""
        late, self._late = self._late, False
        return late and not in_a_graph()

    def _zeros(self, claims: Sequence[Claim]) -> list[Tensor]:
        """Which weights must stay zero: none, unless frozen."""
        values = [ops.stop_gradient(claim.variable) for claim in claims]
        if not values:
            return []
        return ops.cond(
            ops.logical_not(self._frozen),
            lambda: [ops.zeros(value.shape, dtype="bool") for value in values],
            lambda: [ops.equal(value, 0) for value in values],
        )

    def _amount(self, rate: Tensor, strength: Tensor) -> tuple[Tensor, Tensor | bool]:
        """By how much to step now, metric apart, and whether to step at all: True where that is every call."""
        inner = self.inner_optimizer
        tau, amount = preconditioner.with_momentum(inner, self._tau, preconditioner.number(inner, rate))
        amount = amount * strength
        period = self.calls_per_update * self.every
        if period == 1:
            self._tau.assign(tau)
            return amount, True
        updated = self.calls % self.calls_per_update == 0
        due = self.calls % period == 0
        self._tau.assign(ops.where(updated, tau, self._tau.value))
        pending = self._pending + ops.where(updated, amount, ops.zeros_like(amount))
        nothing = ops.zeros_like(pending)
        self._pending.assign(ops.where(due, nothing, pending))
        return ops.where(due, pending, nothing), ops.logical_or(due, self._frozen)

    def _map(self, claims: Sequence[Claim], zeros: Sequence[Tensor], amount: Tensor, due: Tensor | bool) -> None:
        if not claims:
            return
        # In one compiled kernel an elementwise map by an amount of 0 costs less than a branch around it.
        if self._ledger.compiled() and all(is_elementwise(claim.stand_in.regularizer) for claim in claims):
            due = True

        def mapped() -> list[Tensor]:
            return [self._mapped(claim, zero, amount) for claim, zero in zip(claims, zeros, strict=True)]

        update([claim.variable for claim in claims], mapped, due)

    def _mapped(self, claim: Claim, zero: Tensor, amount: Tensor) -> Tensor:
        value = ops.stop_gradient(claim.variable)
        value = ops.where(zero, ops.zeros_like(value), value)
        factor = preconditioner.factor(self.inner_optimizer, claim.variable)
        mapped = claim.map(value, amount if factor is None else ops.cast(amount, factor.dtype) * factor)
        if mapped is None:
            raise ValueError(
                f"A proximal map returns the new weights. Received None from that of {claim.stand_in.regularizer!r}: "
                "look at the function that was given to tf_reg.register_prox."
            )
        value = ops.cast(mapped, value.dtype)
        return value if claim.variable.constraint is None else claim.variable.constraint(value)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, serialised; a strength that was changed as it is now."""
        scheduled = isinstance(self._strength, LearningRateSchedule)
        strength = self._strength if scheduled else float(self._strength.numpy())
        return {
            "name": self.name,
            "inner_optimizer": self.inner_config(),
            "strength": keras.saving.serialize_keras_object(strength),
            "every": self.every,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Proximal:
        """The optimizer that `get_config` describes."""
        made = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("inner_optimizer", "strength")
        }
        return cls(**{**config, **made})


def _checked(strength: Any) -> float:
    if isinstance(strength, bool) or not isinstance(strength, numbers.Real) or not 0 <= float(strength) < math.inf:
        raise ValueError(
            "strength is a finite number, zero or above, or a keras LearningRateSchedule. "
            f"Received: strength={strength!r}"
        )
    return float(strength)


def _warn_of_clipping(optimizer: keras.optimizers.Optimizer, claims: Sequence[Claim], strength: float) -> None:
    """A gradient that is clipped below the penalty's slope can't hold a weight off zero."""
    limit = optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue
    for claim in claims if limit else []:
        slope = strength * claim.slope(by_norm=not optimizer.clipvalue)
        if limit < slope:
            warnings.warn(
                f"The gradient of {claim.variable.path} is clipped at {limit}, which is below its penalty's slope of "
                f"{slope:g}: all its weights will become zero. Raise the clip, or lower the penalty.",
                stacklevel=3,
            )
