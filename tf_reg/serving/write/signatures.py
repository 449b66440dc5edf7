"""From a Keras model to the functions behind a SavedModel's signatures: inference alone, float32 out, fixed names."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg import _keras
from tf_reg._backend import tensors_of_data
from tf_reg._ending import PROBABILITIES, activation_of
from tf_reg._walk import layer_paths
from tf_reg.serving.saved_graph import Tensor
from tf_reg.serving.write import tables
from tf_reg.serving.write.attributes import is_of_tensorflow, kept_by
from tf_reg.serving.write.inference import inference, replaced
from tf_reg.serving.write.options import (
    BYTES,
    DEFAULT,
    UINT8,
    Options,
    check_model,
    check_options,
    input_names,
    output_names,
    structures,
)
from tf_reg.serving.write.watch import Watch

Tensors = dict[str, Any]
Arrays = dict[str, np.ndarray]
TOLERANCES = {"bfloat16": 1e-2, "float16": 2e-3}  # of outputs; elsewhere, a few roundings of float32
_HALF = ("float16", "bfloat16")


class Interface:
    """The signatures of one model.

    Args:
        model: A functional or sequential model, built.
        options: What they offer.
        owner: The subclassed model that this one calls and does nothing else; None for one that is a user's own.

    Raises:
        ValueError: If the model can't have them.
    """

    def __init__(self, model: keras.Model, options: Options, owner: keras.Model | None = None) -> None:
        check_model(model)
        self.model, self.options, self.owner = model, options, owner or model
        self.watch = Watch(self.owner, itself=owner is not None)
        self.inputs = dict(zip(input_names(model, options), model.inputs, strict=True))
        self.outputs = output_names(model, options)
        self._head = _Head(model) if options.logits else None
        check_options(options, model)
        self.tensors = {name: Tensor(name, _wide(t.dtype), (None, *t.shape[1:])) for name, t in self.inputs.items()}

    @property
    def tolerance(self) -> float:
        """How far an output may be from the model's own, absolutely and relatively."""
        used = {layer.compute_dtype for _, layer in layer_paths(self.model)}
        return max([TOLERANCES.get(dtype, 1e-5) for dtype in used], default=1e-5)

    @property
    def weight_bytes(self) -> int:
        """The size of the model's weights as they are stored, and of variables of TensorFlow's own in its layers."""
        kept = {id(v): v for _, layer in layer_paths(self.model) for v in kept_by(layer) if is_of_tensorflow(v)}
        sizes = [(tuple(v.shape), np.dtype(_stored(v.dtype)).itemsize) for v in self.model.weights]
        sizes += [(tuple(v.shape), v.dtype.size) for v in kept.values()]
        return sum(np.prod(shape, dtype=int) * size for shape, size in sizes)

    def expected(self, inputs: Tensors) -> Arrays:
        """Return what `serving_default` should: NumPy arrays, computed by the model's own backend on the CPU.

        The model is called as its user calls it, and names are Keras' own: of what is exported, only what lies beside
        the model's outputs has a part in it.
        """
        with keras.device("cpu"), self.traced():
            outputs = self._called(inputs)
            if self._head is not None:
                outputs["logits"] = self._head(self._flat(inputs))[0]
            return {name: ops.convert_to_numpy(value) for name, value in self._finished(outputs).items()}

    def request(self, signature: str, inputs: Arrays) -> Arrays:
        """Turn examples for `serving_default` into such for another signature: pixels as bytes, or PNG files."""
        if signature == DEFAULT:
            return inputs
        [(name, array)] = inputs.items()
        pixels = np.clip(np.rint(array), 0, 255).astype("uint8")
        if signature == UINT8:
            return {name: pixels}
        import tensorflow as tf

        return {name: np.array([tf.io.encode_png(image).numpy() for image in pixels], object)}

    def answer(self, signature: str, request: Arrays) -> Arrays:
        """Return what a signature should answer."""
        if signature == BYTES:
            request = {name: self.images(contents).numpy() for name, contents in request.items()}
        return self.expected(request)

    def call(self, inputs: Tensors) -> Tensors:
        """Return the outputs for tensors by input name."""
        flat = self._flat(inputs)
        if self._head is not None:
            logits, probabilities = self._head(flat)
            return self._finished({self.outputs[0]: probabilities, "logits": logits})
        return self._finished(dict(zip(self.outputs, _run(self.model, flat), strict=True)))

    @contextlib.contextmanager
    def traced(self) -> Iterator[None]:
        """Within a `with` block the model does inference alone, and `watch` sees its layers."""
        with inference(self.model), self.watch.watching():
            yield

    def write(self, path: Path) -> None:
        """Write a SavedModel with these signatures."""
        archive = keras.export.ExportArchive()  # with no `track`: that would store the weights a second time
        with self.traced():
            functions = []
            for name in self.options.names:
                function, specs = self._endpoint(name)
                endpoint = archive.add_endpoint(name, function, input_signature=specs)
                functions.append(endpoint.get_concrete_function())
            for table in tables.used(self.model, functions, self.watch):
                archive.track(table)
            archive.write_out(str(path), verbose=False)

    def images(self, contents: Any) -> Any:
        """Decode PNG or JPEG files, `(batch,)`, to uint8 images of the model's size, resized where they differ."""
        import tensorflow as tf

        shape = tuple(self.model.inputs[0].shape[1:])

        def decode(content: Any) -> Any:
            image = tf.io.decode_image(content, channels=shape[-1], expand_animations=False)
            return tf.cast(tf.round(tf.image.resize(image, shape[:2], antialias=True)), "uint8")

        return tf.map_fn(decode, contents, fn_output_signature=tf.TensorSpec(shape, "uint8"))

    def _endpoint(self, name: str) -> tuple[Callable[..., Tensors], list[Any]]:
        import tensorflow as tf

        def serve(*tensors: Any) -> Tensors:
            if name == BYTES:
                tensors = (self.images(tensors[0]),)
            return self.call(dict(zip(self.inputs, tensors, strict=True)))

        if name == BYTES:
            return serve, [tf.TensorSpec((None,), "string", name=next(iter(self.inputs)))]
        specs = [
            tf.TensorSpec((self.options.batch, *t.shape[1:]), "uint8" if name == UINT8 else _wide(t.dtype), name=key)
            for key, t in self.inputs.items()
        ]
        return serve, specs

    def _flat(self, inputs: Tensors) -> list[Any]:
        return [_cast(inputs[name], tensor.dtype) for name, tensor in self.inputs.items()]

    def _called(self, inputs: Tensors) -> Tensors:
        """Return the model's own outputs by name."""
        declared, returned = structures(self.model)
        if len(self.model.inputs) == 1:
            [array] = inputs.values()
            given = keras.tree.map_structure(lambda tensor: _cast(array, tensor.dtype), declared)
        elif isinstance(declared, dict):
            given = copy.copy(declared)
            for name, tensor in declared.items():
                given[name] = _cast(inputs[name], tensor.dtype)
        else:
            given = [_cast(inputs[tensor.name], tensor.dtype) for tensor in declared]
        outputs = self.model(given, training=False)
        if len(self.model.outputs) == 1:
            return {self.options.output_name: keras.tree.flatten(outputs)[0]}
        named = isinstance(returned, dict)
        return dict(outputs) if named else dict(zip(self.model.output_names, outputs, strict=True))

    def _finished(self, outputs: Tensors) -> Tensors:
        """Return outputs in the dtypes that a server has, with what is made of them beside."""
        single = len(self.outputs) == 1
        outputs = {name: _servable(value, single) for name, value in outputs.items()}
        return outputs | self._classes(outputs[self.outputs[0]])

    def _classes(self, values: Any) -> Tensors:
        added = {}
        if self.options.class_id:
            binary = values.shape[-1] == 1
            # Not by argmax, which Keras makes of operations on bits that other formats lack.
            best = values[:, 0] > 0.5 if binary else ops.top_k(values, 1)[1][:, 0]
            added["class_id"] = ops.cast(best, "int32")
        if self.options.top_k is not None:
            best, ids = ops.top_k(values, self.options.top_k)
            added |= {"top_k_ids": ops.cast(ids, "int32"), f"top_k_{self.outputs[0]}": best}
        return added


class _Head:
    """A classifier's last layer in two steps: the logits, and the probabilities that it makes of them."""

    def __init__(self, model: keras.Model) -> None:
        self._layer, inputs = _keras.call_that_made(model.outputs[0])
        if not isinstance(self._layer, keras.Layer) or activation_of(self._layer) not in PROBABILITIES:
            raise ValueError(
                "`logits` needs a model that ends in a softmax or a sigmoid, in a layer of its own or as the last "
                f"layer's activation. Received: {model.name!r}, which ends in the layer {self._layer.name!r}."
            )
        self._body = keras.Model(model.inputs, inputs[0], name=model.name)  # without one, Keras counts on

    def __call__(self, flat: Sequence[Any]) -> tuple[Any, Any]:
        x = _run(self._body, flat)[0]
        if isinstance(self._layer, keras.layers.Softmax):
            return x, self._layer(x)
        with replaced(self._layer, "activation", keras.activations.linear):
            logits = self._layer(x)
        return logits, self._layer.activation(logits)


def _run(model: keras.Model, flat: Sequence[Any]) -> list[Any]:
    """Run a model in inference mode on a list of its inputs, however they are declared."""
    inputs = keras.tree.pack_sequence_as(structures(model)[0], list(flat))
    return keras.tree.flatten(model(inputs, training=False))


def _cast(value: Any, dtype: str) -> Any:
    """A tensor of a dtype; strings, which Keras has no operations for, as TensorFlow's."""
    return tensors_of_data(value) if dtype == "string" else ops.cast(value, dtype)


def _servable(value: Any, single: bool) -> Any:
    """The server's JSON knows no half precision; a single output is float32 in any case."""
    dtype = keras.backend.standardize_dtype(value.dtype)
    return ops.cast(value, "float32") if dtype in _HALF or (single and dtype == "float64") else value


def _wide(dtype: str) -> str:
    return "float32" if dtype in _HALF else dtype


def _stored(dtype: str) -> str:
    return "float16" if dtype in _HALF else dtype
