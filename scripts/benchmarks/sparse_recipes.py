"""The trainings of `benchmark.py sparse`: networks, penalties and their settings, all of which a result depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

import tf_reg

# Settings that older trainings didn't have, and what they did. The names of their folders stay as they are.
LATER: dict[str, Any] = {"teacher": 0.0, "temperature": 2.0, "taught": "refit", "start": "scratch", "refit_rate": None}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        summary: What it is, for people.
        dataset: A set of TensorFlow Datasets.
        network: A name of `NETWORKS`.
        penalty: A name of `PENALTIES`; None for none.
        strength: Its strength.
        search: Epochs with the penalty, at a constant learning rate.
        refit: Epochs after it: zeros stay, there is no penalty, and the learning rate falls to zero as a cosine.
        compacted: After how many epochs of the search the network is compacted, again and again, and at its end: the
            rest takes less time. 0 for once, after the refit.
        paired: Whether the dense network is trained as well, to compare with.
        warmup: Epochs before the strength has risen to its value, from zero, in a straight line.
        batch_size: Examples of a step.
        rate: The learning rate of the search.
        shift: By how many pixels at most each image is shifted, anew in each epoch.
        smoothing: The label smoothing.
        decay: The weight decay of SGD.
        reweight: Arguments of `tf_reg.Reweight`; None for none.
        target: The share of zeros that `tf_reg.TargetSparsity` makes exactly; None for a strength that stays.
        of: What that share is of.
        train_size: How many examples of each epoch; None for all.
        teacher: The share of the loss that the answers of the dense network have; 0 for the labels alone.
        temperature: How soft these answers are.
        taught: When there is a teacher: in the refit, or in all epochs.
        refit_rate: The learning rate at the start of the refit, of a new optimizer, for the dense network too. The loss
            of a teacher is more curved than that of the labels, and takes smaller steps. None for that of the search.
        start: Where the weights come from: from their initializers, or from the dense network after its training.
    """

    summary: str
    dataset: str
    network: str
    penalty: str | None
    strength: float
    search: int
    refit: int
    compacted: int = 0
    paired: bool = True
    warmup: int = 0
    batch_size: int = 128
    rate: float = 0.1
    shift: int = 0
    smoothing: float = 0.0
    decay: float = 0.0
    reweight: dict[str, Any] | None = None
    target: float | None = None
    of: Literal["weights", "groups", "channels", "parameters", "flops"] = "weights"
    train_size: int | None = None
    teacher: float = 0.0
    temperature: float = 2.0
    taught: Literal["refit", "all"] = "refit"
    start: Literal["scratch", "dense"] = "scratch"
    refit_rate: float | None = None

    def dense(self) -> Recipe:
        """The same training without a penalty."""
        return dataclasses.replace(
            self, penalty=None, strength=0.0, warmup=0, reweight=None, target=None, of="weights", compacted=0,
            paired=True, teacher=0.0, temperature=2.0, taught="refit", start="scratch",
        )  # fmt: skip

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the summary and what is as it was before there was a choice, as JSON has it."""
        given = dataclasses.asdict(self)
        return {key: value for key, value in given.items() if key != "summary" and (key, value) not in LATER.items()}

    @property
    def follows(self) -> bool:
        """Whether the dense network must be there before the training."""
        return self.teacher > 0 or self.start == "dense"


def lenet_300_100() -> keras.Model:
    """784-300-100-10."""
    dense = [layers.Dense(width, activation="relu", kernel_initializer="he_normal") for width in (300, 100)]
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), *dense, layers.Dense(10)])


def lenet_5() -> keras.Model:
    """The LeNet-5 of the pruning literature: 20-50-500, all convolutions without padding."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu", kernel_initializer="he_normal"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu", kernel_initializer="he_normal"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(10),
        ]
    )


def _convolution(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization()(x)


def resnet_20() -> keras.Model:
    """ResNet-20 of He et al. 2016 with widths 8-16-32 and a stem of stride 2."""
    inputs = keras.Input((28, 28, 1))
    x = layers.ReLU()(_convolution(inputs, 8, strides=2))
    for stage, filters in enumerate((8, 16, 32)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            y = layers.ReLU()(_convolution(x, filters, strides=strides))
            y = _convolution(y, filters)
            if x.shape[-1] != filters:
                x = _convolution(x, filters, 1, strides)
            x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def mobilenet() -> keras.Model:
    """Inverted residuals as in MobileNetV2 (Sandler et al. 2018), six blocks, a stem of stride 2."""
    inputs = keras.Input((28, 28, 1))
    x = layers.ReLU(6)(_convolution(inputs, 16, strides=2))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (32, 1), (32, 1), (48, 2), (48, 1)):
        y = layers.ReLU(6)(_convolution(x, 4 * x.shape[-1], 1))
        y = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(y)
        y = _convolution(layers.ReLU(6)(layers.BatchNormalization()(y)), filters, 1)
        x = layers.Add()([x, y]) if strides == 1 and x.shape[-1] == filters else y
    x = layers.ReLU(6)(_convolution(x, 128, 1))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "lenet-300-100": lenet_300_100,
    "lenet-5": lenet_5,
    "resnet-20": resnet_20,
    "mobilenet": mobilenet,
}


def _streams(model: keras.Model, strength: float, times: float) -> dict[str, Any]:
    """`ChannelLasso`, some times as strong for the channels of residual streams, which several layers make."""
    alone, shared = tf_reg.ChannelLasso(strength), tf_reg.ChannelLasso(times * strength)
    groups = tf_reg.channels(model).free
    return {name: shared if len(group.producers) > 1 else alone for group in groups for name in group.producers}


# What `tf_reg.regularize` takes, for a model and a strength.
PENALTIES: dict[str, Callable[[keras.Model, float], Any]] = {
    "l1": lambda _, strength: keras.regularizers.L1(strength),
    "inputs": lambda _, strength: tf_reg.GroupLasso(strength, groups="inputs"),
    "norms": lambda _, strength: tf_reg.GroupLasso(strength, groups="inputs", size_weights=False),
    "outputs": lambda _, strength: tf_reg.GroupLasso(strength),
    "channels": lambda _, strength: tf_reg.ChannelLasso(strength),
    "channels by multiply-adds": lambda _, strength: tf_reg.ChannelLasso(strength, size_weights="flops"),
    "channels, streams twice": lambda model, strength: _streams(model, strength, 2),
    "channels, streams three times": lambda model, strength: _streams(model, strength, 3),
    "channels, streams four times": lambda model, strength: _streams(model, strength, 4),
}
REWEIGHT = {"start": 1, "scale": 0.05, "epsilon": 0.1}
FASHION_95 = Recipe(
    "LeNet-300-100 with 95 % zeros", "fashion_mnist", "lenet-300-100", "l1", 1e-4, search=40, refit=60, shift=1,
    target=0.95,
)  # fmt: skip
FASHION_EIGHTH = Recipe(
    "LeNet-300-100 with an eighth of its parameters", "fashion_mnist", "lenet-300-100", "norms", 8e-4, search=40,
    refit=40, compacted=10, warmup=30, reweight=REWEIGHT,
)  # fmt: skip
RECIPES = {
    "fashion-95": FASHION_95,
    "fashion-eighth": FASHION_EIGHTH,
    "mnist-95": dataclasses.replace(FASHION_95, dataset="mnist"),
    "mnist-eighth": dataclasses.replace(FASHION_EIGHTH, dataset="mnist"),
    "lenet-300-100-groups": Recipe(
        "LeNet-300-100 by reweighted input groups",
        "mnist", "lenet-300-100", "norms", 2.2e-3, search=150, refit=120, compacted=10, paired=False, warmup=140,
        shift=1, decay=2e-5, reweight=REWEIGHT,
    ),
    "lenet-300-100-weights": Recipe(
        "LeNet-300-100 by L1 on single weights",
        "mnist", "lenet-300-100", "l1", 1e-4, search=80, refit=80, paired=False, shift=1, target=0.9917,
    ),
    "lenet-5-groups": Recipe(
        "LeNet-5 by reweighted input groups",
        "mnist", "lenet-5", "norms", 4e-3, search=40, refit=80, compacted=5, paired=False, warmup=35, shift=1,
        decay=2e-5, reweight=REWEIGHT,
    ),
    "resnet-20": Recipe(
        "ResNet-20 with half of its multiply-adds",
        "fashion_mnist", "resnet-20", "channels", 1e-3, search=10, refit=15, compacted=10, shift=1, target=0.52,
        of="flops", teacher=0.9,
    ),
    "mobilenet": Recipe(
        "A MobileNetV2-like network with half of its multiply-adds",
        "fashion_mnist", "mobilenet", "channels", 1e-3, search=10, refit=5, compacted=10, shift=1, target=0.52,
        of="flops", train_size=20_000,
    ),
}  # fmt: skip
