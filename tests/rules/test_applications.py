"""All models of keras.applications, regularised after they were built. As a program it prints a table."""

from __future__ import annotations

import inspect
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import applications, layers, ops

import tf_reg
from tf_reg import _keras
from tf_reg._text_table import aligned

SMALLEST = [  # of every family
    "ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3",
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "VGG19",
    "Xception",
]  # fmt: skip
NAMES = sorted(name for name, value in vars(applications).items() if inspect.isfunction(value))
QUICK = ["MobileNet"]
SIDES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}  # the smallest that Keras takes; else 32


def build(name: str) -> keras.Model:
    side = SIDES.get(name, 32)
    slim = {"MobileNet": {"alpha": 0.25}, "VGG16": {"include_top": False}}
    arguments = {"classes": 10, "weights": None, "input_shape": (side, side, 3), **slim.get(name, {})}
    return getattr(applications, name)(**arguments)


def kernels_by_hand(model: keras.Model) -> list[keras.Variable]:
    """The kernels of convolutions and dense layers, from Keras' own attributes."""
    found = []
    for layer in _keras.sublayers(model):
        if isinstance(layer, (layers.SeparableConv2D, layers.SeparableConv1D)):
            found += [layer.depthwise_kernel, layer.pointwise_kernel]
        elif isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
            found.append(layer.kernel)
    return found


def penalty_by_hand(model: keras.Model) -> float:
    kernels = [ops.convert_to_numpy(kernel).astype("float64") for kernel in kernels_by_hand(model)]
    return 1e-4 * sum(float(np.vdot(kernel, kernel)) for kernel in kernels)


def total(losses: list) -> float:
    return sum(float(ops.convert_to_numpy(loss)) for loss in losses)


class Found(NamedTuple):
    """What `regularize` did to one model."""

    variables: int
    kernels: int
    by_hand: float
    losses: float
    loaded: float
    seconds: float


def measure(name: str, folder: Path) -> Found:
    model = build(name)
    start = time.perf_counter()
    table = tf_reg.regularize(model, keras.regularizers.L2(1e-4))
    seconds = time.perf_counter() - start
    losses, by_hand = model.losses, penalty_by_hand(model)
    assert len(losses) == len(table.weights) == len(kernels_by_hand(model))
    model.save(folder / f"{name}.keras")
    loaded = total(keras.models.load_model(folder / f"{name}.keras").losses)
    (folder / f"{name}.keras").unlink()
    return Found(len(model.trainable_variables), len(losses), by_hand, total(losses), loaded, seconds)


def marked(name: str):
    """One network in the plain set, the smallest of every family in the slow one, and all others in the long one."""
    marks = () if name in QUICK else pytest.mark.slow if name in SMALLEST else pytest.mark.long
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_all_kernels_pay_and_a_saved_model_keeps_it(name, tmp_path):
    found = measure(name, tmp_path)
    assert found.losses == pytest.approx(found.by_hand, rel=1e-6)
    assert found.loaded == found.losses


def test_every_family_is_here():
    assert {*SMALLEST, *QUICK} <= {*NAMES}
    families = [getattr(applications, name).__module__ for name in NAMES]
    assert {getattr(applications, name).__module__ for name in SMALLEST} == set(families)


def main() -> None:
    """Print what `regularize` did to the smallest model of every family."""
    rows = [["model", "variables", "kernels", "penalty", "by hand - losses", "regularize (ms)"]]
    with tempfile.TemporaryDirectory() as folder:
        for name in SMALLEST:
            found = measure(name, Path(folder))
            keras.utils.clear_session()
            error = abs(found.by_hand - found.losses) / found.by_hand
            numbers = [f"{found.variables}", f"{found.kernels}", f"{found.losses:.4f}", f"{error:.0e}"]
            rows.append([name, *numbers, f"{1000 * found.seconds:.0f}"])
    print("\n".join(aligned(rows)))


if __name__ == "__main__":
    main()
