"""Who pays a penalty: its gradient in the loss, or an optimizer's proximal step; never both, never neither."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras

from tf_reg._backend import Tensor
from tf_reg._callers import callers
from tf_reg.penalties.registry import ProximalMap, proximal_map
from tf_reg.penalties.stand_in import OutOfGradient, unwrapped

_TRAINERS = {"fit", "evaluate", "train_on_batch", "test_on_batch", "train_step", "test_step"}  # methods of keras.Model


class Claim(NamedTuple):
    """A variable whose penalty a proximal step pays.

    Args:
        variable: A Keras variable.
        stand_in: What its `regularizer` is as long as the claim is good.
        map: The regularizer's proximal map.
    """

    variable: Any
    stand_in: OutOfGradient
    map: ProximalMap

    def slope(self, by_norm: bool) -> float:
        """The penalty's slope at zero: a gradient below it moves no weight off zero.

        Args:
            by_norm: Measure the gradient by its norm, and not weight by weight.
        """
        return self.stand_in.penalty.slope_at_zero(self.variable.shape, by_norm)


class Ledger:
    """The penalties that one optimizer pays with proximal steps.

    A claim holds while the optimizer lives, hasn't released it, and is the optimizer of the model in training; outside
    of Keras' training methods, of the model that it was built for. So a model that is compiled with another optimizer
    has its penalties back in the gradient, without a call, and so has another model that the layers are part of.

    Args:
        optimizer: The optimizer that pays. It is referred to weakly.

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
        self._model: Callable[[], keras.Model | None] | None = None
        self._claims: dict[int, Claim] = {}

    def claim(self, variables: Sequence[Any], model: keras.Model | None = None) -> None:
        """Take every penalty that has a proximal map out of the gradient of the loss.

        Args:
            variables: Keras variables, with the regularizer of each in its attribute `regularizer`.
            model: The model that they are from; looked up among the callers if not given.
        """
        self._note_model(model)
        for variable in variables:
            present: Any = getattr(variable, "regularizer", None)
            to_zero = proximal_map(unwrapped(present))
            if to_zero is None:
                continue
            if isinstance(present, OutOfGradient):
                present.holders.append(self.held)
            else:
                variable.regularizer = OutOfGradient(present, self.held)
            self._claims[id(variable)] = Claim(variable, variable.regularizer, to_zero)

    def _note_model(self, model: keras.Model | None = None) -> None:
        model = self.model_in_training() if model is None else model
        if model is not None:
            self._model = weakref.ref(model)

    def claims(self, variables: Sequence[Any]) -> list[Claim]:
        """The claims on these variables; none once they no longer hold.

        Args:
            variables: Keras variables.

        Raises:
            ValueError: A variable got another regularizer since it was claimed.
        """
        self._note_model()  # perhaps another model over the same layers is compiled with it now
        found = [self._claims[id(variable)] for variable in variables if id(variable) in self._claims]
        if not found or not self.held():
            return []
        for claim in found:
            if claim.variable.regularizer is not claim.stand_in:
                raise ValueError(
                    "The regularizers must stay what they were when Proximal was built. Received another one on "
                    f"{claim.variable.path}. Compile the model again with a new tf_reg.Proximal."
                )
        return found

    def has(self, variable: Any) -> bool:
        """Whether a variable's regularizer is the stand-in of a claim of this ledger."""
        claim = self._claims.get(id(variable))
        return claim is not None and variable.regularizer is claim.stand_in

    def held(self, model: keras.Model | None = None) -> bool:
        """Whether the optimizer pays the claimed penalties.

        Args:
            model: In the training of which model; in the one that goes on now if not given.
        """
        optimizer = self._optimizer()
        if optimizer is None or not self._claims:
            return False
        if self._model is None:  # built by hand, for a loop of one's own
            return True
        trainer = _trainer() if model is None else model
        if trainer is not None and getattr(trainer, "optimizer", None) is not None:
            return _trains_with(trainer, optimizer)
        noted = self._model()
        return noted is not None and _trains_with(noted, optimizer)

    def compiled(self) -> bool:
        """Whether the model that the optimizer was built for is trained by one compiled function (`jit_compile`)."""
        model = self._model() if self._model is not None else None
        return model is not None and bool(model.jit_compile)

    def release(self) -> None:
        """Give every penalty back to the gradient of the loss, for good."""
        for claim in self._claims.values():
            claim.stand_in.holders.remove(self.held)
            if not claim.stand_in.holders and claim.variable.regularizer is claim.stand_in:
                claim.variable.regularizer = claim.stand_in.regularizer
        self._claims.clear()

    def model_in_training(self) -> keras.Model | None:
        """The model whose method is running and whose optimizer this is; None in a loop of one's own.

        Keras hands an optimizer the variables and never the model, so it is looked up among the callers.
        """
        optimizer = self._optimizer()
        models = (caller for caller in callers() if isinstance(caller, keras.Model))
        return next((m for m in models if _is_part_of(optimizer, getattr(m, "optimizer", None))), None)

    def paid_already(self) -> list[Tensor]:
        """Zero for every claimed penalty, with the slope of its negative: what cancels it in a loss computed before."""
        claims = self._claims.values()
        return [claim.stand_in(claim.variable) - claim.stand_in.regularizer(claim.variable) for claim in claims]


def in_apply() -> bool:
    """Whether an optimizer's `apply` is running: its gradients are there already."""
    return any(isinstance(caller, keras.optimizers.Optimizer) for caller in callers({"apply"}))


def _trainer() -> keras.Model | None:
    """The compiled model that is being trained or evaluated; None in a loop of one's own."""
    models = (caller for caller in callers(_TRAINERS) if isinstance(caller, keras.Model))
    return next((model for model in models if getattr(model, "optimizer", None) is not None), None)


def optimizers_of(model: keras.Layer) -> list[keras.optimizers.Optimizer]:
    """The optimizers that a model trains with: its own, and what it keeps as attributes, each with what it wraps.

    Args:
        model: A Keras model; of a layer, none.

    Example:

    >>> model = keras.Sequential()
    >>> model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()))
    >>> [type(optimizer).__name__ for optimizer in optimizers_of(model)]
    ['LossScaleOptimizer', 'SGD']
    """
    kept = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    found = {id(one): one for outermost in (getattr(model, "optimizer", None), *kept) for one in _chain(outermost)}
    return list(found.values())


def _trains_with(model: keras.Model, optimizer: Any) -> bool:
    return any(one is optimizer for one in optimizers_of(model))


def _is_part_of(optimizer: Any, outermost: Any) -> bool:
    return any(one is optimizer for one in _chain(outermost))


def _chain(outermost: Any) -> Iterator[Any]:
    while outermost is not None:
        yield outermost
        outermost = getattr(outermost, "inner_optimizer", None)
