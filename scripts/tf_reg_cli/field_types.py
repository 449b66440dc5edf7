"""The types of the configuration's fields: what pydantic accepts for each, and the words for what it doesn't."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import pydantic

from tf_reg_cli.checks import MOST, Must, place

GROUPED = ("group", "sparse-group")  # penalties of groups alone
MAYBE_GROUPED = ("mcp", "scad", "log-sum")  # penalties of single weights, or of groups
CONCAVE = (*MAYBE_GROUPED, "lq")
CONVEX = ("l1", "l1l2", *GROUPED, "channels")
SCALED = ("l1", "l2", "l1l2", *GROUPED, "log-sum", "lq")  # whose strength a layer may have times a factor
SPARSE = (*CONVEX, *CONCAVE)  # penalties whose proximal operator makes zeros
NETWORKS = ("linear", "mlp", "cnn")
OF_TABLES = ("linear", "mlp")  # the networks that take tables
TABLES = ("diabetes", "breast_cancer", "wine", "houses")  # that need no file
FILES_OF_TABLES = ("csv", "parquet", "npz")
APPLICATIONS = (  # of keras.applications, which takes seconds to import
    "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge", "DenseNet121",
    "DenseNet169", "DenseNet201", "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3",
    "EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7", "EfficientNetV2B0",
    "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3", "EfficientNetV2L", "EfficientNetV2M",
    "EfficientNetV2S", "InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large",
    "MobileNetV3Small", "NASNetLarge", "NASNetMobile", "ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2",
    "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception",
)  # fmt: skip


def dataset(name: str) -> str:
    """Return the name of a data set, with the path of `folder:PATH` or `csv:FILE` as `place` returns it.

    Raises:
        ValueError: What it must be, if it is none.
    """
    if not name.strip():
        raise ValueError("digits, folder:PATH, csv:FILE, parquet:FILE, npz:FILE or a name of TensorFlow Datasets")
    kind, colon, path = name.partition(":")
    if not colon or kind not in ("folder", *FILES_OF_TABLES):
        return name
    return f"{kind}:{place(path)}"


def is_table(name: str) -> bool:
    """Return whether a data set is a table."""
    kind, colon, _ = name.partition(":")
    return name in TABLES or (bool(colon) and kind in FILES_OF_TABLES)


COUNT = Must(lambda n: 1 <= n <= MOST, f"from 1 to {MOST}")
NAME = Must(
    lambda name: bool(re.fullmatch(r"[\w-][\w.+-]{0,99}", name, flags=re.ASCII)),
    "1 to 100 letters, digits, '.', '_', '+' or '-', no '.' or '+' first",
)
NOT_NEGATIVE = Must(lambda x: 0 <= x < float("inf"), "0 or more")

COUNT_OR_AUTO = Must(
    lambda n: n == "auto" or (type(n) is int and COUNT.holds(n)), f"auto, or a whole number {COUNT.expected}", ("auto",)
)

FACTOR = re.compile(r"(.+)=([0-9.]+(?:[eE][+-]?[0-9]+)?)")


def factors(words: Iterable[str]) -> dict[str, float]:
    """Return the numbers of words such as `hidden_1=0.5`, by name.

    Raises:
        ValueError: A word isn't such, a number isn't above 0, or a name is there twice.
    """
    found: dict[str, float] = {}
    for word in words:
        match = FACTOR.fullmatch(word)
        if match is None or match[1] in found or not 0 < float(match[2]) < float("inf"):
            raise ValueError(f"{word!r} is no NAME=FACTOR of another name")
        found[match[1]] = float(match[2])
    return found


def _are_factors(words: Sequence[str]) -> bool:
    try:
        return bool(factors(words))
    except ValueError:
        return False


Factors = Annotated[
    tuple[str, ...],
    pydantic.BeforeValidator(lambda words: tuple(words) if isinstance(words, list) else words),  # as JSON has them
    Must(_are_factors, "LAYER=FACTOR with a factor above 0, such as hidden_1=0.5, each layer once").in_config,
]
Count = Annotated[int, COUNT.in_config]
CountOrAuto = Annotated[int | Literal["auto"], COUNT_OR_AUTO.before]
Counts = Annotated[
    tuple[int, ...],
    pydantic.BeforeValidator(lambda sizes: tuple(sizes) if isinstance(sizes, list) else sizes),  # as JSON has them
    Must(lambda sizes: bool(sizes) and all(1 <= n <= MOST for n in sizes), f"from 1 to {MOST} each").in_config,
]
Names = Annotated[
    tuple[str, ...],
    pydantic.BeforeValidator(lambda names: tuple(names) if isinstance(names, list) else names),
]
CountOrNone = Annotated[int, Must(lambda n: 0 <= n <= MOST, f"from 0 to {MOST}").in_config]
Seed = Annotated[int, Must(lambda n: 0 <= n <= MOST, f"from 0 to {MOST}").in_config]
Positive = Annotated[float, Must(lambda x: 0 < x < float("inf"), "above 0").in_config]
NotNegative = Annotated[float, NOT_NEGATIVE.in_config]
Strength = Annotated[float, NOT_NEGATIVE.in_config] | None
Share = Annotated[float, Must(lambda x: 0 <= x < 1, "at least 0 and below 1").in_config]
AboveOne = Annotated[float, Must(lambda x: 1 < x < float("inf"), "above 1").in_config]
Between = Annotated[float, Must(lambda x: 0 < x < 1, "between 0 and 1").in_config]
Place = Annotated[str, pydantic.AfterValidator(place)]
Dataset = Annotated[str, pydantic.AfterValidator(dataset)]
Name = Annotated[str, NAME.in_config]
Network = Annotated[
    str,
    Must(
        lambda name: name in (*NETWORKS, *APPLICATIONS),
        "linear, mlp, cnn or a name in keras.applications",
        (*NETWORKS, *APPLICATIONS),
    ).in_config,
]
Penalty = Literal["none", "l2", "l1", "l1l2", "group", "sparse-group", "channels", "mcp", "scad", "log-sum", "lq"]
Target = Literal["weights", "groups", "channels", "parameters", "flops"]
