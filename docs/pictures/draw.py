"""Draw the pictures of README.md and docs/, which lie beside this file.

python docs/pictures/draw.py               the pictures that need no trained network
python docs/pictures/draw.py weights KERAS PROXIMAL
                                           the picture of two runs' weights: the folders that train.py wrote
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import tf_reg

HERE = Path(__file__).parent
BLUE, ORANGE, GREY = "#1f77b4", "#d95f02", "#888888"
SMALLEST = 1e-7  # weights below are drawn in the first bin


def weights(keras_run: Path, proximal_run: Path, path: Path) -> None:
    """Draw how many weights of two trained networks have which size: Keras' L1 and `Proximal`.

    Args:
        keras_run: The folder of a run with `--no-proximal`: `model.keras` and `metrics.json` are read.
        proximal_run: The folder of the same run without that flag.
        path: The PNG to write.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.9), sharey=True, layout="constrained")
    for ax, run, title, colour in (
        (axes[0], keras_run, "L1 in the loss, as in Keras", GREY),
        (axes[1], proximal_run, "the same L1, tf_reg.Proximal(...)", ORANGE),
    ):
        model = keras.models.load_model(run / "model.keras", compile=False)
        kernels = [np.abs(np.asarray(v)).ravel() for v in model.trainable_variables if v.path.endswith("kernel")]
        accuracy = json.loads((run / "metrics.json").read_text())["test_accuracy"]
        _sizes(ax, np.concatenate(kernels), colour)
        ax.set_title(f"{title}\ntest accuracy {100 * accuracy:.1f} %", fontsize=10)
    axes[0].set_ylabel("% of all weights")
    _save(figure, path)


def _sizes(ax: Axes, sizes: np.ndarray, colour: str) -> None:
    """A histogram of |w| on a logarithmic axis, with a bar of its own for exact zeros."""
    edges = np.logspace(-7, 0, 43)
    counts, _ = np.histogram(np.clip(sizes[sizes > 0], SMALLEST, 1), edges)
    ax.stairs(100 * counts / sizes.size, edges, fill=True, color=colour)
    zeros = 100 * np.mean(sizes == 0)
    ax.bar([1e-8], [zeros], width=[1.5e-8], color=colour)
    words = f"{zeros:.0f} % are exactly zero" if zeros else "no weight is zero"
    ax.annotate(words, (1e-8, zeros), (3e-8, max(zeros - 6, 6)), fontsize=9)
    ax.set_xscale("log")
    ax.set_xlim(3e-9, 1.5)
    ax.set_xticks([1e-8, 1e-6, 1e-4, 1e-2, 1], ["0", "$10^{-6}$", "$10^{-4}$", "$10^{-2}$", "1"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("|weight|")
    ax.spines[["top", "right"]].set_visible(False)


def steps(path: Path) -> None:
    """Draw one weight over the steps of gradient descent, with L1 in the loss and with `Proximal`.

    Args:
        path: The PNG to write.
    """
    figure, ax = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
    rate, strength = 0.01, 0.1
    for optimizer, label, colour in (
        (keras.optimizers.SGD(rate), "L1 in the loss", GREY),
        (tf_reg.Proximal(keras.optimizers.SGD(rate)), "L1 by Proximal", ORANGE),
    ):
        layer = keras.layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L1(strength))
        model = keras.Sequential([keras.Input((1,)), layer])
        model.set_weights([np.array([[0.0085]], "float32")])
        model.compile(optimizer, "mse")
        values = [0.0085]
        for _ in range(30):
            model.train_on_batch(np.array([[1.0]]), np.array([[0.02]]))
            values.append(float(np.asarray(layer.kernel)[0, 0]))
        ax.plot(values, color=colour, label=label, marker=".", lw=1.4)
    ax.axhline(0, color="black", lw=0.6)
    ax.set_xlabel("step")
    ax.set_ylabel("weight")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def operators(path: Path) -> None:
    """Draw the proximal operators of L1, L2, the elastic net and a group of two weights.

    Args:
        path: The PNG to write.
    """
    value = np.linspace(-3, 3, 301).astype("float32")
    regularizers = {
        "L1(1)": keras.regularizers.L1(1.0),
        "L2(0.5)": keras.regularizers.L2(0.5),
        "L1L2(1, 0.5)": keras.regularizers.L1L2(1.0, 0.5),
    }
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.8), sharey=True, layout="constrained")
    for ax, (name, regularizer) in zip(axes, regularizers.items(), strict=True):
        shrink = tf_reg.proximal_map(regularizer)
        assert shrink is not None
        ax.plot(value, value, color=GREY, lw=0.8, ls="--")
        ax.plot(value, np.asarray(shrink(keras.ops.convert_to_tensor(value), 1.0)), color=ORANGE, lw=2)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("weight after the gradient step")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("weight after the proximal step")
    _save(figure, path)


def uncertainty(path: Path) -> None:
    """Draw the mean and the standard deviation of `mc_predict` for a function that is known on two intervals.

    Args:
        path: The PNG to write.
    """
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = np.concatenate([random.uniform(-3, -1, 100), random.uniform(1, 3, 100)])[:, None].astype("float32")
    y = (np.sin(2 * x) + 0.1 * random.normal(size=x.shape)).astype("float32")
    hidden = [layer for _ in range(2) for layer in (keras.layers.Dense(200, "relu"), keras.layers.Dropout(0.1))]
    model = keras.Sequential([keras.Input((1,)), *hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit(x, y, epochs=200, batch_size=50, verbose=0)
    grid = np.linspace(-5, 5, 201).astype("float32")[:, None]
    mean, deviation = (np.asarray(part)[:, 0] for part in tf_reg.mc_predict(model, grid, samples=200, seed=0))

    figure, ax = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
    for factor in (1, 2):
        ax.fill_between(grid[:, 0], mean - factor * deviation, mean + factor * deviation, color=BLUE, alpha=0.2, lw=0)
    ax.plot(grid, mean, color=BLUE, label="mean of 200 passes, ± 1 and 2 standard deviations")
    ax.plot(x, y, ".", color="black", ms=3, label="training examples")
    ax.set_xlabel("x")
    ax.set_ylabel("prediction")
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def compaction(path: Path) -> None:
    """Draw the kernels of the network of docs/compaction.md, before and after compaction. Zeros are white.

    Args:
        path: The PNG to write.
    """
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    lasso = tf_reg.GroupLasso(1e-3)
    first = keras.layers.Dense(128, "relu", kernel_regularizer=lasso, name="first")
    second = keras.layers.Dense(64, "relu", kernel_regularizer=lasso, name="second")
    model = keras.Sequential([keras.Input((64,)), first, second, keras.layers.Dense(10, "softmax", name="last")])
    model.compile(tf_reg.Proximal(keras.optimizers.Adam(3e-3)), "sparse_categorical_crossentropy")
    model.fit(x / 16, y, epochs=30, verbose=0)
    small = tf_reg.compact(model)

    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.4), sharex=True, sharey=True, layout="constrained")
    for ax, net, words in zip(axes, (model, small), ("before", "after"), strict=True):
        kernels = [np.abs(np.asarray(net.get_layer(name).kernel)) for name in ("first", "second", "last")]
        corners = [(0, 0), (0, 82), (140, 82)]  # a unit of `first` is a column, and a unit of `second` a row
        for name, kernel, (left, top) in zip(("first", "second", "last"), kernels, corners, strict=True):
            drawn = kernel.T if name == "second" else kernel
            shown = np.where(drawn == 0, np.nan, np.log10(np.maximum(drawn, 1e-3)))
            height, width = shown.shape
            ax.imshow(shown, vmin=-3, vmax=0, interpolation="nearest", extent=(left, left + width, top + height, top))
            ax.text(left, top - 2, f"{name}: {kernel.shape[0]} x {kernel.shape[1]}", fontsize=9)
        ax.set_title(f"{words}: {net.count_params():,} parameters", fontsize=10)
        ax.set_xlim(0, 184)
        ax.set_ylim(146, -12)
        ax.axis("off")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main(arguments: list[str]) -> None:
    """Draw what the command line asks for."""
    if arguments[:1] == ["weights"]:
        weights(Path(arguments[1]), Path(arguments[2]), HERE / "weights.png")
        return
    steps(HERE / "steps.png")
    operators(HERE / "operators.png")
    uncertainty(HERE / "uncertainty.png")
    compaction(HERE / "compaction.png")


if __name__ == "__main__":
    main(sys.argv[1:])
