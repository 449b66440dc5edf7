"""A new model without the channels that are removed."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg.compaction.analysis import Graph
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.objects import remade
from tf_reg.compaction.removal import Removal
from tf_reg.compaction.select import SelectFeatures
from tf_reg.penalties.registry import group_penalty_of


class Rebuilt:
    """A model that is built anew, with its weights.

    Args:
        removal: What is removed, and from which model.

    Attributes:
        model: The new functional model. It isn't compiled.
        variables: The variable that took the place of each one of the old model, by the old one's id.
    """

    def __init__(self, removal: Removal) -> None:
        self._removal = removal
        self._analysis = removal.analysis
        self._layers: dict[int, tuple[Any, Any]] = {}  # the old one and the new one
        self._selections: dict[int, SelectFeatures] = {}
        self._tensors: dict[int, keras.KerasTensor] = {}
        self.variables: dict[int, keras.Variable] = {}
        self.model = self._build(self._analysis.graph)
        for old, new in self._layers.values():
            if isinstance(old, keras.Layer) and not isinstance(old, keras.Model):
                self._set_weights(old, new)

    def _build(self, graph: Graph) -> keras.Model:
        """Make a functional model: the whole one, or one within it."""
        channels = iter(graph.inputs)
        inputs = tree.map_structure(lambda tensor: self._input(tensor, next(channels)), graph.model.input)
        for call in graph.calls:
            self._call(call)
        outputs = tree.map_structure(lambda tensor: self._tensors[id(tensor)], graph.model.output)
        return keras.Model(inputs, outputs, name=graph.model.name)

    def _input(self, tensor: keras.KerasTensor, channels: Channels | None) -> keras.KerasTensor:
        layer, _ = _keras.call_that_made(tensor)
        shape = list(tensor.shape)
        if channels is not None:
            shape[channels.axis] = int(self._removal.kept(channels.ids).sum())
        optional = getattr(layer, "optional", False)
        made = keras.Input(
            batch_shape=shape, dtype=tensor.dtype, name=layer.name, sparse=tensor.sparse, optional=optional
        )
        self._tensors[id(tensor)] = made
        return made

    def _call(self, call: _keras.Call) -> None:
        if id(call.operation) not in self._layers:
            self._layers[id(call.operation)] = call.operation, self._new(call.operation)
        operation = self._layers[id(call.operation)][1]
        args, kwargs = tree.map_structure(lambda value: self._tensors.get(id(value), value), (call.args, call.kwargs))
        chosen = self._removal.chosen(call.operation)
        if chosen is not None:
            args = (self._selected(call.operation, chosen, args[0]), *args[1:])
        for old, new in zip(call.outputs, tree.flatten(operation(*args, **kwargs)), strict=True):
            self._tensors[id(old)] = new

    def _selected(self, layer: keras.Layer, chosen: np.ndarray, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """The features of a tensor that a dense layer needs. If they are selected already, there is one selection."""
        indices, (before, inputs) = np.flatnonzero(chosen), _keras.call_that_made(tensor)
        if isinstance(before, SelectFeatures):
            tensor, indices = inputs[0], np.array(before.indices)[indices]
        if id(layer) not in self._selections:
            name = f"{layer.name}_inputs"
            self._selections[id(layer)] = SelectFeatures(indices.tolist(), name=name, dtype=layer.dtype_policy)
        return self._selections[id(layer)](tensor)

    def _new(self, operation: Any) -> Any:
        inner = self._analysis.inner_graph(operation)
        if inner is not None:
            return self._build(self._analysis.graphs[id(inner)])
        return remade(operation, functools.partial(self._change, operation))

    def _change(self, operation: Any, config: dict[str, Any]) -> None:
        """Write the new sizes into the config of a layer or operation."""
        for name, ids in self._analysis.widths.get(id(operation), {}).items():
            config[name] = int(self._removal.kept(ids).sum())
        if id(operation) in self._analysis.shapes:
            name, channels = self._analysis.shapes[id(operation)]
            shape = list(config[name])
            shape[channels.axis - 1] = int(self._removal.kept(channels.ids).sum())
            config[name] = shape
        if id(operation) in self._analysis.selections:
            stays = self._removal.kept(self._analysis.selections[id(operation)].ids)
            config["indices"] = (np.cumsum(stays) - 1)[[place for place in operation.indices if stays[place]]].tolist()
        for variable in operation.variables if isinstance(operation, keras.Layer) else ():
            self._resize(config, f"{variable.name}_regularizer", variable)
        if "use_bias" in config and self._removal.folded(operation) is not None:
            config["use_bias"] = True

    def _resize(self, config: dict[str, Any], name: str, variable: Any) -> None:
        """Let a penalty whose strength depends on the size of a group keep its strength."""
        penalty = group_penalty_of(keras.regularizers.get(config.get(name)))
        resized = penalty and penalty.resized(variable.shape, self._removal.shape(variable))
        if resized is not None:
            config[name] = keras.regularizers.serialize(resized)

    def _set_weights(self, old: Any, new: Any) -> None:
        old_weights, new_weights = old.variables, new.variables
        by_name = {variable.name: variable for variable in new_weights}
        reads, folded = self._analysis.reads_of(old), self._removal.folded(old)
        for place, variable in enumerate(old_weights):
            value = ops.convert_to_numpy(variable.value)
            if folded is not None and variable.name == "bias":
                value = (value + folded).astype(value.dtype)
            made = by_name[variable.name] if reads else new_weights[place]
            made.assign(self._removal.cut(variable, value))
            self.variables[id(variable)] = made
        if folded is not None and not any(variable.name == "bias" for variable in old_weights):
            ids = self._analysis.slices[id(reads[0].kernel)][reads[0].outputs]
            by_name["bias"].assign(np.where(self._removal.padded(ids), 0.0, folded)[self._removal.kept(ids)])
