"""Regularizers for a model that exists: put them on, see where they are, take them off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from tf_reg._checks import require, shown
from tf_reg.penalties.registry import group_penalty_of
from tf_reg.rules import patterns
from tf_reg.rules.channel_rules import with_channels, without_rests
from tf_reg.rules.patterns import Pattern
from tf_reg.rules.placement import Change, place
from tf_reg.rules.regularizer_table import RegularizerTable, regularizers_of
from tf_reg.rules.weights import Weight, weights_of

Policy = Literal["error", "ignore"]


def regularize(
    model: keras.Layer,
    rules: Any,
    unmatched: Policy = "error",
    unsaved: Policy = "error",
) -> RegularizerTable:
    """Put regularizers on the weights of a model that exists, in place.

    Weights, the optimizer's state and what `compile` was given stay. The training and test functions are made anew
    where there are some, and a `tf_reg.Proximal` takes the new penalties over, so that the next step has them; a step
    that you compiled yourself must be compiled again. Call it at any time, on the model that is trained and not on a
    model inside of it: a part doesn't know the model that trains it, whose compiled step would go on without the
    penalty. Of a GAN, or whatever has a `train_step` and no `call`, the parts must be built.

    Rules are one regularizer for all kernels, or a mapping. The first entry that matches a weight decides; what no
    entry matches stays as it is. An entry's key is

    - a layer's name, its path in the model, or a glob of one: `"conv1"`, `"encoder/*"`, `"**/conv?"`; what is a name
      or path of something in the model means this alone;
    - the path of a variable, or a glob of one: `"conv1/bias"`, `"**/gamma"`;
    - a compiled regular expression, searched for in the variable's path;
    - a class of layers, or a layer of the model;
    - a predicate of the path, the layer and the variable.

    A name, path or class of a layer, and a layer, is about the layers inside of it too. A layer that several places
    share can be said by each of them; tables have the first. Kernels are weights of two axes or more, an
    Embedding's and both of a recurrent layer's among them. Biases, scales and shifts of norms, and other vectors get a
    regularizer only from a key that says the variable's name, or from a predicate. A regular expression says it where
    it finds nothing once another name stands there; so end one that is for biases with `/bias$`, one for kernels with
    `/kernel$`.

    A frozen weight pays nothing until it is trained again; the table says so. Of a layer with LoRA the two small
    matrices pay, as in Keras. Regularizers of groups get the layout of each layer's type, unless they
    have one; those of heads get the sizes of their attention.

    Args:
        model: A built Keras model or layer.
        rules: A regularizer or Keras' name of one, or a mapping from what is listed above to regularizers or None,
            which takes a regularizer away.
        unmatched: What to do with a key that matches nothing, or only what earlier keys match: `"error"` or
            `"ignore"`.
        unsaved: What to do where a model that is saved and loaded, or cloned, would not have a regularizer: `"error"`,
            or `"ignore"`, and the table says which. So it is with custom layers that don't take it from their config,
            with layers inside of these, and with single projections of a MultiHeadAttention. Of a custom layer another
            one is made from its config, to see what it has.

    Returns:
        What `tf_reg.regularizers_of` finds afterwards.

    Raises:
        ValueError: The model isn't built; something isn't a rule; a regularizer that a weight's shape doesn't fit; a
            group lasso on a kernel without inputs and outputs; and what `unmatched` and `unsaved` say. The model is
            then as it was.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    >>> print(tf_reg.regularize(model, {"b": None, "*": keras.regularizers.L2(1e-4)}))
    variable  shape   regularizer    acts in  saved
    -----------------------------------------------
    a/kernel  (3, 2)  L2(l2=0.0001)  loss     yes
    -----------------------------------------------
    1 of 4 variables, 6 weights
    """
    _check_policy("unmatched", unmatched)
    _check_policy("unsaved", unsaved)
    weights = weights_of(model)
    plan = _plan(weights, _entries(rules), unmatched)
    plan = with_channels(model, weights, [(weight, _fitted(regularizer, weight)) for weight, regularizer in plan])
    place(model, weights, without_rests(weights, plan), unsaved == "error")
    return regularizers_of(model)


def remove_regularizers(model: keras.Layer, unsaved: Policy = "error") -> None:
    """Take the regularizers of all weights away, in place: kernels, biases, norms.

    Weights, the optimizer's state and what `compile` was given stay, as with `tf_reg.regularize`.

    Args:
        model: A built Keras model or layer.
        unsaved: What to do where a layer's own code perhaps puts the regularizer on, so that a loaded model would have
            it again: `"error"` or `"ignore"`. What `tf_reg.regularize` put on goes in either case.

    Raises:
        ValueError: The model isn't built; and what `unsaved` says.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="l2")])
    >>> tf_reg.remove_regularizers(model)
    >>> model.losses
    []
    """
    _check_policy("unsaved", unsaved)
    weights = weights_of(model)
    place(model, weights, [(weight, None) for weight in weights], unsaved == "error")


def _check_policy(name: str, policy: str) -> None:
    known = isinstance(policy, str) and policy in ("error", "ignore")
    require(known, f"{name} must be 'error' or 'ignore'", name, policy)


def _entries(rules: Any) -> list[tuple[Pattern, Any]]:
    """The rules as pairs of a pattern and a regularizer."""
    if not isinstance(rules, Mapping):
        if rules is None:
            raise ValueError(
                "rules must be a regularizer or a mapping. Received: None. tf_reg.remove_regularizers takes all away."
            )
        rules = {keras.layers.Layer: rules}
    if not rules:
        raise ValueError("rules must have an entry. Received: {}. tf_reg.regularizers_of shows what a model has.")
    for pattern in rules:
        patterns.check(pattern)
    return [(pattern, _regularizer(regularizer)) for pattern, regularizer in rules.items()]


def _regularizer(given: Any) -> Any:
    """A regularizer from what Keras takes for one: itself, its name, its config, a function; or None."""
    try:
        return keras.regularizers.get(given)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "rules gives regularizers, Keras' names of these, functions of the weight, or None. "
            f"Received: {shown(given)}."
        ) from error


def _plan(weights: Sequence[Weight], entries: Sequence[tuple[Pattern, Any]], unmatched: Policy) -> list[Change]:
    """The first entry that matches each weight, of the weights that have one."""
    keys = [patterns.literal(key, weights) for key, _ in entries]
    matched = {number: [w for w in weights if patterns.matches(key, w)] for number, key in enumerate(keys)}
    first: dict[str, int] = {}
    for number, found in matched.items():
        for weight in found:
            first.setdefault(weight.path, number)
    for number, (key, regularizer) in enumerate(entries if unmatched == "error" else []):
        if not matched[number]:
            _refuse_unmatched(key, regularizer, weights)
        elif number not in {first[weight.path] for weight in matched[number]}:
            earlier = ", ".join(sorted({_name(entries[first[weight.path]][0]) for weight in matched[number]}))
            raise ValueError(
                f"The first rule that matches a weight decides. Received: {_name(key)} behind {earlier}, which leaves "
                "it nothing. Put it first."
            )
    return [(weight, entries[first[weight.path]][1]) for weight in weights if weight.path in first]


def _refuse_unmatched(key: Pattern, regularizer: Any, weights: Sequence[Weight]) -> None:
    vectors = [weight.path for weight in weights if patterns.touches(key, weight)]
    if vectors and regularizer is None:
        return
    if vectors:
        raise ValueError(
            f"A layer's rule is for its kernels. Received: {_name(key)}, which has biases, norms or other vectors "
            f"alone. To penalise these, say their names: {', '.join(map(repr, vectors[:3]))}."
        )
    raise ValueError(
        f"Every rule must match a weight. Received: {_name(key)}, which matches none. "
        f"Near it: {', '.join(patterns.near(key, weights)) or 'nothing, the model has no weights'}. "
        "unmatched='ignore' lets it pass."
    )


def _fitted(regularizer: Any, weight: Weight) -> Any:
    """A regularizer in the layout of the weight's layer, where its groups depend on it."""
    penalty = group_penalty_of(regularizer)
    if penalty is None or not penalty.takes_layout or len(weight.variable.shape) < 2:
        return regularizer
    try:
        return penalty.with_layout(weight.heads_layout() if penalty.takes_heads else weight.known_layout())
    except ValueError as error:
        raise ValueError(f"{weight.path} can't have this rule. {error}") from error


def _name(pattern: Pattern) -> str:
    return pattern.__name__ if callable(pattern) and hasattr(pattern, "__name__") else repr(pattern)
