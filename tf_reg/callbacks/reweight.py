"""A callback that renews the penalty factors of `tf_reg.Proximal`: small weights pay more, large ones less."""

from __future__ import annotations

import math
from typing import Any

import keras

from tf_reg._checks import is_integer, number, require
from tf_reg.callbacks.factored import begin_anew, factored_claims
from tf_reg.optimizers.factors import adapt


class Reweight(keras.callbacks.Callback):
    """Multiply the penalty of each weight, or of each group, by a factor that falls with its size: reweighted L1.

    At the start of an epoch, each factor becomes `1 / (size / scale + epsilon)`. The size is `|w|`, or the root mean
    square of a group's weights. What is small is pushed to zero harder, and what is large is hardly made smaller. At
    zero the factor is `1 / epsilon`, so a zero may still come back.

    Use it with L1, `tf_reg.GroupLasso` or any other penalty that gives zeros, where the penalty that brings enough
    zeros makes the rest too small. With a `scale` that is given it minimises `tf_reg.LogSum`: L1 or the group lasso of
    strength s, renewed until nothing changes, ends in a stationary point of
    `tf_reg.LogSum(s / epsilon, epsilon * scale)`.

    Without `scale`, the unit is the root mean square of the sizes that aren't zero, in each weight of the model by
    itself. The factor of a size like that is about 1, so the strengths keep their order of magnitude, and the layers
    their balance. Layers of different widths have weights of different sizes, which one unit for all would not fit.

    The first epoch has the factors that there were before: ones, or those of `tf_reg.set_penalty_factors`. The factors
    are saved with the model. `tf_reg.Refit` or `tf_reg.TargetSparsity` may stand beside it.

    Candès, Wakin & Boyd 2008, "Enhancing sparsity by reweighted l1 minimization".

    Args:
        every: Renew the factors every so many epochs, 1 or above.
        epsilon: The size of a small weight, in units of `scale`. Above 0. A large one makes all factors equal.
        scale: The unit of the sizes, above 0; by default that of the weights themselves, see above.
        start: The first epoch that renews them, counted from 0 as in `fit`. With 0, a model that isn't trained yet gets
            factors by its random initial weights.
        end: The epoch from which on they stay as they are; by default none.

    Raises:
        ValueError: Arguments out of their ranges; in training, a `start` that never comes, an optimizer that isn't a
            `tf_reg.Proximal` with `penalty_factors=True`, or a model without a penalty that gives zeros.

    Example:
        >>> layer = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L1(0.1))
        >>> model = keras.Sequential([keras.Input((3,)), layer])
        >>> model.compile(tf_reg.Proximal("sgd", penalty_factors=True), "mse")
        >>> x, y = keras.random.normal((8, 3)), keras.random.normal((8, 1))
        >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[tf_reg.Reweight()])
        >>> tuple(model.optimizer.penalty_factor_of(layer.kernel).shape)
        (3, 1)
    """

    def __init__(
        self,
        every: int = 1,
        epsilon: float = 0.1,
        scale: float | None = None,
        start: int = 1,
        end: int | None = None,
    ) -> None:
        super().__init__()
        require(is_integer(every) and every >= 1, "every is a number of epochs, 1 or above", "every", every)
        self.epsilon, self.scale = number(epsilon), None if scale is None else number(scale)
        require(0 < self.epsilon < math.inf, "epsilon is a finite number above 0", "epsilon", epsilon)
        above = self.scale is None or 0 < self.scale < math.inf
        require(above, "scale is a finite number above 0, or None", "scale", scale)
        require(is_integer(start) and start >= 0, "start is an epoch, 0 or above", "start", start)
        after = end is None or (is_integer(end) and end > start)
        require(after, "end is an epoch after start, or None", "end", end)
        self.every, self.start, self.end = int(every), int(start), None if end is None else int(end)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that there is an epoch that renews the factors."""
        epochs = self.params["epochs"]
        require(self.start < epochs, f"start must be below the {epochs} of fit", "start", self.start)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Renew the factors, if this is an epoch for it."""
        renews = self._renews(epoch)
        for claim in factored_claims(self.model, type(self).__name__, built=renews):
            if renews:
                adapt(claim, None, self.epsilon, self.scale)
        if renews:
            begin_anew(self.model)

    def _renews(self, epoch: int) -> bool:
        within = self.start <= epoch and (self.end is None or epoch < self.end)
        return within and (epoch - self.start) % self.every == 0
