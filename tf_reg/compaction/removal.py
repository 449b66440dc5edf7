"""Which channels of a model have no effect on its outputs."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg.compaction.analysis import Analysis
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.reads import Read

WORTH_SELECTING = 1 / 8  # of a layer's inputs: a selection of fewer takes longer than it saves


@dataclasses.dataclass(frozen=True)
class Removal:
    """What is removed from a model.

    Args:
        analysis: What is known of the model.
        roots: The labels that are removed.
        unread: For each kernel and axis (`Read.place`), which of its inputs it needs no more although others do.
            Boolean, a value for each input.
        padding: Labels that could be removed and stay as zeros, so that sizes are round.
    """

    analysis: Analysis
    roots: frozenset[int]
    unread: dict[tuple[int, int], np.ndarray]
    padding: frozenset[int] = frozenset()

    def kept(self, ids: np.ndarray) -> np.ndarray:
        """Return which labels stay, boolean of the shape of `ids`."""
        return ~self._removed[self.analysis.labels.roots(ids)]

    def padded(self, ids: np.ndarray) -> np.ndarray:
        """Return which labels stay as zeros, boolean of the shape of `ids`."""
        return self._zeros[self.analysis.labels.roots(ids)]

    @functools.cached_property
    def _removed(self) -> np.ndarray:
        return self._table(self.roots)

    @functools.cached_property
    def _zeros(self) -> np.ndarray:
        return self._table(self.padding)

    def _table(self, roots: frozenset[int]) -> np.ndarray:
        """Whether each label is among some, boolean: a value for each label that there is."""
        table = np.zeros(len(self.analysis.labels), bool)
        table[list(roots)] = True
        return table

    def chosen(self, layer: Any) -> np.ndarray | None:
        """Return which of the inputs that stay a layer selects, boolean: a value for each; None for all."""
        reads = [read for read in self.analysis.reads_of(layer) if read.selects]
        if not reads:
            return None
        stays = self.kept(reads[0].channels.ids)
        needed = stays & ~self.unread[reads[0].place]
        if needed.sum() > (1 - WORTH_SELECTING) * stays.sum():
            return None
        needed[np.flatnonzero(stays)[:1]] |= not needed.any()
        return needed[stays]

    def rows(self, read: Read) -> np.ndarray:
        """Return which of its inputs a kernel keeps, boolean: a value for each."""
        stays, chosen = self.kept(read.channels.ids), self.chosen(read.layer) if read.selects else None
        if chosen is not None:
            stays[stays] = chosen
        return stays

    def folded(self, reads: Sequence[Read]) -> np.ndarray | None:
        """Return what a bias takes over from constant inputs, to be added to it before removal; None for nothing.

        Args:
            reads: All reads of one layer's kernels.
        """
        found = None
        for read in {read.place: read for read in reads if read.bias is not None}.values():
            gone = (~self.rows(read) | self.padded(read.channels.ids)) & read.foldable
            constants = np.where(gone, read.channels.constants, 0.0)
            if constants.any():
                made = _in_bias(read, constants)
                found = made if found is None else found + made
        return found

    def makes_bias(self, read: Read, config: Mapping[str, Any]) -> bool:
        """Return whether a bias must be made because a kernel doesn't read some constants any more.

        Args:
            read: The read.
            config: The config of its layer.
        """
        without = read.bias is not None and not any(config.get(name) for name in read.bias.settings)
        folded = self.folded([read]) if without else None
        return folded is not None and bool(folded.any())

    def cut_bias(self, reads: Sequence[Read], folded: np.ndarray | None) -> np.ndarray:
        """Return what stays of a bias that is made.

        Args:
            reads: All reads of one layer's kernels.
            folded: What the bias takes over.
        """
        ids = self.analysis.slices[id(reads[0].kernel)][reads[0].outputs]
        values = np.zeros(1) if folded is None else np.where(self.padded(ids), 0.0, folded)
        return np.compress(self.kept(ids), values, -1)

    def along(self, variable: keras.Variable) -> list[np.ndarray]:
        """Return what a variable keeps along each of its axes: boolean, a value for each place."""
        kept = [np.ones(size, bool) for size in variable.shape]
        for axis, ids in self.analysis.slices.get(id(variable), {}).items():
            kept[axis] = self.kept(ids)
        for read in self.analysis.reads:
            if read.kernel is variable:
                kept[read.inputs] = self.rows(read)
        return kept

    def cut(self, variable: keras.Variable, value: np.ndarray) -> np.ndarray:
        """Return what stays of an array of the shape of a variable: of its value, or of an optimizer's slot."""
        for axis, ids in self.analysis.slices.get(id(variable), {}).items():
            spread = np.ones(value.ndim, dtype=int)
            spread[axis] = -1
            value = np.where(self.padded(ids).reshape(spread), np.zeros_like(value), value)
        for axis, kept in enumerate(self.along(variable)):
            value = np.compress(kept, value, axis)
        return value

    def shape(self, variable: keras.Variable) -> tuple[int, ...]:
        """Return the new shape of a variable."""
        return tuple(int(kept.sum()) for kept in self.along(variable))

    def shape_of(self, tensor: keras.KerasTensor, channels: Channels | None) -> tuple[int | None, ...]:
        """Return the new shape of a symbolic tensor that has these channels."""
        shape = list(tensor.shape)
        if channels is not None and shape[channels.axis] is not None:
            shape[channels.axis] = int(self.kept(channels.ids).sum())
        return tuple(shape)


ROUNDED = ("units", "filters", "output_dim")  # the widths of layers, not their numbers of groups


def rounded(removal: Removal, multiple: int) -> Removal:
    """Keep some of the channels as zeros, so that each layer's width is a multiple of a number, or what it was.

    Args:
        removal: What could be removed.
        multiple: The number, 2 or above.
    """
    roots, padding, forbidden = set(removal.roots), set[int](), removal.analysis.not_zero
    widths = [
        removal.analysis.labels.roots(ids)
        for own in removal.analysis.widths.values()
        for name, ids in own.items()
        if name in ROUNDED
    ]
    before = -1
    while before != len(padding):
        before = len(padding)
        for ids in widths:
            gone = np.isin(ids, list(roots - forbidden))
            stays = int((~np.isin(ids, list(roots))).sum())
            wanted = min(-(-stays // multiple) * multiple, len(ids)) - stays
            chosen = ids[gone][:wanted].tolist()
            padding.update(chosen)
            roots.difference_update(chosen)
    return dataclasses.replace(removal, roots=frozenset(roots), padding=frozenset(padding))


def find(analysis: Analysis) -> Removal:
    """Find the most channels that can be removed without a change of the outputs.

    A channel can be removed if every kernel that reads it, or a channel that must go with it, has zero weights for it,
    or if it is a constant that the bias can take over. The search starts with all channels and takes those back that
    are needed, until none is.

    Args:
        analysis: What is known of the model.
    """
    kernels = list(_kernels(analysis))
    kept = analysis.reasons
    made = {
        int(root) for axes in analysis.slices.values() for ids in axes.values() for root in analysis.labels.roots(ids)
    }
    roots = made - set(kept)
    while needed := (_needed(analysis, roots, kernels) or _last(analysis, roots)):
        roots -= needed
    removal = Removal(analysis, frozenset(roots), {})
    return dataclasses.replace(removal, unread={r[0].place: ~_needs(removal, r, v) for r, v in kernels})


def _kernels(analysis: Analysis) -> Iterator[tuple[list[Read], np.ndarray]]:
    """All reads of each axis of a kernel, and where it has weights that aren't zero: a bit for each output.

    The bits are an array `(inputs, bytes)`.
    """
    by_kernel: dict[tuple[int, int], list[Read]] = defaultdict(list)
    for read in analysis.reads:
        by_kernel[read.place].append(read)
    for reads in by_kernel.values():
        first = reads[0]
        values = np.moveaxis(ops.convert_to_numpy(first.kernel.value), (first.inputs, first.outputs), (0, 1))
        yield reads, np.packbits((values != 0).any(axis=tuple(range(2, values.ndim))), axis=1)


def _needed(analysis: Analysis, roots: set[int], kernels: list[tuple[list[Read], np.ndarray]]) -> set[int]:
    """Those of the labels that a kernel needs, if all of them were removed."""
    removal = Removal(analysis, frozenset(roots), {})
    found = [reads[0].channels.ids[_needs(removal, reads, values)] for reads, values in kernels]
    return set(analysis.labels.roots(np.concatenate(found)).tolist()) & roots if found else set()


def _needs(removal: Removal, reads: list[Read], values: np.ndarray) -> np.ndarray:
    """Which inputs a kernel needs, boolean: a value for each input."""
    first = reads[0]
    outputs = removal.kept(removal.analysis.slices[id(first.kernel)][first.outputs])
    unread = ~(values & np.packbits(outputs)).any(axis=1)
    foldable = np.logical_and.reduce([read.foldable for read in reads])
    for read in reads[1:]:
        foldable &= read.channels.constants == first.channels.constants
    return ~(unread | foldable)


def _last(analysis: Analysis, roots: set[int]) -> set[int]:
    """A label of each axis of which nothing would be left."""
    found = set()
    for axes in analysis.slices.values():
        for ids in axes.values():
            own = analysis.labels.roots(ids).tolist()
            if set(own) <= roots:
                found.add(own[0])
    return found


def _in_bias(read: Read, constants: np.ndarray) -> np.ndarray:
    """What a kernel makes of constants, to be added to a bias.

    Args:
        read: Which kernel, and which bias.
        constants: The value of each input, 0 for those that aren't taken over.
    """
    assert read.bias is not None
    kernel = np.moveaxis(ops.convert_to_numpy(read.kernel.value).astype("float64"), read.inputs, 0)
    made = np.tensordot(constants, kernel, 1)
    left = [axis for axis in range(kernel.ndim) if axis != read.inputs]
    axes = [axis for axis in read.bias.axes if axis is not None]
    made = made.sum(axis=tuple(place for place, axis in enumerate(left) if axis not in axes))
    ordered = made.transpose(np.argsort(np.argsort(axes)))
    sizes = iter(ordered.shape)
    made = ordered.reshape([1 if axis is None else next(sizes) for axis in read.bias.axes])
    return np.stack([made, *[np.zeros_like(made)] * (read.bias.parts - 1)]) if read.bias.parts else made
