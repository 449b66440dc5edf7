"""Start a network from the weights of a file."""

from __future__ import annotations

from pathlib import Path

import keras

from tf_reg._walk import layer_paths
from tf_reg.serving.write.watch import reason
from tf_reg_cli.errors import UserError
from tf_reg_cli.files import weights

HEAD = "logits"


def load(model: keras.Model, file: str) -> None:
    """Give a model the weights of a file, in place.

    From a `.keras` file, as every run leaves one, each layer takes the weights of the layer of its path. The last layer
    `logits` stays new where the file's has another number of classes. A `.h5` file is one that Keras publishes for a
    network without its top, and goes into the layer `body`.

    Args:
        model: A model that `models.build` made.
        file: The path of the file, or of a run's folder.

    Raises:
        UserError: The file can't be read, or isn't of this network.
    """
    file = weights(file)
    if not Path(file).is_file():
        raise UserError(f"--weights {file} is no file.")
    try:
        if file.endswith(".keras"):
            _copy(keras.models.load_model(file, compile=False), model, file)
        else:
            _body(model, file).load_weights(file)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--weights {file} can't be loaded into this network: {reason(error)}") from error


def _body(model: keras.Model, file: str) -> keras.Model:
    bodies = [layer for layer in model.layers if layer.name == "body"]
    if not bodies:
        raise UserError(f"--weights {file} must be a .keras file for --model {model.name}.")
    return bodies[0]


def _copy(source: keras.Model, model: keras.Model, file: str) -> None:
    theirs, new = _leaves(source), []
    for path, layer in _leaves(model).items():
        values = theirs[path].get_weights() if path in theirs else None
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if values is not None and [value.shape for value in values] == shapes:
            layer.set_weights(values)
        elif path == HEAD:
            new.append(path)
        else:
            found = "no such layer" if values is None else f"shapes {[value.shape for value in values]}"
            raise UserError(f"--weights {file} is of another network: expected {path} with {shapes}, found {found}.")
    if new == list(_leaves(model)):
        raise UserError(f"--weights {file} is of another network: it has no weights for this one.")


def _leaves(model: keras.Model) -> dict[str, keras.Layer]:
    """The layers that have weights and no layers, by their paths."""
    return {
        path: layer
        for path, layer in layer_paths(model)
        if layer.weights and not isinstance(layer, keras.Model) and not _seeds_alone(layer)
    }


def _seeds_alone(layer: keras.Layer) -> bool:
    """Whether its only variables are the states of random numbers, which a new run has of its own."""
    return all("seed_generator_state" in weight.path for weight in layer.weights)
