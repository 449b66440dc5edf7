"""What says at the end of a training that zeros have cut every path between inputs and outputs."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_reg import _walk
from tf_reg._callers import callers
from tf_reg.measure.constant_outputs import constant_outputs


class OutputWatcher(keras.callbacks.Callback):
    """Warn at the end of training of outputs that are the same for all inputs because weights are zero.

    Of several of them in a training the first one warns. None does where one has warned before, or where another
    callback puts other weights in place at the end.
    """

    @property
    def has_warned(self) -> bool:
        """Whether it has warned before the end."""
        return False

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn of outputs that are the same for all inputs."""
        listed = listed_with(self, "on_train_end")
        watchers = [one for one in listed if isinstance(one, OutputWatcher)]
        known = any(one.has_warned for one in watchers) or any(map(_restores, listed))
        if watchers[0] is self and not known:
            words = constant_output_words(self.model)
            if words:
                warnings.warn(words, stacklevel=2)


def constant_output_words(model: keras.Model) -> str:
    """Return which outputs of a model are the same for all inputs because weights are zero, as sentences; or "".

    Args:
        model: A built model.
    """
    shares = [(weight.owner, _zero_share(weight)) for weight in _walk.regularized(model)]
    if not any(share >= 0.5 for _, share in shares):
        return ""  # a cut through all paths has half of the weights of some layer
    names = constant_outputs(model)
    if not names:
        return ""
    dead = list(dict.fromkeys(owner for owner, share in shares if share == 1))
    cause = f"all weights of {', '.join(dead)} are zero" if dead else "zeros cut every path between them"
    which = "The output" if len(model.outputs) == 1 else f"The output of {', '.join(names)}"
    return (
        f"{which} doesn't depend on the input any more: {cause}. The network is dead: lower the strength of the "
        "penalty or the target, or train for more steps."
    )


def listed_with(callback: keras.callbacks.Callback, hook: str) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a training in the order in which Keras calls them.

    Call it within the hook alone: Keras gives a callback no way to see the others, so this finds the list that is
    calling. A caller that isn't Keras' `CallbackList` has this callback alone.

    Args:
        callback: One of them.
        hook: The name of the method that Keras is calling.
    """
    lists = (caller for caller in callers({hook}) if isinstance(caller, keras.callbacks.CallbackList))
    calling = next((one for one in lists if callback in one.callbacks), None)
    return [callback] if calling is None else calling.callbacks


def _restores(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback puts other weights in place when training ends."""
    ending = (keras.callbacks.EarlyStopping, keras.callbacks.SwapEMAWeights)
    return isinstance(callback, ending) and getattr(callback, "restore_best_weights", True)


def _zero_share(weight: _walk.Weight) -> float:
    return float(np.mean(ops.convert_to_numpy(weight.variable) == 0))
