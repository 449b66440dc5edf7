"""The networks that a configuration can ask for, from raw pixels to class probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import keras
from keras import layers, regularizers

from tf_reg import _keras, _walk
from tf_reg.penalties.channel_penalty import ChannelLasso
from tf_reg.penalties.group_lasso import GroupLasso
from tf_reg.penalties.log_sum import LogSum
from tf_reg.penalties.lq import Lq
from tf_reg.penalties.mcp import MCP
from tf_reg.penalties.scad import SCAD
from tf_reg.penalties.sparse_group_lasso import SparseGroupLasso
from tf_reg.recipes import applications
from tf_reg.recipes.applications import IMAGENET_MEAN, IMAGENET_VARIANCE
from tf_reg.recipes.models import pretrained
from tf_reg.rules.regularize_model import regularize
from tf_reg_cli.config import Config
from tf_reg_cli.defaults import OF_PENALTY, STRENGTHS
from tf_reg_cli.errors import UserError
from tf_reg_cli.field_types import NETWORKS, factors

Tensor = Any  # keras.KerasTensor, which the type checker can't see into


def build(
    config: Config,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    mean: Sequence[float],
    variance: Sequence[float],
    flippable: bool,
) -> keras.Model:
    """Build the network that `config.model` names.

    The input `inputs` takes raw pixels, `(batch, height, width, channels)` from 0 to 255; the output `probabilities`
    is a float32 softmax of shape `(batch, classes)`. Normalisation and augmentation are layers of the model, so
    that what is saved needs no preprocessing. The kernels carry the regularizer, biases and norms don't. It starts from
    the weights of `config.weights`, if that names a file.

    Args:
        config: Which network, and its regularisation, with numbers for the strengths that have an effect.
        image_shape: `(height, width, channels)` of one image.
        classes: How many classes there are.
        mean: The training images' mean per channel, on the scale of raw pixels.
        variance: The training images' variance per channel.
        flippable: Whether a mirrored image keeps its class; `config.flip` overrides it.

    Raises:
        UserError: A network that doesn't take such images, or a file of weights that isn't of this network.
    """
    inputs = keras.Input(image_shape, name="inputs")
    x = inputs
    if config.augment:
        x = _augmented(x, flippable if config.flip is None else config.flip, config.augment_strength)
    if config.model in NETWORKS:
        x = _normalized(x, config, mean, variance)
        x = body(x, config)
    else:
        x = _dropped(applications.features(config.model, x), config)
    x = layers.Dense(classes, name=pretrained.HEAD)(x)
    outputs = layers.Softmax(dtype="float32", name="probabilities")(x)
    model = keras.Model(inputs, outputs, name=config.model)
    if config.weights is not None:
        pretrained.load(model, config.weights)
    put_on(model, config)
    return model


def body(x: Tensor, config: Config) -> Tensor:
    """Return what the network that `config.model` names makes of its inputs, before the last layer.

    Args:
        x: Normalised pixels, or features `(batch, features)`.
        config: Which network.
    """
    return {"linear": _linear, "mlp": _mlp, "cnn": _cnn}[config.model](x, config)


def _constrain(model: keras.Model, largest: float) -> None:
    """Limit the norm of the weights into each unit or filter of dense layers and convolutions."""
    for layer in _keras.sublayers(model):
        if hasattr(layer, "kernel_constraint") and isinstance(getattr(layer, "kernel", None), keras.Variable):
            axes = list(range(len(layer.kernel.shape) - 1))
            layer.kernel_constraint = layer.kernel.constraint = keras.constraints.MaxNorm(largest, axes)


def put_on(
    model: keras.Model,
    config: Config,
    head: str = pretrained.HEAD,
    others: Mapping[str, keras.Regularizer | None] | None = None,
) -> None:
    """Put the regularizer and the constraint that `config` asks for on the kernels of a model, in place.

    Args:
        model: The model.
        config: Which penalty, and its strengths.
        head: The name of the last layer with weights.
        others: Regularizers of layers that have another one, by their names.

    Raises:
        UserError: A network that can't have the penalty.
    """
    if config.max_norm is not None:
        _constrain(model, config.max_norm)
    if config.reg == "channels":
        try:
            regularize(model, regularizer(config))
        except ValueError as error:
            raise UserError(f"--model {config.model} can't have --reg channels: {error}") from error
    elif config.reg != "none":
        own = factors(config.layer_factors or ())
        _check_layers(model, config, own)
        strengths = {name: _scaled(config, own.get(name, 1.0)) for name in (*own, head, "*")}
        rules = {name: regularizer(one, last=name == head) for name, one in strengths.items()}
        rules = {**rules, **(others or {}), "*": rules["*"]}
        regularize(model, rules, unmatched="ignore")  # a linear model has one kernel


def _scaled(config: Config, factor: float) -> Config:
    strengths = [name for name in OF_PENALTY[config.reg] if name in STRENGTHS]
    return dataclasses.replace(config, **{name: factor * getattr(config, name) for name in strengths})


def penalised(model: keras.Model) -> list[str]:
    """Return the paths of the layers whose kernels carry a regularizer, in their order."""
    return list(dict.fromkeys(weight.owner for weight in _walk.regularized(model)))


def _check_layers(model: keras.Model, config: Config, named: Iterable[str]) -> None:
    """Check that factors are for layers that exist."""
    known = dict.fromkeys(one.owner for one in _walk.weights(model) if len(one.variable.shape) > 1)
    for name in named:
        if name not in known:
            places = ", ".join(known)
            raise UserError(
                f"--layer-factors: --model {config.model} has no kernel in a layer {name}, but in {places}."
            )


def regularizer(config: Config, last: bool = False) -> keras.Regularizer | None:
    """Return the kernels' regularizer that `config` asks for.

    Args:
        config: Which penalty, and its strengths.
        last: Whether it is for the last layer. Its outputs are the classes, so its groups are always inputs.
    """
    given: Any = config
    if lacking := [name for name in OF_PENALTY.get(config.reg, ()) if getattr(config, name) is None]:
        raise ValueError(f"a penalty needs numbers, as defaults.filled sets them. Received: None for {lacking}.")
    wanted: Any = config.groups
    maybe = "inputs" if last and wanted else wanted  # of a penalty that is of single weights without groups
    groups = "inputs" if last else wanted or "outputs"
    sizes: dict[str, bool | str] = {"sizes": True, "flops": "flops", "none": False}
    return {
        "none": lambda: None,
        "l1": lambda: regularizers.L1(given.l1),
        "l2": lambda: regularizers.L2(given.l2),
        "l1l2": lambda: regularizers.L1L2(given.l1, given.l2),
        "group": lambda: GroupLasso(given.group_lasso, groups),
        "sparse-group": lambda: SparseGroupLasso(given.l1, given.group_lasso, groups),
        "channels": lambda: ChannelLasso(given.channel_lasso, sizes[config.size_weights]),
        "mcp": lambda: MCP(given.mcp, given.mcp_gamma, maybe),
        "scad": lambda: SCAD(given.scad, given.scad_a, maybe),
        "log-sum": lambda: LogSum(given.log_sum, given.log_sum_epsilon, maybe),
        "lq": lambda: Lq(given.lq, float(Fraction(config.lq_power))),
    }[config.reg]()


def _augmented(x: Tensor, flip: bool, strength: float) -> Tensor:
    if flip:
        x = layers.RandomFlip("horizontal")(x)
    tenth, turn = min(0.1 * strength, 1.0), min(0.03 * strength, 1.0)
    x = layers.RandomTranslation(tenth, tenth, fill_mode="nearest")(x)
    x = layers.RandomRotation(turn, fill_mode="nearest")(x)
    return layers.RandomZoom(tenth, fill_mode="nearest")(x)


def _normalized(x: Tensor, config: Config, mean: Sequence[float], variance: Sequence[float]) -> Tensor:
    if config.normalization == "imagenet":
        channels = x.shape[-1]
        mean, variance = IMAGENET_MEAN, IMAGENET_VARIANCE
        if channels != len(mean):
            mean, variance = (sum(mean) / 3,) * channels, (sum(variance) / 3,) * channels
    return layers.Normalization(mean=list(mean), variance=list(variance), dtype="float32")(x)


def _linear(x: Tensor, config: Config) -> Tensor:
    x = layers.Flatten()(x)
    if config.batch_norm:
        x = layers.BatchNormalization()(x)
    return _dropped(x, config)


def _mlp(x: Tensor, config: Config) -> Tensor:
    x = layers.Flatten()(x)
    for number, units in enumerate(config.hidden, start=1):
        x = _dropped(
            _activated(layers.Dense(units, use_bias=not config.batch_norm, name=f"hidden_{number}"), x, config), config
        )
    return x


def _cnn(x: Tensor, config: Config) -> Tensor:
    for number, filters in enumerate((32, 64), start=1):
        convolution = layers.Conv2D(filters, 3, padding="same", use_bias=not config.batch_norm, name=f"conv_{number}")
        x = _activated(convolution, x, config)
        x = layers.MaxPooling2D(padding="same")(x)
    x = layers.Flatten()(x)
    dense = layers.Dense(128, use_bias=not config.batch_norm, name="dense")
    return _dropped(_activated(dense, x, config), config)


def _activated(layer: layers.Layer, x: Tensor, config: Config) -> Tensor:
    x = layer(x)
    if config.batch_norm:
        x = layers.BatchNormalization()(x)
    return layers.ReLU()(x)


def _dropped(x: Tensor, config: Config) -> Tensor:
    return layers.Dropout(config.dropout)(x) if config.dropout else x
