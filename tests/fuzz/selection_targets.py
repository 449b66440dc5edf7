"""The functions that choose a strength: they train."""

import itertools
import math

import numpy as np
from hypothesis import strategies as st

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
    number,
    optional,
    same,
    word,
)  # fmt: skip
from tests.fuzz.targets import Target
from tests.right_calls import DATA, classifier, linear

NUMBER = itertools.count()
SMALL = count(1, 2, 3)


def fresh(ending=""):
    """A path that isn't there yet, in the folder of this process."""
    return f"made-{next(NUMBER)}{ending}"


def leaves_nothing(found, given):
    """That of scikit-learn: the largest gradient at zero, `2 / n * |x^T (y - mean)|` over the strength of L1."""
    x, y = (np.asarray(one, "float64") for one in given["data"])
    expected = np.abs(2 / len(x) * x.T @ (y - y.mean())).max() / 0.01  # Keras' "l1" has the strength 0.01
    assert found.exact
    assert math.isclose(found.strength, expected, rel_tol=1e-2), (found.strength, expected)


def is_path_of(found, given):
    """A record for each strength, and nothing left at the highest one."""
    assert len(found.records) >= 1
    assert all(math.isfinite(record.strength) for record in found.records)


BUILDER = made(lambda: linear, could=callable)
EXAMPLES = Domain(
    st.sampled_from([DATA, (DATA[0].astype("f4"), DATA[1].astype(">f4")), [DATA[0][::-1], DATA[1][::-1]]]).map(
        lambda data: (data, data)
    ),
    is_many,
)
HIGH = Domain(
    st.sampled_from([[1e3], (1e3, np.float32(100)), np.array([1e3, 50])]).map(lambda v: (v, list(map(float, v)))),
    lambda value: isinstance(value, str) or is_many(value),
)
VERBOSE = same(st.sampled_from([0, False]), lambda value: isinstance(value, (bool, int, np.integer, np.bool_)))
FOLDER = optional(Domain(st.just(0).map(lambda _: (fresh(), None)), is_path))
RATIO = number(1, math.inf, inside=[1.5, 2.0], closed=False)
FITS = {
    "build_model": BUILDER,
    "data": EXAMPLES,
    "strengths": HIGH,
    "epochs": SMALL,
    "dense_epochs": optional(SMALL),
    "batch_size": optional(count(4, 12)),
    "tolerance": number(0, math.inf, inside=[0.5, 1e-3], closed=False),
    "seed": SEED,
    "folder": FOLDER,
    "verbose": VERBOSE,
}
GRIDS = {**FITS, "count": count(2, 3, least=2), "smallest": SHARE, "relax": FLAG}
NEEDED = ("build_model", "data", "strengths", "epochs", "verbose")

SETS = {
    "train": (np.ones((8, 4)), np.ones(8, "int32")),
    "validation": (np.ones((64, 4)), np.ones(64, "int32")),
}


def is_validation(found, given):
    """A number of each fold and strength."""
    assert found.values.shape == (given.get("splitter", 5), len(found.strengths))
    assert np.all(np.isfinite(found.values))


def are_shares(found, given):
    """Shares from 0 to 1."""
    shares = np.concatenate([one.ravel() for one in found.frequencies.values()])
    assert np.all((shares >= 0) & (shares <= 1))


def is_shrunk(found, given):
    assert found.model.count_params() <= classifier().count_params()


TARGETS = [
    Target(
        "lambda_max",
        tf_reg.lambda_max,
        {
            "model": made(linear, could=is_model),
            "data": EXAMPLES,
            "epochs": SMALL,
            "batch_size": count(4, 12),
            "ratio": RATIO,
            "seed": SEED,
        },
        ("model", "data", "epochs"),
        leaves_nothing,
    ),
    Target("regularization_path", tf_reg.regularization_path, {**GRIDS, "validation": NONE}, NEEDED, is_path_of),
    Target(
        "cross_validate",
        tf_reg.cross_validate,
        {
            **GRIDS,
            "splitter": count(2, 3, least=2),
            "metric": word("loss"),
            "mode": word("auto", "min"),
            "groups": NONE,
            "grid": NONE,
        },
        NEEDED,
        is_validation,
    ),
    Target(
        "stability_selection",
        tf_reg.stability_selection,
        {**FITS, "samples": count(2, least=2), "share": number(0, 1, inside=[0.5, 0.75], closed=False)},
        (*NEEDED, "samples"),
        are_shares,
    ),
    Target(
        "shrink",
        tf_reg.shrink,
        {
            "model": made(classifier, could=is_model),
            "train": same(st.just(SETS["train"]), is_many),
            "validation": same(st.just(SETS["validation"]), is_many),
            "max_drop": number(0, 1, inside=[0.5], closed=False),
            "penalty": word("channels"),
            "score": NONE,
            "optimizer": word("adam", "sgd"),
            "distill": optional(FLAG),
            "refit_epochs": count(1),
            "batch_size": count(4, 8),
            "candidates": count(1),
            "level": number(0, 0.5, inside=[0.25], closed=False),
            "folder": FOLDER,
            "seed": SEED,
            "verbose": VERBOSE,
        },
        ("model", "train", "validation", "max_drop", "candidates", "refit_epochs", "verbose"),
        is_shrunk,
    ),
]
