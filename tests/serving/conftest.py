"""Exports that several files of tests read and none changes."""

from typing import NamedTuple

import keras
import numpy as np
import pytest

import tf_reg
from tests.exports import DETAILS, classifier, pixels


class Export(NamedTuple):
    """A published version, and what went into it."""

    model: keras.Model
    path: object
    examples: np.ndarray


@pytest.fixture(scope="session")
def plain_export(tmp_path_factory):
    """A classifier of images, exported with the options that are the default."""
    keras.utils.set_random_seed(0)
    model, examples = classifier(), pixels(4)
    return Export(model, tf_reg.export(model, tmp_path_factory.mktemp("plain") / "m", examples=examples), examples)


@pytest.fixture(scope="session")
def rich_export(tmp_path_factory):
    """The same with details, a second signature and a second output."""
    keras.utils.set_random_seed(0)
    model, examples = classifier(), pixels(20)
    options = {"details": DETAILS, "class_id": True, "signatures": ["serving_uint8"], "examples": examples}
    return Export(model, tf_reg.export(model, tmp_path_factory.mktemp("rich") / "flowers", **options), examples)
