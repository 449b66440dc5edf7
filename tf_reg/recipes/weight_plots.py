"""The weights of a trained network as a figure: the first kernel as images, and which units of each layer are left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

from tf_reg._keras import sublayers
from tf_reg.compaction.plan import CompactionPlan, LayerPlan
from tf_reg.reporting.figures import panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_IMAGES = 128
MOST_PIXELS = 64  # along a side of an image; larger ones are left out
MOST_LAYERS = 40
ALIVE, DEAD, NOTHING = "#1f77b4", "#d0d0d0", "#a0a0a0"


def weights(model: keras.Model, plan: CompactionPlan, path: Path, title: str) -> None:
    """Draw the kernel of the first layer as images, and the units of each layer that are alive and dead.

    A kernel that has no images, such as one that reads no pixels, is left out.

    Args:
        model: A trained classifier of images.
        plan: What compaction would remove from it.
        path: The PNG to write.
        title: Stands above the figure.
    """
    layer = first_with_kernel(model)
    shape = model.input_shape
    known = layer is not None and isinstance(shape, tuple)  # and no columns of a table
    images = kernel_images(ops.convert_to_numpy(layer.kernel), shape[1:]) if layer is not None and known else None
    layers = [one for one in plan.layers if one.before][:MOST_LAYERS]
    if images is None and not layers:
        return
    both = images is not None and bool(layers)
    figure, axes = panels(1 + both, title, height=max(3.9, 1.2 + 0.24 * len(layers)))
    if images is not None and layer is not None:
        draw_kernels(axes[0], images, layer.name)
    if layers:
        draw_units(axes[-1], layers, len(plan.layers))
    save(figure, path)


def first_with_kernel(model: keras.Model) -> keras.Layer | None:
    """Return the first layer of a model that has a kernel of its own, or None."""
    return next((layer for layer in sublayers(model) if getattr(layer, "kernel", None) is not None), None)


def kernel_images(kernel: np.ndarray, image_shape: Sequence[int]) -> np.ndarray | None:
    """Return the weights of each unit or filter as an image, `(units, height, width)`; None where they are no images.

    Of several channels, the weight that is farthest from zero is shown: a pixel is zero where all of them are.

    Args:
        kernel: `(inputs, units)` of a dense layer on all pixels, or `(height, width, channels, filters)`.
        image_shape: `(height, width, channels)` of an image.
    """
    if kernel.ndim == 2 and None not in image_shape and len(kernel) == math.prod(image_shape):
        kernel = kernel.reshape((*image_shape, kernel.shape[1]))
    if kernel.ndim != 4 or not np.all(np.isfinite(kernel)) or max(kernel.shape[:2]) > MOST_PIXELS:
        return None
    if 0 in kernel.shape or math.prod(kernel.shape[:2]) == 1:
        return None
    farthest = np.abs(kernel).argmax(axis=2, keepdims=True)
    return np.moveaxis(np.take_along_axis(kernel, farthest, axis=2)[:, :, 0], -1, 0)


def draw_kernels(axes: Axes, images: np.ndarray, name: str) -> None:
    """Draw images beside each other: zeros white, the sizes of other weights by the roots of their absolute values."""
    import matplotlib

    shown = images[:MOST_IMAGES]
    largest = float(np.abs(shown).max()) or 1.0
    values = np.sign(shown) * np.sqrt(np.abs(shown) / largest)
    colours = matplotlib.colormaps["RdBu"].with_extremes(bad="white")
    whole = mosaic(np.where(shown == 0, np.nan, values))
    picture = axes.imshow(whole, cmap=colours, vmin=-1, vmax=1)
    height, width = shown.shape[1] + 1, shown.shape[2] + 1
    axes.set_xticks(np.arange(0, whole.shape[1] + 2, width) - 1, labels=[])
    axes.set_yticks(np.arange(0, whole.shape[0] + 2, height) - 1, labels=[])
    axes.grid(color="#a0a0a0", linewidth=0.6)
    axes.tick_params(length=0)
    unused = -len(shown) * width % (whole.shape[1] + 1)  # places of the last row without an image
    axes.axvspan(whole.shape[1] - unused, whole.shape[1], 0, height / (whole.shape[0] + 1), color=NOTHING)
    axes.set_xlim(-1, whole.shape[1])
    axes.set_ylim(whole.shape[0], -1)
    more = f", the first {len(shown)} of {len(images)}" if len(shown) < len(images) else ""
    axes.set_title(f"weights of {name}{more}; white is zero", fontsize=9)
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.8)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=[f"{sign * largest:.2g}" for sign in (-1, -0.25, 0, 0.25, 1)])


def mosaic(images: np.ndarray) -> np.ndarray:
    """Return images, `(number, height, width)`, as one, in rows, with a pixel of NaN between two of them."""
    number, height, width = images.shape
    columns = math.ceil(math.sqrt(number * height / width))
    rows = math.ceil(number / columns)
    padded = np.full((rows * columns, height + 1, width + 1), np.nan)
    padded[:number, :height, :width] = images
    whole = padded.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return whole.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]


def draw_units(axes: Axes, layers: Sequence[LayerPlan], of: int) -> None:
    """Draw a bar a layer: the share of its units or filters that compaction keeps, with the numbers beside it.

    Args:
        axes: Where to.
        layers: The layers, from the first one down.
        of: How many layers there are.
    """
    places = np.arange(len(layers))
    alive = np.array([100 * layer.after / layer.before for layer in layers])
    axes.barh(places, alive, color=ALIVE, label="alive")
    axes.barh(places, 100 - alive, left=alive, color=DEAD, label="dead")
    for place, layer in enumerate(layers):
        axes.text(101, place, f"{layer.after:,} of {layer.before:,}", va="center", fontsize=8)
    axes.set_yticks(places, labels=[layer.name for layer in layers], fontsize=8)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.set_xlim(0, 130)
    axes.set_xticks(range(0, 101, 25))
    axes.set_xlabel("units or filters (% of the layer)")
    if of > len(layers):
        axes.set_title(f"the first {len(layers)} of {of} layers", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=8, frameon=False)
