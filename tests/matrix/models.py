"""All models of the matrix, by their names, and which layers of Keras they have."""

import keras

from tests.matrix import forms, images, refused, sequences, vectors, words
from tests.matrix.cases import Case

MODELS: dict[str, Case] = {
    name: case for module in (vectors, images, sequences, words, forms, refused) for name, case in module.MODELS.items()
}
PLAIN = (  # cheap ones of each kind
    "keras.ops alone", "CNN", "masked Embedding and LSTM", "GroupQueryAttention", "StringLookup", "subclassed", "LoRA",
    "int8",
)  # fmt: skip
NO_MODELS = {  # of keras.layers: what no model of TensorFlow's is made of
    "Layer": "is what layers are made of",
    "Wrapper": "is what layers are made of",
    "InputSpec": "is no layer",
    "FlaxLayer": "holds a module of Flax",
    "JaxLayer": "holds a function of JAX",
    "TorchModuleWrapper": "holds a module of torch",
    "MaxNumBoundingBoxes": "takes boxes of a data set, and is for tf.data",
}


def layers_of_keras() -> dict[str, type]:
    """All layers in `keras.layers`, by their names there; aliases are of the same class."""
    found = {name: getattr(keras.layers, name) for name in dir(keras.layers)}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and name not in NO_MODELS}
