"""A new model without the channels that are removed."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tf_reg import _keras
from tf_reg.compaction.analysis import Graph, Read
from tf_reg.compaction.channels import Channels
from tf_reg.compaction.removal import Removal
from tf_reg.compaction.select import SelectFeatures
from tf_reg.compaction.state import carry_state
from tf_reg.penalties.registry import group_penalty_of


class Rebuilt:
    """A model that is built anew, with its weights.

    Args:
        removal: What is removed, and from which model.

    Attributes:
        model: The new functional model. It isn't compiled.
    """

    def __init__(self, removal: Removal) -> None:
        self._removal = removal
        self._analysis = removal.analysis
        self._layers: dict[int, tuple[Any, Any]] = {}  # the old one and the new one
        self._selections: dict[int, SelectFeatures] = {}
        self._tensors: dict[int, keras.KerasTensor] = {}
        self.model = self._build(self._analysis.graph)
        for old, new in self._layers.values():
            if isinstance(old, keras.Layer) and not isinstance(old, keras.Model):
                self._set_weights(old, new)
        for old, new in reversed(self._layers.values()):  # a model comes after the layers inside it
            if isinstance(old, keras.Layer) and old.trainable != new.trainable:
                new.trainable = old.trainable

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
        made = keras.Input(batch_shape=shape, dtype=tensor.dtype, name=layer.name, sparse=tensor.sparse)
        self._tensors[id(tensor)] = made
        return made

    def _call(self, call: _keras.Call) -> None:
        if id(call.operation) not in self._layers:
            self._layers[id(call.operation)] = call.operation, self._new(call.operation)
        operation, tensors = self._layers[id(call.operation)][1], self._tensors
        chosen = self._removal.chosen(call.operation)
        if chosen is not None:
            source = id(call.inputs[0])
            tensors = {**tensors, source: self._selection(call.operation, chosen)(tensors[source])}
        args, kwargs = tree.map_structure(lambda value: tensors.get(id(value), value), (call.args, call.kwargs))
        for old, new in zip(call.outputs, tree.flatten(operation(*args, **kwargs)), strict=True):
            self._tensors[id(old)] = new

    def _selection(self, layer: keras.Layer, chosen: np.ndarray) -> SelectFeatures:
        if id(layer) not in self._selections:
            indices = np.flatnonzero(chosen).tolist()
            self._selections[id(layer)] = SelectFeatures(indices, name=f"{layer.name}_inputs", dtype=layer.dtype_policy)
        return self._selections[id(layer)]

    def _new(self, operation: Any) -> Any:
        inner = self._analysis.inner_graph(operation)
        if inner is not None:
            built = self._build(self._analysis.graphs[id(inner)])
            return keras.Sequential(built.layers, name=built.name) if type(operation) is keras.Sequential else built
        config = self._changed(operation)
        for variable in operation.variables if isinstance(operation, keras.Layer) else ():
            self._resize(config, variable)
        for read in self._analysis.reads_of(operation):
            made = read.bias.settings if read.bias is not None else {}
            if not any(config.get(name) for name in made) and self._folded([read]).any():
                config.update(made)
        with _keras.trusted():
            return type(operation).from_config(config)

    def _changed(self, operation: Any) -> dict[str, Any]:
        """The config of a layer or operation, with the numbers of channels that stay."""
        before = operation.get_config()
        config = dict(before)
        for name, ids in self._analysis.widths.get(id(operation), {}).items():
            config[name] = int(self._removal.kept(ids).sum())
        for name, place, ids in self._analysis.settings.get(id(operation), ()):
            count = int(self._removal.kept(ids).sum())
            shape = [count] if place is None else list(before[name])
            shape[place or 0] = count
            config[name] = count if place is None else tuple(shape)
        for name, inner in self._analysis.inside.get(id(operation), {}).items():
            config[name] = keras.saving.serialize_keras_object(self._new(inner))
        return config

    def _resize(self, config: dict[str, Any], variable: Any) -> None:
        """Let a penalty whose strength depends on the size of a group keep its strength."""
        stems = (variable.name, variable.name.removesuffix("_kernel"), "depthwise")
        name = next((f"{stem}_regularizer" for stem in stems if f"{stem}_regularizer" in config), "")
        penalty = group_penalty_of(keras.regularizers.get(config.get(name)))
        resized = penalty and penalty.resized(variable.shape, self._removal.shape(variable))
        if resized is not None:
            config[name] = keras.regularizers.serialize(resized)

    def _folded(self, reads: list[Read]) -> np.ndarray:
        """What a bias takes over from inputs that are removed, to be added to it before removal."""
        total = np.zeros(1)
        for read in {read.place: read for read in reads if read.bias is not None}.values():
            gone = ~self._removal.rows(read) & read.foldable
            constants = np.where(gone, read.channels.constants, 0.0)
            if constants.any():
                total = total + _in_bias(read, constants)
        return total

    def _set_weights(self, old: Any, new: Any) -> None:
        """Give a layer and the layers inside it their weights."""
        for one, other in zip(_keras.sublayers(old), _keras.sublayers(new), strict=True):
            if not isinstance(one, keras.Model):
                self._set_own_weights(one, other)

    def _set_own_weights(self, old: Any, new: Any) -> None:
        before, after = _keras.own_variables(old), _keras.own_variables(new)
        kernels = {id(variable) for variable in before}
        reads = [read for read in self._analysis.reads if id(read.kernel) in kernels]
        if len(after) > len(before):
            [made] = [variable for variable in after if variable.name == "bias"]
            after = [variable for variable in after if variable is not made]
            kept = self._removal.kept(self._analysis.slices[id(reads[0].kernel)][reads[0].outputs])
            made.assign(np.broadcast_to(np.compress(kept, self._folded(reads), -1), made.shape))
        for variable, target in zip(before, after, strict=True):
            value = ops.convert_to_numpy(variable.value)
            if reads and variable.name == "bias":
                value = (value + self._folded(reads)).astype(value.dtype)
            for axis, kept in enumerate(self._removal.along(variable)):
                value = np.compress(kept, value, axis)
            target.assign(value)
        if not any(id(variable) in self._analysis.slices for variable in before):
            carry_state(old, new)


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
