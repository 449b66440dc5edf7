"""A new model without the channels that are removed."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.objects import remade
from tf_reg.compaction.reads import Graph
from tf_reg.compaction.removal import Removal
from tf_reg.compaction.select import SelectFeatures
from tf_reg.compaction.state import carry_state
from tf_reg.penalties.column_lasso import ColumnLasso
from tf_reg.penalties.coupled import ChannelMember
from tf_reg.penalties.heads import Heads
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
        self._names = self._analysis.names
        self.variables: dict[int, keras.Variable] = {}
        self.model = self._build(self._analysis.graph)
        for old, new in self._layers.values():
            if isinstance(old, keras.Layer) and not isinstance(old, keras.Model):
                self._set_weights(old, new)

    @property
    def layers(self) -> list[tuple[keras.Layer, keras.Layer]]:
        """The layers and models within the model, old and new: a model before the layers in it."""
        return [pair for pair in reversed(self._layers.values()) if isinstance(pair[0], keras.Layer)]

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
        shape, optional = self._removal.shape_of(tensor, channels), getattr(layer, "optional", False)
        made = keras.Input(
            batch_shape=shape, dtype=tensor.dtype, name=layer.name, sparse=tensor.sparse, optional=optional
        )
        self._tensors[id(tensor)] = made
        return made

    def _call(self, call: _keras.Call) -> None:
        if id(call.operation) not in self._layers:
            self._layers[id(call.operation)] = call.operation, self._new(call.operation)
        operation, tensors = self._layers[id(call.operation)][1], self._tensors
        chosen = self._removal.chosen(call.operation)
        if chosen is not None:
            source = id(call.inputs[0])
            tensors = {**tensors, source: self._selected(call.operation, chosen, tensors[source])}
        args, kwargs = tree.map_structure(lambda value: tensors.get(id(value), value), (call.args, call.kwargs))
        for old, new in zip(call.outputs, tree.flatten(operation(*args, **kwargs)), strict=True):
            self._tensors[id(old)] = new

    def _selected(self, layer: keras.Layer, chosen: np.ndarray, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """The features of a tensor that a dense layer needs. If they are selected already, there is one selection."""
        indices, (before, inputs) = np.flatnonzero(chosen), _keras.call_that_made(tensor)
        replaced = isinstance(before, SelectFeatures)
        if replaced:
            tensor, indices = inputs[0], np.array(before.indices)[indices]
        if id(layer) not in self._selections:
            name = f"{layer.name}_inputs"
            while name in self._names and not (replaced and name == before.name):
                name += "_"
            self._selections[id(layer)] = SelectFeatures(indices.tolist(), name=name, dtype=layer.dtype_policy)
        return self._selections[id(layer)](tensor)

    def _new(self, operation: Any) -> Any:
        inner = self._analysis.inner_graph(operation)
        if inner is not None:
            built = self._build(self._analysis.graphs[id(inner)])
            return keras.Sequential(built.layers, name=built.name) if type(operation) is keras.Sequential else built
        if not isinstance(operation, keras.Layer) and id(operation) not in self._analysis.settings:
            return operation  # it has no state
        return remade(operation, functools.partial(self._change, operation))

    def _change(self, operation: Any, config: dict[str, Any]) -> None:
        """Write what changes into the config of a layer or operation: numbers of channels, penalties, a new bias."""
        before, analysis, kept = dict(config), self._analysis, self._removal.kept
        for name, ids in analysis.widths.get(id(operation), {}).items():
            config[name] = int(kept(ids).sum())
        for name, place, ids in analysis.settings.get(id(operation), ()):
            count = int(kept(ids).sum())
            shape = [count] if place is None else list(before[name])
            shape[place or 0] = count
            config[name] = count if place is None else tuple(shape)
        if id(operation) in analysis.selections:
            stays = kept(analysis.selections[id(operation)].ids)
            config["indices"] = (np.cumsum(stays) - 1)[[place for place in operation.indices if stays[place]]].tolist()
        for name, inner in analysis.inside.get(id(operation), {}).items():
            config[name] = keras.saving.serialize_keras_object(self._new(inner))
        for variable in operation.variables if isinstance(operation, keras.Layer) else ():
            self._resize(config, variable)
        for read in analysis.reads_of(operation):
            if self._removal.makes_bias(read, config):
                config.update(read.bias.settings if read.bias is not None else {})

    def _resize(self, config: dict[str, Any], variable: Any) -> None:
        """Let a penalty whose strength depends on the size of a group keep its strength."""
        stems = (variable.name, variable.name.removesuffix("_kernel"), "depthwise")
        name = next((f"{stem}_regularizer" for stem in stems if f"{stem}_regularizer" in config), "")
        penalty = group_penalty_of(keras.regularizers.get(config.get(name)))
        if isinstance(penalty, ColumnLasso):
            left = penalty.resized_by(dict(enumerate(self._removal.along(variable))), variable.shape)
            config[name] = None if left is None else keras.regularizers.serialize(left)
            return
        if isinstance(penalty, ChannelMember):
            kept = {axis: self._removal.kept(ids) for axis, ids in self._analysis.slices[id(variable)].items()}
            config[name] = keras.regularizers.serialize(penalty.resized_by(kept))
            return
        if penalty is not None and penalty.takes_heads:
            sizes = Heads(config["num_heads"], config["key_dim"], config["value_dim"])
            resized = penalty.with_layout(sizes.layout)
        else:
            resized = penalty and penalty.resized(variable.shape, self._removal.shape(variable))
        if resized is not None:
            config[name] = keras.regularizers.serialize(resized)

    def _set_weights(self, old: Any, new: Any) -> None:
        """Give a layer and the layers inside it their weights."""
        for one, other in zip(_keras.sublayers(old), _keras.sublayers(new), strict=True):
            if not isinstance(one, keras.Model):
                self._set_own_weights(one, other)

    def _set_own_weights(self, old: Any, new: Any) -> None:
        before, after = _keras.own_variables(old), _keras.own_variables(new)
        kernels = {id(variable) for variable in before}
        reads = [read for read in self._analysis.reads if id(read.kernel) in kernels]
        folded = self._removal.folded(reads)
        if len(after) > len(before):
            [made] = [variable for variable in after if variable.name == "bias"]
            after = [variable for variable in after if variable is not made]
            made.assign(np.broadcast_to(self._removal.cut_bias(reads, folded), made.shape))
        for variable, target in zip(before, after, strict=True):
            value = ops.convert_to_numpy(variable.value)
            if folded is not None and variable.name == "bias":
                value = (value + folded).astype(value.dtype)
            target.assign(self._removal.cut(variable, value))
            self.variables[id(variable)] = target
        if not any(id(variable) in self._analysis.slices for variable in before):
            carry_state(old, new)
