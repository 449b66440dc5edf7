"""The functions that compile, calibrate or write."""

import functools
import os

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers

import tf_reg
from tests.fuzz.domains import (
    FLAG,
    NONE,
    SEED,
    SHARE,
    Domain,
    count,
    is_many,
    is_model,
    is_path,
    made,
    optional,
    same,
    word,
)  # fmt: skip
from tests.fuzz.model_targets import MODEL, numbers_of
from tests.fuzz.selection_targets import SMALL, fresh
from tests.fuzz.targets import Target
from tests.right_calls import DATA, classifier, linear, model
from tf_reg.serving.verify.verification import VerificationError


def arrays(*shape, kinds=("f4", "f8", "f2", ">f4")):
    """Random arrays of this shape in several types, strided and not."""

    def make(seed, kind, step):
        values = np.random.default_rng(seed).normal(size=(shape[0] * step, *shape[1:])).astype(kind)[::step]
        return values, values.astype("float64")

    strategy = st.builds(make, st.integers(0, 99), st.sampled_from(kinds), st.sampled_from([1, 2]))
    return Domain(strategy, lambda value: is_many(value) or hasattr(value, "shape"))


def same_outputs(small, given):
    """The compacted model has the outputs of the model."""
    shape = (5, *given["model"].input_shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_allclose(small.predict(x, verbose=0), given["model"].predict(x, verbose=0), atol=1e-5)


def within_range(found, given):
    """The mean is between what single passes could give, and the spread is finite and not negative."""
    assert found.mean.shape == found.spread.shape == (given["x"].shape[0], 2)
    assert np.all(np.isfinite(found.mean))
    assert np.all(found.spread >= 0)
    kernel, bias = (np.abs(one.astype("float64")) for one in numbers_of(model()))
    assert np.all(np.abs(found.mean) <= 2 * np.abs(given["x"]) @ kernel + bias + 1e-3)  # rate 0.5 doubles at most


def is_calibrated(found, given):
    """A temperature within the limits, and the order of the classes as it was."""
    assert 1e-2 <= found.layers[-1].temperature <= 1e2
    x = given["x"].astype("float32")
    before, after = classifier().predict(x, verbose=0), found.predict(x, verbose=0)
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))


def is_written(found, given):
    assert os.path.getsize(found) > 1000


def is_published(found, given):
    assert tf_reg.verify_saved_model(found)


def is_verified(found):
    assert found.compared >= 1
    assert found.difference < 1e-4
    assert found.requests >= 1


def passes(found, given):
    assert found.passed


DRAWN = made(model, could=is_model)
CLASSES = Domain(
    st.sampled_from(
        [np.arange(8) % 2, (np.arange(8) % 2).tolist(), (np.arange(8) % 2).astype("f4"), np.eye(2)[np.arange(8) % 2]]
    ).map(lambda value: (value, None)),
    is_many,
)


@functools.cache
def result():
    return tf_reg.regularization_path(linear, DATA, [1e3], epochs=2, verbose=0)


@functools.cache
def served():
    """A model to serve, and the path where it is exported."""
    softmax = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    return softmax, tf_reg.export(softmax, fresh())


SOFTMAX = made(lambda: served()[0], could=is_model)
INPUTS = Domain(
    st.builds(lambda seed: np.random.default_rng(seed).normal(size=(3, 4)).astype("f4"), st.integers(0, 9)).map(
        lambda value: (value, value)
    ),
    lambda value: True,
)


TARGETS = [
    Target(
        "compact",
        tf_reg.compact,
        {
            "model": MODEL,
            "round_to": optional(count(1, 2, 8)),
            "examples": NONE,
            "keep_optimizer": same(st.just(False), lambda value: isinstance(value, (bool, np.bool_))),
        },
        ("model",),
        same_outputs,
    ),
    Target(
        "self_check",
        tf_reg.self_check,
        {"model": MODEL, "share": SHARE, "seed": SEED, "examples": NONE},
        ("model",),
        passes,
    ),
    Target(
        "mc_predict",
        tf_reg.mc_predict,
        {
            "model": DRAWN,
            "x": arrays(3, 4),
            "samples": SMALL,
            "batch_size": SMALL,
            "seed": optional(SEED),
            "layers": optional(made(lambda: model().layers[0], could=lambda v: is_model(v) or is_many(v))),
            "same_masks": FLAG,
        },
        ("model", "x", "samples"),
        within_range,
    ),
    Target(
        "calibrate",
        tf_reg.calibrate,
        {"model": made(classifier, could=is_model), "x": arrays(8, 4), "y": CLASSES, "batch_size": SMALL},
        ("model", "x", "y"),
        is_calibrated,
        refuses="No temperature",
    ),
    Target(
        "report",
        tf_reg.report,
        {
            "result": made(lambda: result(), could=lambda value: False),
            "file": Domain(st.just(0).map(lambda _: (fresh(".html"), None)), is_path),
            "title": word("a title", "é <b>"),
            "overwrite": FLAG,
        },
        ("result", "file"),
        is_written,
        also=(OSError,),
    ),
    Target(
        "export",
        tf_reg.export,
        {
            "model": SOFTMAX,
            "folder": Domain(st.just(0).map(lambda _: (fresh(), None)), is_path),
            "version": optional(count(1, 3)),
            "input_name": word("inputs", "x"),
            "output_name": word("probabilities", "y"),
            "signatures": same(st.sampled_from([(), []]), is_many),
            "class_id": FLAG,
            "top_k": optional(SMALL),
            "logits": FLAG,
            "examples": optional(INPUTS),
            "details": optional(same(st.just({"classes": ["a"]}), lambda value: isinstance(value, dict))),
            "gpu": same(st.just(False), lambda value: isinstance(value, (bool, np.bool_))),
            "server": optional(word("2.18", "2.20")),
            "formats": same(st.sampled_from([(), []]), is_many),  # converting takes too long
            "input_signature": same(st.none(), lambda value: value is None),  # for subclassed models alone
        },
        ("model", "folder", "gpu"),
        is_published,
        also=(OSError,),
    ),
    Target(
        "verify_saved_model",
        tf_reg.verify_saved_model,
        {
            "path": Domain(st.just(0).map(lambda _: (served()[1], None)), is_path),
            "model": SOFTMAX,
            "examples": optional(INPUTS),
            "gpu": same(st.just(False), lambda value: isinstance(value, (bool, np.bool_))),
        },
        ("path", "model", "gpu"),
        lambda found, given: is_verified(found),
        also=(VerificationError,),
    ),
]
