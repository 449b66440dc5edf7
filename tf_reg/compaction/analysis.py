"""What the calls of a functional model do with the channels of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_reg._graph import as_graph
from tf_reg._keras import Call, call_that_made, calls, operation_name
from tf_reg.compaction.channels import Channels, Labels
from tf_reg.compaction.reads import Graph, Read, takes_arrays, without_masks

INPUT, OUTPUT = "input of the model", "output of the model"


class Analysis:
    """The channels of all tensors of a model, and who reads them.

    Args:
        model: A functional model.
        rules: The rule of every class of layers and operations that is known.

    Attributes:
        graph: The model.
        graphs: The models within the model, by their ids.
        labels: All labels of channels.
        slices: For each variable, by its id, the labels along some of its axes.
        reads: Who reads which channels.
        widths: For each layer, by its id, the settings that are a number of channels, and the labels of these.
        selections: For each layer that selects features, by its id, the channels that it selects from.
        settings: For each layer, by its id, more settings with a number of channels: the name, the place in the setting
            (None if the setting is the number), and the labels.
        inside: For each layer around others, by its id, the settings that are these layers.
        depth: How many models the call at hand is in, beside the whole one. Their layers can get masks unseen.
        reasons: Why a label must stay. By its number; ask for `labels.roots` first.
    """

    def __init__(self, model: keras.Function, rules: Any) -> None:
        self.graphs: dict[int, Graph] = {}
        self.labels = Labels()
        self.slices: dict[int, dict[int, np.ndarray]] = {}
        self.reads: list[Read] = []
        self.widths: dict[int, dict[str, np.ndarray]] = {}
        self.selections: dict[int, Channels] = {}
        self.settings: dict[int, list[tuple[str, int | None, np.ndarray]]] = {}
        self.inside: dict[int, dict[str, keras.Layer]] = {}
        self.depth = 0
        self._rules = rules
        self._inner: dict[int, keras.Function | None] = {}
        self._kept: list[tuple[np.ndarray, str]] = []
        self._not_zero: list[np.ndarray] = []
        self._tensors: dict[int, Channels] = {}
        self._made_up: list[keras.KerasTensor] = []
        self._barriers: dict[int, tuple[Any, str]] = {}
        self.graph = self._walk(model, [self.barrier_output(tensor, INPUT) for tensor in model.inputs])
        for tensor in model.outputs:
            self.keep(self.of(tensor), OUTPUT)
        for operation, reason in self._barriers.values():
            self._keep_all(operation, reason)

    def _keep_all(self, operation: Any, reason: str) -> None:
        """Nothing of an operation goes: another call of it is a barrier."""
        found = [*self.widths.get(id(operation), {}).values()]
        found += [ids for *_, ids in self.settings.get(id(operation), ())]
        for variable in getattr(operation, "variables", ()):
            found += self.slices.get(id(variable), {}).values()
        for ids in found:
            self.keep_ids(ids, reason)

    def _walk(self, model: keras.Function, inputs: Sequence[Channels | None]) -> Graph:
        """Look at all calls of a functional model."""
        graph = self.graphs.get(id(model)) or Graph(model, calls(model), list(inputs))
        for tensor, channels, before in zip(model.inputs, inputs, graph.inputs, strict=True):
            if channels is not None and before is not None:
                if before.axis == channels.axis and before.ids.shape == channels.ids.shape:
                    self.labels.join(before.ids, channels.ids)
                else:
                    self.keep(before, f"{model.name} (called with several shapes)")
                    self.keep(channels, f"{model.name} (called with several shapes)")
            self._add(tensor, channels)
        for call in graph.calls:
            for tensor, channels in zip(call.outputs, self._results(call), strict=True):
                self._add(tensor, channels)
        return graph

    def _results(self, call: Call) -> Sequence[Channels | None]:
        inner = self.inner_graph(call.operation)
        if inner is not None:
            data, masks = without_masks(call)
            for mask in masks:
                self.keep(self.of(mask), f"{call.operation.name} (mask)")
            self.depth += 1
            self.graphs[id(inner)] = self._walk(inner, [self.of(tensor) for tensor in data.inputs])
            self.depth -= 1
            return [self.of(tensor) for tensor in inner.outputs]
        if any(0 in value.shape for value in (*call.inputs, *call.outputs, *getattr(call.operation, "variables", ()))):
            return self._barrier(call)  # without numbers there is nothing to cut out
        results = self.apply(call)
        return self._barrier(call) if results is None else results

    def apply(self, call: Call) -> Sequence[Channels | None] | None:
        """Return the channels of a call's results by the rule of its class; None where nothing is known."""
        operation = call.operation
        own = keras.saving.get_registered_name(type(operation))  # tf_reg's layers, which stand above compaction
        names = (type(operation), operation_name(operation), own if own.startswith("tf_reg>") else None)
        rule = next((self._rules[name] for name in names if name in self._rules), None)
        call, masks = without_masks(call)
        if rule is None or any(len(mask.shape) > 2 for mask in masks) or takes_arrays(call):
            return None
        results = rule(self, call)
        if results is not None:
            for mask in masks:
                self.keep(self.of(mask), f"{operation.name} (mask)")
            self._keep_active(operation, results)
        return results

    def _keep_active(self, operation: Any, results: Sequence[Channels | None]) -> None:
        """Channels of which a penalty on activities takes the values stay, unless they are zero and cost nothing."""
        regularizer = getattr(operation, "activity_regularizer", None)
        if regularizer is None:
            return
        free = type(regularizer) in (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
        for channels in results:
            if channels is not None:
                self.keep_from_zero(channels)  # a zero at the source need not be one here
                zero = (channels.constants == 0) & free
                self.keep_ids(channels.ids[~zero], f"{operation.name} (activity regularizer)")

    def made_up(self, shape: Sequence[int | None], dtype: str, channels: Channels | None) -> keras.KerasTensor:
        """Return a symbolic tensor for a layer inside a layer, with its channels."""
        tensor = keras.KerasTensor(tuple(shape), dtype=dtype)
        self._made_up.append(tensor)  # its id stays its own
        self._add(tensor, channels)
        return tensor

    def inner_graph(self, operation: Any) -> keras.Function | None:
        """Return a model within the model as a functional model over the same layers; None for anything else."""
        if id(operation) not in self._inner:
            self._inner[id(operation)] = as_graph(operation) if isinstance(operation, keras.Model) else None
        return self._inner[id(operation)]

    def of(self, tensor: keras.KerasTensor) -> Channels | None:
        """Return the channels of a tensor; None where it has none that are known."""
        return self._tensors.get(id(tensor))

    @property
    def reasons(self) -> dict[int, str]:
        """Why labels must stay, by the number of the label that stands for each."""
        found: dict[int, str] = {}
        for ids, reason in self._kept:
            for root in np.unique(self.labels.roots(ids)).tolist():
                found.setdefault(root, reason)
        return found

    @property
    def names(self) -> set[str]:
        """The names of all inputs, layers and operations, of the models within the model too."""
        graphs = (self.graph, *self.graphs.values())
        inputs = {call_that_made(tensor)[0].name for graph in graphs for tensor in graph.model.inputs}
        return inputs | {call.operation.name for graph in graphs for call in graph.calls}

    @property
    def layers(self) -> list[Any]:
        """The layers of the model and of the models within it, each once."""
        found = [call.operation for graph in (self.graph, *self.graphs.values()) for call in graph.calls]
        layers = {id(one): one for one in found if isinstance(one, keras.Layer) and self.inner_graph(one) is None}
        return list(layers.values())

    def reads_of(self, layer: Any) -> list[Read]:
        """Return the reads of a layer's kernel, one for each call of the layer."""
        return [read for read in self.reads if read.layer is layer]

    def in_weights(self) -> set[int]:
        """Return the labels along the axes of weights: for each the one that stands for it."""
        arrays = [ids for axes in self.slices.values() for ids in axes.values()]
        return set(self.labels.roots(np.concatenate(arrays)).tolist()) if arrays else set()

    def along(self, call: Call, axis: int) -> Channels | None:
        """Return the channels of the first input of a call along the axis that the call reads.

        If those that are known lie along another axis, they stay, and so do the new ones.

        Args:
            call: The call.
            axis: The axis, 0 or above.
        """
        tensor, known = call.inputs[0], self.of(call.inputs[0])
        if known is None or known.axis == axis:
            return known
        size = tensor.shape[axis]
        if size is None or axis == 0:
            return None
        reason = f"{call.operation.name} (reads along another axis)"
        self.keep(known, reason)
        ids = self.labels.new(size)
        self.keep_ids(ids, reason)
        return Channels(axis, ids, np.full(size, np.nan))

    def keep(self, channels: Channels | None, reason: str) -> None:
        """Say that all channels of a tensor must stay.

        Args:
            channels: The channels; None where none are known.
            reason: What holds them.
        """
        if channels is not None:
            self._kept.append((channels.ids, reason))

    def keep_ids(self, ids: np.ndarray, reason: str) -> None:
        """Say that labels must stay."""
        self._kept.append((ids, reason))

    def setting(self, layer: Any, name: str, place: int | None, ids: np.ndarray) -> None:
        """Say that a setting of a layer is a number of channels, or has one among others.

        Args:
            layer: The layer or operation. Those of its earlier calls go and stay together with those of this call.
            name: The name in its config.
            place: The place of the number in the setting; None if the setting is the number.
            ids: The labels.
        """
        known = self.settings.setdefault(id(layer), [])
        before = [labels for other, where, labels in known if (other, where) == (name, place)]
        if before:
            self.labels.join(before[0], ids)
        else:
            known.append((name, place, ids))

    def keep_from_zero(self, channels: Channels | None) -> None:
        """Say that channels must not be filled with zeros, because what is made of a zero isn't finite.

        Args:
            channels: The channels; None where none are known.
        """
        if channels is not None:
            self._not_zero.append(channels.ids)

    @property
    def not_zero(self) -> set[int]:
        """The labels that must not be filled with zeros: for each the one that stands for it."""
        return set(self.labels.roots(np.concatenate(self._not_zero)).tolist()) if self._not_zero else set()

    def slice(self, variable: keras.Variable, axis: int, ids: np.ndarray | None = None) -> np.ndarray:
        """Say which labels lie along an axis of a variable, and return them.

        Args:
            variable: A variable of a layer.
            axis: One of its axes.
            ids: The labels; None for those that are known from an earlier call of the layer, or new ones.
        """
        axes = self.slices.setdefault(id(variable), {})
        axis %= len(variable.shape)
        if axis not in axes:
            axes[axis] = self.labels.new(variable.shape[axis]) if ids is None else ids
        elif ids is not None:
            self.labels.join(axes[axis], ids)
        return axes[axis]

    def barrier_output(self, tensor: keras.KerasTensor, reason: str) -> Channels | None:
        """Return new channels for a tensor, which must stay.

        Args:
            tensor: A symbolic tensor.
            reason: What holds them.
        """
        axis = len(tensor.shape) - 1
        if axis < 1 or tensor.shape[axis] is None:
            return None
        ids = self.labels.new(tensor.shape[axis])
        self.keep_ids(ids, reason)
        return Channels(axis, ids, np.full(len(ids), np.nan))

    def _barrier(self, call: Call) -> Sequence[Channels | None]:
        """All channels around a call stay."""
        reason = f"{call.operation.name} ({type(call.operation).__name__})"
        self._barriers[id(call.operation)] = call.operation, reason
        for tensor in call.inputs:
            self.keep(self.of(tensor), reason)
        return [self.barrier_output(tensor, reason) for tensor in call.outputs]

    def _add(self, tensor: keras.KerasTensor, channels: Channels | None) -> None:
        if channels is not None:
            self._tensors[id(tensor)] = channels
