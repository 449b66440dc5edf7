"""Real regressions for cross-validation: columns of unit variance."""

import functools

import numpy as np
from sklearn.datasets import load_diabetes, load_digits


def _scaled(x, y):
    x = x[:, x.std(0) > 0]
    return ((x - x.mean(0)) / x.std(0)).astype("float32"), ((y - y.mean()) / y.std()).astype("float32")


def diabetes():
    """442 patients."""
    return _scaled(*load_diabetes(return_X_y=True))


def a_pixel():
    """The middle pixel of 300 digits from the 63 others."""
    images = load_digits().data[:300]
    return _scaled(np.delete(images, 36, axis=1), images[:, 36])


def brightness():
    """How many pixels of 450 digits are bright, from every other row of the image."""
    images = load_digits().data[:450]
    return _scaled(images.reshape(-1, 8, 8)[:, ::2].reshape(len(images), -1), (images > 8).sum(1).astype(float))


DATA_SETS = {one.__name__: functools.cache(one) for one in (diabetes, a_pixel, brightness)}
