"""A Keras optimizer around a Keras optimizer: who looks at it or sets it finds the one inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tf_reg._backend import Tensor
from tf_reg._checks import require
from tf_reg.optimizers.averaging import MovingAverage

# What Keras reads on an optimizer from outside, or in methods that it inherits, and has no public name for.
_PRIVATE = frozenset(
    {
        "_accumulated_gradients",
        "_iterations",
        "_learning_rate",
        "_model_variables_moving_average",
        "_trainable_variables",
        "_trainable_variables_indices",
    }
)


class OptimizerWrapper(keras.optimizers.Optimizer):
    """An optimizer that lets another one make the step, and may change the weights after it.

    Its attributes are those of the inner optimizer: learning rate, iterations, clipping, weight decay, loss scale,
    gradient accumulation, moving average, and what the inner optimizer has of its own, such as `momentum`. They are
    read there and set there, at any time. Only name, class, config and `variables` are its own.

    The subclass defines `apply`. There it calls `inner_apply`, and takes the moving average with
    `moving_average.update` at the end.

    Abstract. A subclass declares its public attributes in the class body. Otherwise they would be set on an inner
    optimizer that has attributes of the same name.

    Args:
        inner_optimizer: The optimizer that makes the step.
        name: The name of the optimizer.
    """

    def __init__(self, inner_optimizer: keras.optimizers.Optimizer, name: str | None = None):
        fits = name is None or (isinstance(name, str) and "/" not in name)
        require(fits, "name is a word without a slash, or None", "name", name)
        super().__init__(learning_rate=0.0, name=name)
        for attribute in [one for one in self.__dict__ if _is_shared(one) and one not in ("name", "built")]:
            del self.__dict__[attribute]  # Keras' defaults would hide the inner optimizer's values
        self.moving_average = MovingAverage(inner_optimizer)
        self.inner_optimizer = inner_optimizer

    def __getattr__(self, name: str) -> Any:
        inner = self.__dict__.get("inner_optimizer")
        if inner is not None and _is_shared(name):
            return getattr(inner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        inner = self.__dict__.get("inner_optimizer")
        own = name in self.__dict__ or hasattr(type(self), name)
        if inner is not None and not own and _is_shared(name) and hasattr(inner, name):
            setattr(inner, name, value)
        elif isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)  # Keras would add a variable, as the new value, to its own variables
        else:
            super().__setattr__(name, value)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the inner optimizer's variables.

        Args:
            variables: The model's trainable variables.
        """
        self.inner_optimizer.build(variables)
        self.built = True

    def inner_apply(self, grads: Sequence[Tensor], variables: Sequence[keras.Variable] | None) -> None:
        """Make the inner optimizer's step, without its moving average.

        Args:
            grads: The gradients of the loss.
            variables: The variables, in the same order; all those of `build` if None.

        Raises:
            ValueError: Variables that it wasn't built with, or another number of gradients.
        """
        with self.moving_average.postponed():
            self.inner_optimizer.apply(grads, variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """Its own variables, then the inner optimizer's."""
        return self._variables + self.inner_optimizer.variables

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all variables.

        Args:
            weights: Arrays or variables of the shapes of `variables`, in their order.

        Raises:
            ValueError: An optimizer that isn't built, or another number of weights or another shape.
        """
        if self.built and len(weights) != len(self.variables):
            raise ValueError(
                f"set_weights expects one value for each of the {len(self.variables)} variables of {self.name!r}. "
                f"Received: {len(weights)}. Take them from the `variables` of an optimizer of the same kind."
            )
        own = len(self._variables)
        super().set_weights(weights[:own])
        self.inner_optimizer.set_weights(weights[own:])

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's learning rate. It can be set."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        """The number of the inner optimizer's updates."""
        return self.inner_optimizer.iterations

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Return the inner optimizer's scaled loss."""
        return self.inner_optimizer.scale_loss(loss)

    def exclude_from_weight_decay(
        self, var_list: Sequence[keras.Variable] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Keep the inner optimizer's weight decay away from some variables.

        Args:
            var_list: These variables.
            var_names: Regular expressions. Variables whose name one of them matches are kept away too.
        """
        self.inner_optimizer.exclude_from_weight_decay(var_list=var_list, var_names=var_names)

    @property
    def calls(self) -> Any:
        """The number of calls of the inner optimizer's `apply`. It exceeds the updates if gradients are accumulated."""
        return self.inner_optimizer._iterations

    @property
    def calls_per_update(self) -> int:
        """The number of calls over which the inner optimizer accumulates gradients; 1 if it doesn't."""
        return self.inner_optimizer.gradient_accumulation_steps or 1

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Set the weights to their averages, if the inner optimizer has `use_ema`."""
        self.moving_average.overwrite(var_list)


def _is_shared(name: str) -> bool:
    """Whether an attribute of this name belongs to the inner optimizer, unless the wrapper has one of its own."""
    return name in _PRIVATE or not name.startswith("_")


def variables_of(model: keras.Layer) -> list[keras.Variable]:
    """Return the trainable variables of a model that has its variables.

    Args:
        model: A built Keras model or layer.

    Raises:
        ValueError: A model that isn't built.
    """
    if not model.built:
        raise ValueError(
            f"build expects a model that has its variables. Received: {model.name!r}, which isn't built. Call it on a "
            "batch of data, or call its build, before optimizer.build(model)."
        )
    return model.trainable_variables
