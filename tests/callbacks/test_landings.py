"""TargetSparsity lands on its target for several networks, optimizers and kinds of share, with a network that works."""

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from tf_reg.callbacks.target_sparsity import TargetSparsity
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.group_lasso import GroupLasso

pytestmark = pytest.mark.contract
L1 = keras.regularizers.L1

LANDINGS = {  # the data's seed, layers, regularizer, optimizer, share of what, target
    "digits, MLP, Adam, L1": (None, "mlp", L1(1e-4), optimizers.Adam, 1e-3, "weights", 0.9),
    "digits, CNN, SGD momentum, L1": (None, "cnn", L1(1e-2), "momentum", 2e-2, "weights", 0.8),
    "random, MLP, SGD momentum, groups": (1, "mlp", GroupLasso(1e-3, "inputs"), "momentum", 2e-2, "groups", 0.7),
    "digits, CNN, Adam, groups": (None, "cnn", GroupLasso(1e-5), optimizers.Adam, 3e-3, "groups", 0.5),
    "random, MLP, RMSprop, parameters": (2, "mlp", GroupLasso(1e-4), optimizers.RMSprop, 1e-3, "parameters", 0.6),
}


def landing_data(seed):
    if seed is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return (digits.images[..., None] / 16).astype("float32"), digits.target, 10
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1500, 8, 8, 1)).astype("float32")
    scores = x.reshape((1500, 64)) @ (rng.normal(size=(64, 4)) * (rng.random((64, 1)) < 0.3))
    return x, scores.argmax(axis=1), 4


def landing_layers(kind, regularizer):
    if kind == "mlp":
        return [layers.Flatten(), *(layers.Dense(n, "relu", kernel_regularizer=regularizer) for n in (120, 80))]
    convolutions = [layers.Conv2D(24, 3, s, activation="relu", kernel_regularizer=regularizer) for s in (1, 2)]
    return [*convolutions, layers.Flatten()]


@pytest.mark.slow
@pytest.mark.parametrize("name", LANDINGS)
def test_landings(name):
    seed, kind, regularizer, make, rate, of, target = LANDINGS[name]
    x, y, classes = landing_data(seed)
    model = keras.Sequential([keras.Input((8, 8, 1)), *landing_layers(kind, regularizer), layers.Dense(classes)])
    inner = optimizers.SGD(rate, momentum=0.9) if make == "momentum" else make(rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(Proximal(inner), loss, metrics=["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=15, verbose=0, callbacks=[TargetSparsity(target, of)]).history
    share, unit = history["zero_share"][-1], 1 / 208 if of == "groups" and kind == "mlp" else 1 / 48
    assert abs(share - target) <= max(0.01, 0.5001 * unit if of == "groups" else 0)
    assert history["accuracy"][-1] > 0.8  # the target isn't met with a dead network
    print(f"{name}: {100 * (share - target):+.2f} points, accuracy {history['accuracy'][-1]:.3f}")
