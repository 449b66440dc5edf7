"""The heads of attention as groups: which axis of a projection's kernel they lie along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

_LAYOUT = re.compile(r"heads=(\d+),key_dim=(\d+),value_dim=(\d+)")
EXAMPLE = "heads=4,key_dim=8,value_dim=8"


class Heads(NamedTuple):
    """The sizes of a `keras.layers.MultiHeadAttention`.

    One regularizer is for the kernels of all its projections. It sees no layer, so it finds the axis of the heads by
    these sizes: the kernels of queries, keys, values and gates have the shape `(inputs, heads, key_dim)` or
    `(inputs, heads, value_dim)`, that of the outputs `(heads, value_dim, outputs)`.

    Args:
        heads: How many heads there are.
        key_dim: The size of a query and a key.
        value_dim: The size of a value.
    """

    heads: int
    key_dim: int
    value_dim: int

    @property
    def layout(self) -> str:
        """The word for them in the config of a regularizer."""
        return f"heads={self.heads},key_dim={self.key_dim},value_dim={self.value_dim}"

    @classmethod
    def of(cls, attention: Any) -> Heads:
        """The sizes of a layer.

        Args:
            attention: A `keras.layers.MultiHeadAttention`.
        """
        return cls(attention.num_heads, attention.key_dim, attention.value_dim)

    @classmethod
    def parsed(cls, layout: Any) -> Heads | None:
        """The sizes that a layout says; None where it is another word.

        Args:
            layout: The layout of a regularizer.

        Example:

        >>> Heads.parsed("heads=4,key_dim=8,value_dim=16")
        Heads(heads=4, key_dim=8, value_dim=16)
        """
        found = _LAYOUT.fullmatch(layout) if isinstance(layout, str) else None
        return None if found is None else cls(*map(int, found.groups()))

    def axis(self, shape: Sequence[int]) -> int:
        """Return the axis of a kernel along which the heads lie.

        Args:
            shape: The shape of the kernel of a projection.

        Raises:
            ValueError: The kernel of no projection, or one that could be of either kind.

        Example:

        >>> Heads(4, 8, 16).axis((32, 4, 8)), Heads(4, 8, 16).axis((4, 16, 32))
        (1, 0)
        """
        shape = tuple(shape)
        into = len(shape) == 3 and shape[1] == self.heads and shape[2] in (self.key_dim, self.value_dim)
        out = len(shape) >= 3 and shape[:2] == (self.heads, self.value_dim)
        if into and out and self.heads > 1:
            raise ValueError(
                f"groups='heads' finds the heads by the sizes of a kernel. Received the shape {shape} with "
                f"layout={self.layout!r}, which fits a projection to the heads and one from them. Choose another "
                "key_dim, or an input of another size."
            )
        if not (into or out):
            raise ValueError(
                f"groups='heads' takes the kernels of a MultiHeadAttention. Received the shape {shape} with "
                f"layout={self.layout!r}, where (inputs, {self.heads}, {self.key_dim} or {self.value_dim}) or "
                f"({self.heads}, {self.value_dim}, outputs) is expected. tf_reg.regularize says the right layout."
            )
        return 0 if out else 1


def heads_around(layer: Any, parent: Any) -> Heads:
    """Return the sizes of the attention that a projection belongs to.

    Args:
        layer: The layer that has the kernel.
        parent: The layer around it, or None.

    Raises:
        ValueError: It is no projection of a `keras.layers.MultiHeadAttention`.
    """
    if isinstance(parent, keras.layers.MultiHeadAttention) and isinstance(layer, keras.layers.EinsumDense):
        return Heads.of(parent)
    raise ValueError(
        "groups='heads' takes the projections of a keras.layers.MultiHeadAttention. Received: a "
        f"{type(layer).__name__}. Make a rule for the attention alone, by its name or its class."
    )
