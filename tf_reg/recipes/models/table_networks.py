"""The networks for tables, from raw columns to class probabilities or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import layers

from tf_reg.penalties.column_lasso import ColumnLasso
from tf_reg.recipes.models import networks, pretrained
from tf_reg.tables.features import Features
from tf_reg_cli.config import Config
from tf_reg_cli.errors import UserError

OUTPUT = "output"  # the name of the last layer with weights, of a regression


def build(
    config: Config, features: Features, class_names: Sequence[str], moments: tuple[float, float] | None
) -> keras.Model:
    """Build the network that `config.model` names, `linear` or `mlp`, for a table.

    It has an input for each column, `(batch, 1)`. Normalisation, what stands for missing values and the look-up of
    categories are layers of the model, with statistics of the training rows. A classification ends in the softmax
    `probabilities`, `(batch, classes)`. A regression ends in `predictions`, `(batch, 1)`, in units of the target; the
    layer before it predicts a target of mean 0 and variance 1.

    Args:
        config: Which network, and its regularisation, with numbers for the strengths that have an effect.
        features: The features of the columns.
        class_names: The names of the classes; empty for a regression.
        moments: Mean and variance of the training targets of a regression; None for a classification.

    Raises:
        UserError: A penalty that the columns can't have, or a file of weights that isn't of this network.
    """
    x = networks.body(features.outputs, config)
    head = pretrained.HEAD if moments is None else OUTPUT
    if moments is None:
        x = layers.Dense(len(class_names), name=head)(x)
        outputs = layers.Softmax(dtype="float32", name="probabilities")(x)
    else:
        mean, variance = moments
        x = layers.Dense(1, name=head)(x)
        outputs = layers.Rescaling(math.sqrt(variance), mean, dtype="float32", name="predictions")(x)
    model = keras.Model(features.inputs, outputs, name=config.model)
    if config.weights is not None:
        pretrained.load(model, config.weights)
    networks.put_on(model, config, head, _first(config, head, features))
    return model


def _first(config: Config, head: str, features: Features) -> dict[str, keras.Regularizer | None]:
    """The regularizer of the layer that reads the features, where its groups are columns."""
    first = head if config.model == "linear" else "hidden_1"
    groups = "inputs" if first == head and config.has_groups else config.groups
    if not config.has_groups or groups != "inputs":
        return {}
    single = all(len(places) == 1 for places in features.groups.values())
    if config.reg != "group" and not single:
        wide = next(name for name, places in features.groups.items() if len(places) > 1)
        raise UserError(
            f"--reg {config.reg} can't group the columns of a table that have several features, as {wide!r} has, a "
            "column with categories or missing values: take --reg group."
        )
    if config.reg != "group":
        return {}
    if config.reweight:
        raise UserError("--reweight has no factors for columns. Leave it out, or take another --reg.")
    return {first: ColumnLasso(config.group_lasso or 0.0, features.groups)}
