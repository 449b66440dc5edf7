"""Penalties of whole channels, for `tf_reg.regularize`: it knows which numbers of which weights a channel has."""

from __future__ import annotations

from typing import Any

import keras

from tf_reg._backend import Tensor
from tf_reg._checks import from_config, require
from tf_reg.penalties.concave import ConcavePenalty
from tf_reg.penalties.group_lasso import GroupLasso


@keras.saving.register_keras_serializable(package="tf_reg")
class ChannelPenalty(keras.regularizers.Regularizer):
    """A penalty of whole channels: all numbers that make a channel become zero together.

    A channel is what `tf_reg.channels` finds: a unit or a filter with all that must go when it goes. Its numbers are
    the columns of every kernel that makes it, its biases, and its scales and shifts of batch normalizations. Residual
    additions and depthwise convolutions couple the numbers of several layers. With `r_c` the Euclidean norm of the
    numbers of channel c and `n_c` how many there are, the penalty is `sum_c n_c * p(r_c / sqrt(n_c))`, where p is the
    function of `penalty`; for the group lasso that is `strength * sum_c sqrt(n_c) * r_c`.

    Give it to `tf_reg.regularize`, alone or in a mapping, and compile the model with `tf_reg.Proximal`. Then
    `tf_reg.compact` removes the channels that have become zero. Frozen weights have no part in the penalty. One
    optimizer must train all weights that have a channel in common. A saved model keeps the penalty, and so do a clone
    and a compacted model.

    Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables"; coupled channels: Fang et
    al. 2023, "DepGraph: towards any structural pruning".

    Args:
        penalty: What a channel's norm costs: a `GroupLasso`, `MCP`, `SCAD` or `LogSum`. Its own groups, size weights
            and layout aren't used.
        size_weights: Whether p takes the root mean square of a channel's numbers and is multiplied by their count. If
            not, p takes the norm. With `"flops"` it is multiplied by the multiply-adds that one channel costs instead
            of the count, in a unit in which both sum up to the same over the model for the group lasso.

    Raises:
        ValueError: Another penalty or other size weights; a call as the regularizer of a layer, which doesn't know the
            other layers.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    >>> table = tf_reg.regularize(model, tf_reg.ChannelPenalty(tf_reg.MCP(0.01)))
    >>> [(one.path.split("/")[1], one.shape) for one in table.weights]
    [('kernel', (3, 4)), ('bias', (4,))]
    """

    def __init__(self, penalty: GroupLasso | ConcavePenalty, size_weights: bool | str = True):
        known = isinstance(penalty, (GroupLasso, ConcavePenalty))
        require(known, "penalty is a GroupLasso, MCP, SCAD or LogSum of tf_reg", "penalty", penalty)
        one_of = isinstance(size_weights, bool) or (isinstance(size_weights, str) and size_weights == "flops")
        require(one_of, "size_weights is True, False or 'flops'", "size_weights", size_weights)
        self.penalty = penalty
        self.size_weights = size_weights

    @property
    def strength(self) -> float:
        """The strength of the penalty."""
        return self.penalty.strength

    def __call__(self, x: Tensor) -> Tensor:
        """Raise an error: a layer alone doesn't know its channels."""
        raise ValueError(
            f"{type(self).__name__} needs the whole model, to find its channels. Received: the weight of one layer. "
            f"Leave it out of the layer and call tf_reg.regularize(model, tf_reg.{type(self).__name__}(...))."
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"penalty": keras.saving.serialize_keras_object(self.penalty), "size_weights": self.size_weights}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ChannelPenalty:
        """Return the penalty that `get_config` describes."""
        read = keras.saving.deserialize_keras_object
        return from_config(cls.__name__, config, lambda given: cls(**{**given, "penalty": read(given["penalty"])}))


@keras.saving.register_keras_serializable(package="tf_reg")
class ChannelLasso(ChannelPenalty):
    """The group lasso of whole channels, through residual additions and batch normalizations.

    `strength * sum_c sqrt(n_c) * r_c`: see `tf_reg.ChannelPenalty`, of which it is `ChannelPenalty(GroupLasso(...))`.

    Use it to make residual networks, MobileNets and other coupled networks smaller. For a network without couplings,
    `GroupLasso` on each layer does nearly the same.

    Args:
        strength: The multiplier of the penalty, not negative.
        size_weights: As in `tf_reg.ChannelPenalty`.

    Raises:
        ValueError: A strength below zero or not finite, and as in `tf_reg.ChannelPenalty`.

    Example:

    >>> inputs = keras.Input((8, 8, 3))
    >>> x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    >>> y = keras.layers.Conv2D(4, 3, padding="same", name="block")(x)
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    >>> model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    >>> print(tf_reg.regularize(model, tf_reg.ChannelLasso(1e-4)))
    variable      shape         regularizer                                       acts in  saved
    --------------------------------------------------------------------------------------------
    stem/kernel   (3, 3, 3, 4)  ChannelLasso(strength=0.0001, size_weights=True)  loss     yes
    stem/bias     (4,)          ChannelLasso(strength=0.0001, size_weights=True)  loss     yes
    block/kernel  (3, 3, 4, 4)  ChannelLasso(strength=0.0001, size_weights=True)  loss     yes
    block/bias    (4,)          ChannelLasso(strength=0.0001, size_weights=True)  loss     yes
    --------------------------------------------------------------------------------------------
    4 of 6 variables, 260 weights
    """

    def __init__(self, strength: float = 0.01, size_weights: bool | str = True):
        super().__init__(GroupLasso(strength), size_weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, as plain Python."""
        return {"strength": self.strength, "size_weights": self.size_weights}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ChannelLasso:
        """Return the penalty that `get_config` describes."""
        return from_config(cls.__name__, config, lambda given: cls(**given))
