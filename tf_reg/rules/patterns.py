"""Which weights a rule is about: names, globs, regular expressions, classes of layers, predicates."""

from __future__ import annotations

import difflib
import functools
import glob
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import keras

from tf_reg.rules.weights import Weight

Pattern: TypeAlias = str | re.Pattern[str] | type | keras.Layer | Callable[[str, Any, Any], bool]

ANY_NAME = "x"  # a pattern that matches this in the place of a variable's name doesn't name the variable


def matches(pattern: Pattern, weight: Weight) -> bool:
    """Whether a rule's pattern is about a weight.

    Every pattern but a predicate reaches a bias, a norm or another vector only by its name, as `"**/bias"` does.
    """
    if weight.is_kernel:
        return touches(pattern, weight)
    if isinstance(pattern, (str, re.Pattern)):
        return _names(pattern, weight)
    return not isinstance(pattern, (type, keras.Layer)) and touches(pattern, weight)


def touches(pattern: Pattern, weight: Weight) -> bool:
    """Whether a pattern is about a weight if vectors count like kernels."""
    if isinstance(pattern, type):
        return any(isinstance(layer, pattern) for _, layer in _around(weight))
    if isinstance(pattern, keras.Layer):
        return any(layer is pattern for _, layer in _around(weight))
    if isinstance(pattern, re.Pattern):
        return any(pattern.search(path) for path in weight.paths)
    if isinstance(pattern, str):
        by_name = any(_fits([pattern], [layer.name]) for _, layer in _around(weight))
        return by_name or any(_glob(pattern, path) for path in (*weight.paths, *(path for path, _ in _around(weight))))
    return bool(pattern(weight.path, weight.layer, weight.variable))


def literal(pattern: Pattern, weights: Sequence[Weight]) -> Pattern:
    """A pattern that is the name or path of something in the model means this alone, whatever it means as a glob."""
    if not isinstance(pattern, str):
        return pattern
    layers = [each for weight in weights for each in _around(weight)]
    paths = {*(path for path, _ in layers), *(path for weight in weights for path in weight.paths)}
    known = paths | {layer.name for _, layer in layers}
    return glob.escape(pattern) if pattern in known else pattern


def check(pattern: Any) -> None:
    """Raise `ValueError` for what is no pattern."""
    if not isinstance(pattern, (str, re.Pattern)) and not callable(pattern):
        raise ValueError(
            "A rule is for a layer's name, a glob, a variable's path, a compiled regular expression, a layer, a class "
            f"of layers or a predicate. Received: {pattern!r}"
        )


def near(pattern: Pattern, weights: Sequence[Weight]) -> list[str]:
    """What a pattern that matches nothing was perhaps meant to be."""
    layers = [each for weight in weights for each in _around(weight)]
    if isinstance(pattern, type):
        return sorted({type(weight.layer).__name__ for weight in weights})
    names = dict.fromkeys([layer.name for _, layer in layers] + [path for path, _ in layers if path])
    paths = dict.fromkeys([*names, *(weight.path for weight in weights)])
    word = pattern if isinstance(pattern, str) else getattr(pattern, "pattern", getattr(pattern, "name", ""))
    return difflib.get_close_matches(word, paths, n=3, cutoff=0.5) or list(names)[:8]


def _names(pattern: str | re.Pattern[str], weight: Weight) -> bool:
    fits = functools.partial(_glob, pattern) if isinstance(pattern, str) else pattern.search
    strangers = ("/".join([*path.split("/")[:-1], ANY_NAME]) for path in weight.paths)
    return any(fits(path) and not fits(stranger) for path, stranger in zip(weight.paths, strangers, strict=True))


def _around(weight: Weight) -> Iterator[tuple[str, keras.Layer]]:
    """The layers that a weight is in, at all of its places. Finding all places can take long: the first comes first."""
    yield from weight.around
    yield from (each for place in weight.places[1:] for each in place)


def _glob(pattern: str, path: str) -> bool:
    return _fits(pattern.split("/"), path.split("/"))


def _fits(pattern: list[str], path: list[str]) -> bool:
    """Whether a path matches a glob, part by part; `**` stands for any number of parts."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_fits(pattern[1:], path[start:]) for start in range(len(path) + 1))
    same = bool(path) and (path[0] == pattern[0] or fnmatchcase(path[0], pattern[0]))
    return same and _fits(pattern[1:], path[1:])
