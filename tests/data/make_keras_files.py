"""Write the `.keras` files that must load forever: models with their Proximal in the middle of a training.

They were made by tf_reg 0.1.0 (commit e02bab4) on TensorFlow 2.21 and Keras 3.15.1, and are never made again:

    python tests/data/make_keras_files.py tests/data

Beside each file lies what the model had: the weights, the optimizer's variables in their order, and the weights and the
optimizer's variables after one more epoch of the same training.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import tf_reg


def network():
    """A small network with every penalty of tf_reg."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(5, "relu", kernel_regularizer=keras.regularizers.L1(0.02), name="single"),
            keras.layers.Dense(4, "relu", kernel_regularizer=tf_reg.GroupLasso(l=0.02), name="groups"),
            keras.layers.Dense(2, kernel_regularizer=tf_reg.SparseGroupLasso(0.01, 0.01, "inputs"), name="both"),
        ]
    )


OPTIMIZERS = {
    "adam": lambda: tf_reg.Proximal(keras.optimizers.Adam(0.01), strength=0.5),
    "sgd": lambda: tf_reg.Proximal(keras.optimizers.SGD(0.05, momentum=0.9), every=2),
    "schedule": lambda: tf_reg.Proximal("rmsprop", strength=keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        tf_reg.Proximal(keras.optimizers.AdamW(0.01, use_ema=True)), initial_scale=4.0
    ),
}


def batch():
    """The examples."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 6)).astype("float32"), rng.normal(size=(32, 2)).astype("float32")


def train(model):
    """One epoch, always the same."""
    x, y = batch()
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)


def state(model):
    """Weights and the optimizer's variables as arrays, by their place."""
    found = {f"weight{i}": value for i, value in enumerate(model.get_weights())}
    variables = model.optimizer.variables
    return found | {f"optimizer{i}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}


def main(folder):
    """Write all files."""
    for name, make in OPTIMIZERS.items():
        keras.utils.set_random_seed(0)
        model = network()
        model.compile(make(), "mse")
        train(model)
        proximal = tf_reg.proximal_of(model.optimizer)
        if name == "adam":
            proximal.freeze()
            proximal.strength = 0.25
        model.save(folder / f"{name}.keras")
        before = state(model)
        train(model)
        after = {f"after_{key}": value for key, value in state(model).items()}
        np.savez_compressed(folder / f"{name}.npz", **before, **after)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
