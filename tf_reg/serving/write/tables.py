"""Tables and other resources of TensorFlow in layers of a user's own: written with the model, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from tf_reg._walk import layer_paths
from tf_reg.serving.write.attributes import kept_by
from tf_reg.serving.write.watch import RefusedError, Watch


def used(model: keras.Model, functions: Iterable[Any], watch: Watch) -> list[Any]:
    """Return the resources that functions use beside variables, such as a `tf.lookup.StaticHashTable`.

    Keras' archive finds variables by itself, and of everything else nothing. TensorFlow can't write what it can't
    reach, and would say so in an `AssertionError`.

    Args:
        model: The model whose layers hold the resources.
        functions: Traced functions of TensorFlow (`ConcreteFunction`).
        watch: What watched the model while they were traced.

    Raises:
        RefusedError: A layer uses a resource that is no attribute of a layer.
    """
    import tensorflow as tf

    held, found = list(_resources(model)), {}
    for function in functions:
        variables = {id(variable.handle) for variable in function.graph.variables}
        for outside, inside in function.graph.captures:
            if outside.dtype != "resource" or id(outside) in variables:
                continue
            owners = [resource for resource in held if resource.resource_handle is outside]
            names = [name for node in inside.consumers() for name in watch.named_in(node.name)]
            layer = f"The layer {names[0]}" if names else f"The model {model.name!r}"
            if not owners:
                raise RefusedError(
                    f"{layer} uses a table or another resource of TensorFlow that can't be written with it: it is no "
                    "attribute of the layer. Make it in `__init__` or `build`, as in `self.table = ...`."
                )
            if not any(isinstance(owner, tf.lookup.StaticHashTable) for owner in owners):
                raise RefusedError(
                    f"{layer} uses a {type(owners[0]).__name__}, which a request could change. Make it a "
                    "tf.lookup.StaticHashTable."
                )
            found[id(owners[0])] = owners[0]
    return list(found.values())


def _resources(model: keras.Model) -> Iterator[Any]:
    """All resources of TensorFlow that are attributes of layers, or lie within such."""
    import tensorflow as tf

    for _, layer in [("", model), *layer_paths(model)]:
        for value in kept_by(layer):
            if isinstance(value, tf.__internal__.tracking.Trackable) and not isinstance(value, keras.Layer):
                for inner in tf.train.TrackableView(value).descendants():
                    if isinstance(inner, tf.saved_model.experimental.TrackableResource):
                        yield inner
