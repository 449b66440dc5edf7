"""Fits of one model at several strengths, from the weights that the last fit left or from those of the beginning."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_reg._backend import passes_over, tensors_of_data
from tf_reg._checks import require
from tf_reg.callbacks.share import gives_zeros
from tf_reg.callbacks.strength import proximals_of
from tf_reg.measure.meter import Meter
from tf_reg.optimizers.proximal import Proximal
from tf_reg.selection.examples import Examples
from tf_reg.selection.objective import Objective, numbers

IN_A_CALL = 64  # steps in one call of TensorFlow's compiled function


class State(NamedTuple):
    """All variables of a model and its optimizer, as arrays.

    Args:
        model: Those of the model.
        optimizer: Those of its optimizer.
    """

    model: list[np.ndarray]
    optimizer: list[np.ndarray]


class Fits:
    """Trains a model with its own optimizer and loss, by Keras' `fit`.

    All steps of a fit are one epoch of Keras: nothing but the compiled train step is called for each batch. The order
    of the examples depends on `seed` and on nothing else.

    Args:
        model: A model, compiled with a loss and a `tf_reg.Proximal` whose strength is a number.
        examples: Some examples, to build it with.
        batch_size: Examples a step.
        seed: The seed of the order of the examples.
        owned: Whether nobody else trains the model, so that a call of TensorFlow's function may make many steps.

    Raises:
        ValueError: Another model, or one without a penalty that gives zeros.
    """

    def __init__(self, model: Any, examples: Examples, batch_size: int, seed: int, owned: bool = True):
        self.model, self.batch_size, self.seed = _checked(model), batch_size, seed
        self.optimizer = _proximal(model)
        self._fed: tuple[Examples, Any] | None = None
        model(keras.tree.map_structure(ops.convert_to_tensor, examples.take(slice(0, 1)).inputs), training=False)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        new = owned and model.steps_per_execution == 1
        if new and keras.backend.backend() == "tensorflow" and model.train_function is None:
            model.steps_per_execution = IN_A_CALL
        self.objective = Objective(model, self.optimizer)
        if not self.objective.selected:
            raise ValueError(
                "A strength is chosen for penalties that give zeros. Received a model without one. Give its layers a "
                "kernel_regularizer such as keras.regularizers.L1(1.0), or call tf_reg.regularize before compile."
            )

    @functools.cached_property
    def meter(self) -> Meter:
        """What counts zeros and parameters of the model."""
        return Meter(self.model, near_zero=0.0, of=gives_zeros, report=True)

    def state(self) -> State:
        """All variables as they are now."""
        return State(_arrays(self.model.variables), _arrays(self.model.optimizer.variables))

    def restore(self, state: State) -> None:
        """Set all variables.

        Args:
            state: What `state` returned, of this model or of one that was built alike.
        """
        pairs = (self.model.variables, state.model), (self.model.optimizer.variables, state.optimizer)
        for variables, values in pairs:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def fit(
        self,
        examples: Examples,
        strength: float,
        epochs: int,
        ends: Callable[[], bool] | None = None,
        block: int = 1,
        stage: int = 0,
    ) -> int:
        """Train at one strength.

        Args:
            examples: The training examples.
            strength: The multiplier of all penalties.
            epochs: Passes over the examples, at most.
            ends: Whether to end now. It is asked after each block, and not in a fit of one block.
            block: Passes between two questions.
            stage: The number of this fit among those of one training: each has another order of the examples.

        Returns:
            The passes.

        Raises:
            ValueError: The training diverged.
        """
        self.optimizer.strength = strength
        done, block = 0, epochs if ends is None else block
        while done < epochs:
            passes = min(block, epochs - done)
            data = passes_over(self._tensors(examples), self.batch_size, passes, (self.seed, stage, done))
            loss = self.model.fit(data, verbose=0, shuffle=False).history["loss"][-1]
            if not math.isfinite(loss):
                raise ValueError(
                    f"Training diverged at the strength {strength:.3g}: the loss is {loss}. Lower the learning rate."
                )
            done += passes
            if ends is not None and ends():
                break
        return done

    def _tensors(self, examples: Examples) -> Any:
        """The examples as tensors, which are made once for all fits to the same ones."""
        if self._fed is None or self._fed[0] is not examples:
            self._fed = examples, tensors_of_data(examples.parts)
        return self._fed[1]

    def all_zero(self) -> bool:
        """Whether each penalised number of the weights is zero, of those whose penalty gives zeros."""
        for claim in self.objective.selected:
            value = ops.convert_to_tensor(claim.variable)
            if any(np.any(ops.convert_to_numpy(part)) for part in numbers(claim, value)):
                return False
        return True


def _checked(model: Any) -> keras.Model:
    received = type(model).__name__
    require(isinstance(model, keras.Model), "The model is a keras.Model, compiled with tf_reg.Proximal", "model", model)
    if not model.compiled or model.optimizer is None or not model.loss:
        raise ValueError(
            f"The model must be compiled with a loss and a tf_reg.Proximal. Received: a {received} without. Call "
            "model.compile(tf_reg.Proximal(optimizer), loss)."
        )
    return model


def _proximal(model: keras.Model) -> Proximal:
    found = proximals_of(model)
    if len(found) != 1 or found[0].scheduled:
        raise ValueError(
            "The strength is that of the one tf_reg.Proximal of the model, a number. Received: a model compiled with "
            f"{type(model.optimizer).__name__}, with {len(found)} of them"
            f"{', whose strength is a schedule' if found and found[0].scheduled else ''}. Compile it with "
            "tf_reg.Proximal(optimizer)."
        )
    return found[0]


def _arrays(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]
