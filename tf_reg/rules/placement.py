"""Put regularizers where they take effect: on variables, on attributes, in a `Proximal`, in compiled functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from tf_reg import _keras
from tf_reg._trainer import optimizers_of
from tf_reg.optimizers.dual_averaging import check_penalties
from tf_reg.optimizers.proximal import Proximal
from tf_reg.penalties.registry import penalty_of
from tf_reg.penalties.stand_in import OutOfGradient, unwrapped
from tf_reg.rules.saving import Slot, same
from tf_reg.rules.weights import Weight, losses

Change = tuple[Weight, Any]  # a weight and the regularizer that it gets, or None

_BARE = "_tf_reg_bare"  # a variable's attribute: whether it had no regularizer before the first change


def place(model: keras.Layer, weights: Sequence[Weight], plan: Sequence[Change], check_saved: bool) -> None:
    """Give weights their regularizers, or change nothing and raise.

    Args:
        model: The model that is trained.
        weights: All of its weights.
        plan: What is to change.
        check_saved: Whether to refuse what the model's config can't carry.

    Raises:
        ValueError: A regularizer that can't be called on its weight; what `check_saved` refuses; a penalty that another
            model's `Proximal` holds.
    """
    changes = [(weight, regularizer) for weight, regularizer in plan if not _holds(weight, regularizer)]
    optimizers = list(_proximals(model))
    _check_calls(changes)
    _check_owners(model, changes, optimizers)
    wanted = {id(weight.variable): unwrapped(weight.variable.regularizer) for weight in weights}
    wanted |= {id(weight.variable): regularizer for weight, regularizer in changes}
    for optimizer in optimizers:
        if optimizer.dual_averaging:
            check_penalties(optimizer._trainable_variables, wanted)
    split = _split(weights, wanted)
    if check_saved:
        _check_whole(changes, split)
        _check_saved(model, changes)
    for weight, regularizer in changes:
        vars(weight.variable).setdefault(_BARE, weight.variable.regularizer is None)
        weight.variable.regularizer = regularizer
        for slot in weight.slots:
            if slot not in split:
                slot.set(regularizer)
    for optimizer in optimizers:
        optimizer.reclaim(model)
    _retrace(model)


def _holds(weight: Weight, regularizer: Any) -> bool:
    """Whether a weight and its layers have this regularizer already."""
    values = [unwrapped(weight.variable.regularizer), *(slot.value for slot in weight.slots)]
    return all(same(value, regularizer) for value in values)


def _split(weights: Sequence[Weight], wanted: Mapping[int, Any]) -> set[Slot]:
    """The attributes that hold for several weights which are to have different regularizers."""
    first: dict[Slot, Any] = {}
    split = set()
    for weight in weights:
        regularizer = wanted[id(weight.variable)]
        for slot in weight.slots:
            if not same(first.setdefault(slot, regularizer), regularizer):
                split.add(slot)
    return split


def _check_whole(changes: Sequence[Change], split: set[Slot]) -> None:
    """Refuse a rule for some of the weights that one attribute is for."""
    torn = [weight.path for weight, _ in changes if split.intersection(weight.slots)]
    if torn:
        slot = next(slot for weight, _ in changes for slot in weight.slots if slot in split)
        raise ValueError(
            f"{slot.layer.name!r} ({type(slot.layer).__name__}) has one {slot.attribute.lstrip('_')} for several "
            f"weights. Received a rule for some of them: {', '.join(torn)}. Make a rule for the whole layer, leave it "
            "out, or pass unsaved='ignore': then it holds until the model is saved or cloned."
        )


def _check_saved(model: keras.Layer, changes: Sequence[Change]) -> None:
    """Refuse what the config of the model can't carry."""
    reasons = losses(model, changes, {slot: regularizer for weight, regularizer in changes for slot in weight.slots})
    lost = [(*change, why) for change, why in zip(changes, reasons or (), strict=False) if why]
    lost = [each for each in lost if not _is_bare_again(*each[:2])]
    if not lost:
        return
    names = ", ".join(f"{weight.path} ({type(weight.layer).__name__}: {why})" for weight, _, why in lost)
    if all(regularizer is None for _, regularizer, _ in lost):
        raise ValueError(
            "A saved model must be without the regularizers that were taken away. Received weights whose regularizers "
            f"a loaded {model.name!r} would perhaps have again: {names}. So it is where a layer's own code puts them "
            "on. Let the layer take them from its config, or pass unsaved='ignore'."
        )
    raise ValueError(
        "A saved model must have the regularizers that it was trained with. Received rules for weights whose "
        f"regularizers a loaded {model.name!r} would not have: {names}. Leave them out by a first rule, like "
        f"{{{lost[0][0].path!r}: None, ...}}, let the layer take them from its config, or pass unsaved='ignore' "
        "and call tf_reg.regularize again when the model was loaded or cloned."
    )


def _is_bare_again(weight: Weight, regularizer: Any) -> bool:
    """Whether a weight loses a regularizer that a loaded model doesn't have either."""
    return regularizer is None and vars(weight.variable).get(_BARE, False)


def _check_calls(changes: Sequence[Change]) -> None:
    """Refuse a regularizer that raises something on its weight, as one for matrices does on a convolution's kernel."""
    for weight, regularizer in changes:
        penalty = penalty_of(regularizer)
        takes_any = regularizer is None or (penalty is not None and (penalty.elementwise or penalty.coupled))
        if takes_any or _has_spec(regularizer, weight.variable):
            continue
        try:
            regularizer(weight.variable)
        except Exception as error:
            raise ValueError(
                f"A regularizer must take its weight. Received: {regularizer!r} for {weight.path} of shape "
                f"{tuple(weight.variable.shape)}: {error}"
            ) from error


def _has_spec(regularizer: Any, variable: Any) -> bool:
    """Whether the penalty's shape can be had without its value, which may take long."""
    try:
        _Penalty(regularizer).symbolic_call(keras.KerasTensor(variable.shape, dtype=variable.dtype))
    except Exception:  # the call says more
        return False
    return True


class _Penalty(keras.Operation):
    """A regularizer as an operation: Keras can compute the shape of its value without the value."""

    def __init__(self, regularizer: Any) -> None:
        super().__init__()
        self._regularizer = regularizer

    def call(self, weight: Any) -> Any:
        """Return the penalty of a weight."""
        return self._regularizer(weight)


def _check_owners(model: keras.Layer, changes: Sequence[Change], optimizers: Sequence[Proximal]) -> None:
    """Refuse to take a penalty from an optimizer that isn't told."""
    for weight, _ in changes:
        regularizer = weight.variable.regularizer
        ours = any(optimizer.pays(weight.variable) for optimizer in optimizers)
        if isinstance(regularizer, OutOfGradient) and regularizer.held(model) and not ours:
            raise ValueError(
                f"{weight.path} is in the proximal step of an optimizer of another model or loop. Call "
                "tf_reg.regularize on the model that was compiled with it, or optimizer.release() first."
            )


def _proximals(model: keras.Layer) -> Iterator[Proximal]:
    """The built `Proximal` among the model's optimizers."""
    yield from (one for one in optimizers_of(model) if isinstance(one, Proximal) and one.built)


def _retrace(model: keras.Layer) -> None:
    """Make the compiled functions anew: on TensorFlow and JAX they have the old penalties in them."""
    for layer in _keras.sublayers(model):
        if getattr(layer, "train_function", None) is not None:
            layer.make_train_function(force=True)
        if getattr(layer, "test_function", None) is not None:
            layer.make_test_function(force=True)
