"""Which symbolic tensors of a functional model depend on some of its layers."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import keras
from keras import tree

from tf_reg import _keras
from tf_reg._graph import as_graph


class GraphWalk:
    """What a walk through a functional model finds out about chosen layers.

    `keras.models.clone_model` walks through the graph. It calls the same layers on symbolic tensors, in an order in
    which each call has its inputs. A model within the model is one layer.

    Args:
        graph: A functional model, as `as_graph` returns it.
        chosen: The ids of the chosen layers.

    Attributes:
        model: A functional model over the same layers, whose symbolic tensors are those below.
        tensors: The outputs of all calls, and those of the calls in models within the model.
        late: The outputs of the calls that depend on a chosen layer, by their ids.
        frontier: The tensors that late ones are computed from and that aren't late, by their ids.
        second: All tensors that are computed on the way from the frontier to late outputs.
    """

    def __init__(self, graph: keras.Model, chosen: Container[int]) -> None:
        self.tensors: list[keras.KerasTensor] = []
        self.late: dict[int, keras.KerasTensor] = {}
        self.frontier: dict[int, keras.KerasTensor] = {}
        self.second: list[keras.KerasTensor] = []
        self._chosen = chosen
        self.model = keras.models.clone_model(
            graph, input_tensors=graph.input, clone_function=lambda layer: layer, call_function=self._call
        )

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a layer or an operation on symbolic tensors, and sort its inputs and outputs."""
        if isinstance(layer, keras.Layer):
            kwargs.pop("training", None)  # as in `layer(x, training=True)`: the walked model is called with its own
        outputs = layer(*args, **kwargs)
        made = tree.flatten(outputs)
        inner = as_graph(layer)
        within = [*made, *(GraphWalk(inner, ()).tensors if inner is not None else [])]
        inputs = [tensor for tensor in tree.flatten((args, kwargs)) if isinstance(tensor, keras.KerasTensor)]
        parts = _keras.sublayers(layer) if isinstance(layer, keras.Layer) else []
        self.tensors += within
        if any(id(part) in self._chosen for part in parts) or any(id(tensor) in self.late for tensor in inputs):
            self.frontier.update({id(tensor): tensor for tensor in inputs if id(tensor) not in self.late})
            self.late.update({id(tensor): tensor for tensor in made})
            self.second += within
        return outputs
