"""Which layer of a model is at work when something fails or is written: for messages that name it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras

from tf_reg import _backend
from tf_reg._walk import layer_paths

_COLOURS = re.compile(r"\x1b\[[\d;]*m")  # a terminal's, in Keras' messages
_NAME = re.compile(r"[\w.>-]+(?:/[\w.>-]+)*")


class RefusedError(ValueError):
    """Why a model can't be exported, said whole: the layer, the reason and the way out."""


class Watch:
    """Watches the layers of a model while it is called.

    Args:
        model: A built model.
        itself: Whether its own `call` is watched too: that of a subclassed model is a user's.

    Attributes:
        failed: The layer in whose `call` the last error was raised, the innermost one, in words; None without one.
        last: The layer whose `call` has ended last, in words.
        scopes: The layers, in words, by the scopes that names of a graph's nodes begin with.
        finished: Where it is a list, gets the layer in words, its inputs and its outputs at the end of each call.
    """

    def __init__(self, model: keras.Model, *, itself: bool = False) -> None:
        self.model, self.itself = model, itself
        self.failed: str | None = None
        self.last: str | None = None
        self.scopes: dict[str, str] = {}
        self.finished: list[tuple[str, list[Any], list[Any]]] | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what is called within a `with` block."""
        self.failed = self.last = None
        places = [*layer_paths(self.model), *([(self.model.name, self.model)] if self.itself else [])]
        layers = [(f"{path!r} ({type(layer).__name__})", layer) for path, layer in places]
        with contextlib.ExitStack() as stack:
            for words, layer in layers:
                stack.enter_context(replaced_method(layer, "call", self._watched(words, layer.call)))
            yield

    @property
    def where(self) -> str:
        """The place that failed, as the end of a sentence; empty where it isn't known."""
        if self.failed:
            return f", in the layer {self.failed}"
        return f", behind the layer {self.last}" if self.last else ""

    def named_in(self, text: str) -> list[str]:
        """Return the layers whose nodes a text names, each once."""
        found: dict[str, None] = {}
        for name in _NAME.findall(text):
            parts = name.split("/")
            scopes = ("/".join(parts[:size]) for size in range(len(parts), 0, -1))
            found |= dict.fromkeys([self.scopes[scope] for scope in scopes if scope in self.scopes][:1])
        return list(found)

    def _watched(self, words: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if _backend.in_a_graph():
                import tensorflow as tf

                self.scopes.setdefault(tf.get_current_name_scope(), words)
            try:
                outputs = call(*args, **kwargs)
            except Exception:
                self.failed = self.failed or words
                raise
            self.failed, self.last = None, words  # a layer that has caught an error has mended it
            if self.finished is not None:
                self.finished.append((words, keras.tree.flatten([args, kwargs]), keras.tree.flatten(outputs)))
            return outputs

        return watched


@contextlib.contextmanager
def replaced_method(layer: keras.Layer, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Let a layer run another function in the place of one of its methods within a `with` block."""
    own = vars(layer)  # not by `setattr`, which tells Keras
    before = {name: own[name]} if name in own else {}
    own[name] = method
    try:
        yield
    finally:
        own.pop(name, None)
        own.update(before)


def reason(error: BaseException) -> str:
    """Return the cause of an error as a sentence, or else its type."""
    return cause(str(error)) or f"{type(error).__name__}."


_ENDS = (  # where the cause has been said
    "Arguments received by ", "Full object config: ", " Make sure custom classes and functions",
    " If you trust the source of the artifact",  # no advice to leave safe mode
)  # fmt: skip


def cause(text: str) -> str:
    """Return the line of a message that says the cause, without Keras' frames around it, as a sentence."""
    text = _COLOURS.sub("", text).rpartition("Exception encountered: ")[2].rpartition("Error encountered:\n\n")[2]
    for end in _ENDS:
        text = text.partition(end)[0]
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith("Exception encountered when calling ")]
    if said[:1] == ["in user code:"]:  # AutoGraph's, with the lines of the code before the cause
        said = said[-1:]
    if len(said) > 1 and said[0].endswith(":"):
        return ended(f"{said[0]} {said[1]}")
    return ended(said[0]) if said else ""


def ended(text: str) -> str:
    """Return a sentence with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
