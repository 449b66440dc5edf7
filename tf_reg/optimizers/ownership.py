"""Which penalties an optimizer applies in its proximal step, and in which training it does so."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from tf_reg._backend import Tensor, is_known
from tf_reg._trainer import has_own_step, model_in_train_step, model_with, trainer, trains_with
from tf_reg.penalties.coupled import bind
from tf_reg.penalties.registry import ProximalMap, proximal_map
from tf_reg.penalties.stand_in import OutOfGradient, unwrapped


class Claim(NamedTuple):
    """A variable whose penalty an optimizer applies in its proximal step.

    Args:
        variable: A Keras variable.
        stand_in: The value of the variable's attribute `regularizer` while the claim is valid.
        map: The proximal operator of the regularizer.
        factor: The variable of the factors of the penalty, of its `factor_shape`; None for a penalty as it is.
    """

    variable: Any
    stand_in: OutOfGradient
    map: ProximalMap
    factor: Any = None

    def slope(self, by_norm: bool) -> float:
        """Return the penalty's slope at zero. A smaller gradient can't move a weight away from zero.

        Args:
            by_norm: Whether the gradient is measured by its norm, and not weight by weight.
        """
        return self.stand_in.penalty.slope_at_zero(self.variable.shape, by_norm)


class Ledger:
    """The penalties that one optimizer applies in its proximal step.

    Under Keras' training methods, the optimizer applies them if the model trains with it: if it is in `model.optimizer`
    or in an attribute that a `train_step` of the user's may use, or if it was built for this model and the model has
    not been compiled again since. In a training loop of your own, it applies them if it was built by hand, or if the
    last model that it trained still trains with it. Otherwise the penalties are in the gradient of the loss.

    Args:
        optimizer: The optimizer. The ledger has a weak reference to it, and releases all penalties when it dies.

    Example:

    >>> layer = keras.layers.Dense(1, kernel_regularizer="l1")
    >>> layer.build((None, 2))
    >>> optimizer = keras.optimizers.SGD()
    >>> ledger = Ledger(optimizer)
    >>> ledger.claim(layer.trainable_variables)
    >>> [claim.variable.name for claim in ledger.claims(layer.trainable_variables)]
    ['kernel']
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._optimizer = weakref.ref(optimizer, lambda _: self.release())
        self._latest: weakref.ref[keras.Layer] | None = None  # the model that it trained last
        # The models that it was built for, each with the optimizer that the model had then.
        self._noted: weakref.WeakKeyDictionary[keras.Layer, weakref.ref[Any] | None] = weakref.WeakKeyDictionary()
        self._claims: dict[int, Claim] = {}

    def claim(self, variables: Sequence[Any]) -> None:
        """Take every penalty that has a proximal operator out of the gradient of the loss.

        Args:
            variables: Keras variables. The attribute `regularizer` of each is its penalty.
        """
        bind(variables)
        for variable in variables:
            present: Any = getattr(variable, "regularizer", None)
            to_zero = proximal_map(unwrapped(present))
            if to_zero is None:
                continue
            if isinstance(present, OutOfGradient):
                present.holders.append(self.held)
                present.reset()
            else:
                variable.regularizer = OutOfGradient(present, self.held)
            self._claims[id(variable)] = Claim(variable, variable.regularizer, to_zero)

    def note(self, model: keras.Layer) -> None:
        """Remember that a model trains with this optimizer, until it is compiled again.

        Args:
            model: A Keras model or layer.
        """
        optimizer = getattr(model, "optimizer", None)
        self._noted[model] = None if optimizer is None else weakref.ref(optimizer)
        self._latest = weakref.ref(model)
        for claim in self._claims.values():
            claim.stand_in.reset()

    def note_caller(self, in_apply: bool) -> None:
        """Look for the model that is trained with this optimizer among the callers, and remember it.

        Args:
            in_apply: Whether the optimizer's `apply` is running. Then the model whose `train_step` called it counts,
                even if it is not known to have this optimizer.
        """
        optimizer = self._optimizer()
        model = model_in_train_step() if in_apply else None
        model = model_with(optimizer) if model is None and optimizer is not None else model
        if model is not None:
            self.note(model)

    def claims(self, variables: Sequence[Any]) -> list[Claim]:
        """Return the claims on variables whose penalties are not in the gradients of this step already.

        Args:
            variables: Keras variables.

        Raises:
            ValueError: A variable got another regularizer since it was claimed.
        """
        found = self.claimed(variables)
        for claim in found:
            if claim.variable.regularizer is not claim.stand_in:
                raise ValueError(
                    "The regularizers must stay what they were when Proximal was built. Received another one on "
                    f"{claim.variable.path}. Compile the model again with a new tf_reg.Proximal."
                )
        free = [claim for claim in found if not claim.stand_in.in_gradient()]
        if found and not free:
            self._learn(compiled=not is_known(found[0].variable.value))
        return free

    def claimed(self, variables: Sequence[Any]) -> list[Claim]:
        """Return all claims on variables.

        Args:
            variables: Keras variables.
        """
        return [self._claims[id(variable)] for variable in variables if id(variable) in self._claims]

    def _learn(self, compiled: bool) -> None:
        """Remember that the training that is running calls the optimizer. It was not known when the loss was computed.

        Args:
            compiled: Whether the step is compiled, so that it keeps what was known when it was traced.
        """
        model = model_in_train_step()
        if model is not None:
            self.note(model)
        elif trainer() is None:
            self._latest = None
        if compiled:
            warnings.warn(
                "The gradients that this compiled step gives to tf_reg.Proximal have the penalties in them already: "
                "nothing said that this training uses the optimizer. No weight will become exactly zero. Call "
                "optimizer.build(model) after model.compile, and before the step is compiled.",
                stacklevel=4,
            )

    def has(self, variable: Any) -> bool:
        """Return whether this ledger has a valid claim on a variable."""
        claim = self._claims.get(id(variable))
        return claim is not None and variable.regularizer is claim.stand_in

    def held(self, model: keras.Layer | None) -> bool:
        """Return whether the optimizer applies the claimed penalties.

        Args:
            model: The model that is trained; None for a training loop of your own.
        """
        optimizer = self._optimizer()
        if optimizer is None or not self._claims:
            return False
        if model is not None and getattr(model, "optimizer", None) is not None:
            # Keras' own step calls the optimizer of `compile`, whoever else was built for the model.
            return trains_with(model, optimizer) or (has_own_step(model) and self._trains(model, optimizer))
        if self._latest is None:
            return True
        latest = self._latest()
        return latest is not None and self._trains(latest, optimizer)

    def _trains(self, model: keras.Layer, optimizer: keras.optimizers.Optimizer) -> bool:
        if trains_with(model, optimizer):
            return True
        if model not in self._noted:
            return False
        then, now = self._noted[model], getattr(model, "optimizer", None)
        return now is None if then is None else then() is now

    def release(self) -> None:
        """Give all penalties back to the gradient of the loss, permanently."""
        for claim in self._claims.values():
            claim.stand_in.holders.remove(self.held)
            if not claim.stand_in.holders and claim.variable.regularizer is claim.stand_in:
                claim.variable.regularizer = claim.stand_in.regularizer
        self._claims.clear()

    def corrections(self) -> list[Tensor]:
        """Return terms that take the claimed penalties out of the gradient of a loss that was computed before.

        The value of each term is zero. Its gradient is minus the gradient of the penalty.
        """
        claims = self._claims.values()
        return [claim.stand_in(claim.variable) - claim.stand_in.regularizer(claim.variable) for claim in claims]
