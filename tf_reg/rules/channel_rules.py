"""Rules that are about channels: which weights they are about, and which part of the penalty each of them gets."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import keras
import numpy as np

from tf_reg.compaction.cost import multiply_adds
from tf_reg.compaction.coupled import ChannelGroup, Slice, channels, short_name
from tf_reg.compaction.plan import NotCompactableError, analysed
from tf_reg.penalties.channel_parts import Part
from tf_reg.penalties.channel_penalty import ChannelPenalty
from tf_reg.penalties.coupled import ChannelMember, Member, join
from tf_reg.penalties.stand_in import unwrapped
from tf_reg.rules.saving import same
from tf_reg.rules.weights import Weight

_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)

Change = tuple[Weight, Any]  # a weight and the regularizer that it gets, or None


def with_channels(model: keras.Layer, weights: Sequence[Weight], plan: Sequence[Change]) -> list[Change]:
    """Return a plan in which each weight of a channel has its part of the penalty.

    A penalty of channels holds for the groups of channels that can be removed and whose kernels it is the rule for.
    All weights that make these channels get a part, biases and normalizations too.

    Args:
        model: The model.
        weights: All of its weights.
        plan: The weights that have a rule, and their regularizers.

    Raises:
        ValueError: A model whose channels can't be found; a rule for some of the kernels that make a channel; a rule
            that is about no channel; weights with channels of two rules.
    """
    rules = {id(w.variable): rule for w, rule in plan if isinstance(rule, ChannelPenalty)}
    if not rules:
        return list(plan)
    try:
        found = channels(model)
    except NotCompactableError as error:
        raise ValueError(f"A penalty of channels needs to find them. {error}") from error
    chosen: dict[int, tuple[ChannelPenalty, list[ChannelGroup]]] = {}
    kernels = {id(weight.variable) for weight in weights if weight.is_kernel}
    for group in found.free:
        rule = _rule_of(group, rules, kernels)
        if rule is not None:
            chosen.setdefault(id(rule), (rule, []))[1].append(group)
    _check_used(rules.values(), chosen, found.groups)
    paths = {id(weight.variable): weight for weight in weights}
    changes = [change for change in plan if id(change[0].variable) not in rules]
    for rule, groups in chosen.values():
        members = _members(model, rule, groups, paths)
        _check_saved(rule, members)
        _check_apart(rule, members, changes)
        changes += members
    last = {id(weight.variable): number for number, (weight, _) in enumerate(changes)}
    return [changes[number] for number in last.values()]


def without_rests(weights: Sequence[Weight], plan: Sequence[Change]) -> list[Change]:
    """Return a plan that also takes away what would be left of penalties of channels.

    A rule for the kernels takes their penalty of channels away, so their biases and normalizations lose it too.

    Args:
        weights: All weights of a model.
        plan: The weights that have a rule, and their regularizers.

    Raises:
        ValueError: A rule for some of the kernels that make a channel, or for other weights of it alone.
    """
    wanted = {id(weight.variable): regularizer for weight, regularizer in plan}
    old: dict[tuple[str, int], list[Weight]] = defaultdict(list)
    for weight in weights:
        present = unwrapped(weight.variable.regularizer)
        for part in present.parts if isinstance(present, ChannelMember) else ():
            old[present.key, part.group].append(weight)
    rests: dict[int, Weight] = {}
    for members in _torn(old, wanted, rests):
        left = [one for one in members if id(one.variable) not in wanted]
        kernels = [one for one in left if one.is_kernel]
        if kernels or not any(one.is_kernel and id(one.variable) in wanted for one in members):
            given = next(one for one in members if id(one.variable) in wanted or id(one.variable) in rests)
            raise ValueError(
                f"The weights of a channel lose its penalty together. Received: a rule for {given.path} and none for "
                f"{(kernels or left)[0].path}, which has numbers of the same channels. Give a rule to all kernels "
                "that make them, or call tf_reg.remove_regularizers(model) first."
            )
        rests |= {id(one.variable): one for one in left}
    return [*plan, *((weight, None) for weight in rests.values())]


def _torn(
    old: Mapping[tuple[str, int], Sequence[Weight]], wanted: Mapping[int, Any], rests: Mapping[int, Weight]
) -> Iterator[Sequence[Weight]]:
    """Groups of which some weights lose their part of the penalty and others don't, until there are none."""

    def keeps(weight: Weight) -> bool:
        key, present = id(weight.variable), unwrapped(weight.variable.regularizer)
        return key not in rests and same(wanted.get(key, present), present)

    while torn := [members for members in old.values() if len({keeps(one) for one in members}) > 1]:
        yield torn[0]


def _check_saved(rule: ChannelPenalty, members: Sequence[Change]) -> None:
    """Refuse a layer that has one regularizer for several kernels, of which each needs its own part."""
    shared = [slot.layer for weight, _ in members for slot in weight.slots if isinstance(slot.layer, _ATTENTION)]
    if shared:
        raise ValueError(
            f"A {type(rule).__name__} takes layers that have a regularizer for each kernel. Received: "
            f"{shared[0].name!r} ({type(shared[0]).__name__}), which has one for all of its projections. Leave it out "
            f"by a first rule, {{{shared[0].name!r}: None, ...}}, or give it tf_reg.GroupLasso(groups='heads')."
        )


def _check_apart(rule: ChannelPenalty, members: Sequence[Change], changes: Sequence[Change]) -> None:
    """Refuse another rule for a weight of a channel. One for kernels may have been for all that are left."""
    taken = {id(weight.variable) for weight, _ in members}
    others = [change for change in changes if id(change[0].variable) in taken]
    other = next((w for w, given in others if isinstance(given, ChannelMember) or not w.is_kernel), None)
    if other is not None:
        raise ValueError(
            f"All weights that make a channel are in its {type(rule).__name__}: kernels, biases, scales and shifts. "
            f"Received: another rule for {other.path}, which makes channels. Leave this weight out of the other rule."
        )


def _rule_of(group: ChannelGroup, rules: Mapping[int, ChannelPenalty], among: Set[int]) -> ChannelPenalty | None:
    """The rule for the kernels that make the channels of a group; None if there is none."""
    kernels = [one for one in _made(group) if one.layer.name in group.producers and id(one.variable) in among]
    found = {id(rules.get(id(one.variable))): rules.get(id(one.variable)) for one in kernels}
    if len(found) > 1:
        with_rule = sorted({one.layer.name for one in kernels if id(one.variable) in rules})
        raise ValueError(
            f"Kernels that make the same channels have one penalty of channels. Received: one for {with_rule}, and "
            f"another or none for other layers of {short_name(group.producers)!r}. Give the rule to all of them; "
            "tf_reg.channels(model) shows which layers go together."
        )
    return next(iter(found.values()), None)


def _check_used(rules: Iterable[ChannelPenalty], chosen: Mapping[int, Any], groups: Sequence[ChannelGroup]) -> None:
    for rule in rules:
        if id(rule) not in chosen:
            held = sorted({f"{short_name(group.producers)} ({group.held})" for group in groups if group.held})
            raise ValueError(
                f"A {type(rule).__name__} needs channels that can be removed. Received: kernels without such channels. "
                f"Held are: {', '.join(held[:5]) or 'none'}. tf_reg.channels(model) shows all."
            )


def _made(group: ChannelGroup) -> list[Slice]:
    """The numbers that make the channels and are or could be trained."""
    return [one for one in group.with_role("made") if one.trains]


def _members(
    model: keras.Layer, rule: ChannelPenalty, groups: Sequence[ChannelGroup], weights: Mapping[int, Weight]
) -> list[Change]:
    """Each weight of the groups, with its part of the penalty."""
    axes: dict[int, int] = {}
    parts: dict[int, list[Part]] = defaultdict(list)
    taken = [group for group in groups if _is_free(_made(group), axes)]
    for number, (group, (unit, factor)) in enumerate(zip(taken, _sizes(model, rule, taken), strict=True)):
        made = _made(group)
        for one in made:
            parts[id(one.variable)].append(
                Part(number, one.axis, group.size, _places(one), unit, factor, len({id(m.variable) for m in made}))
            )
    described = [[weights[key].path, [part._asdict() for part in own]] for key, own in parts.items()]
    config = keras.saving.serialize_keras_object(rule)
    key = hashlib.sha256(json.dumps([config, described]).encode()).hexdigest()[:16]
    changes, members = [], defaultdict(list)
    for variable, own in parts.items():
        regularizer = ChannelMember(rule, key, [part._asdict() for part in own])
        changes.append((weights[variable], regularizer))
        for part in own:
            members[part.group].append(Member(weights[variable].variable, regularizer, part))
    join(members)
    return changes


def _is_free(made: Sequence[Slice], axes: dict[int, int]) -> bool:
    """Whether no weight has channels along another axis that have a penalty already; notes the axes if so."""
    own = {id(one.variable): one.axis for one in made}
    if len(own) < len(made) or any(axes.get(key, axis) != axis for key, axis in own.items()):
        return False
    axes.update(own)
    return True


def _places(one: Slice) -> list[int] | None:
    """The places of channels as `Part` has them."""
    places = one.places.T.ravel()
    whole = one.places.shape[1] == 1 and np.array_equal(places, np.arange(one.variable.shape[one.axis]))
    return None if whole else places.tolist()


def _sizes(model: keras.Layer, rule: ChannelPenalty, groups: Sequence[ChannelGroup]) -> list[tuple[float, float]]:
    """The unit of norms and the factor of each group."""
    if rule.size_weights is False:
        return [(1.0, 1.0)] * len(groups)
    units = [math.sqrt(sum(one.count for one in _made(group))) for group in groups]
    if rule.size_weights is True:
        return [(unit, 1.0) for unit in units]
    costs = _costs(model, groups)
    total, spent = (sum(n * group.size for n, group in zip(all_, groups, strict=True)) for all_ in (units, costs))
    return [(unit, cost / unit * total / spent) for unit, cost in zip(units, costs, strict=True)]


def _costs(model: Any, groups: Sequence[ChannelGroup]) -> list[float]:
    """The multiply-adds that one channel of each group takes."""
    found = multiply_adds(analysed(model), lambda one: one.shape)
    costs = []
    for group in groups:
        cost = 0.0
        for one in group.slices:
            kernels = sum(math.prod(v.shape) for v in one.layer.variables if len(v.shape) > 1)
            layer = found.get(id(one.layer), 0)
            if layer is None:
                raise ValueError(
                    "size_weights='flops' needs the multiply-adds of each layer. Received: a model in which those of "
                    f"{one.layer.name!r} aren't known. Give its inputs fixed sizes: keras.Input((96, 96, 3))."
                )
            cost += layer * one.count / kernels if len(one.variable.shape) > 1 else 0.0
        costs.append(cost)
    return costs
