"""What to say of a training that the machine or its data stopped."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from tf_reg import _processes
from tf_reg.recipes.data.sources import reason
from tf_reg_cli.errors import UserError

_READING = re.compile(r"Iterator::[^\n]*?: (?P<what>[^\n]*)")  # what tf.data says of the step that failed
_LOST = re.compile(r"gloo|nccl|coordination service|connection (reset|closed|refused)|UNAVAILABLE", re.IGNORECASE)


class StoppedError(UserError):
    """A training that can go on when there is memory again, or the data or all processes are there again."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise a `StoppedError` in the place of what is said of memory, data or another process that isn't there."""
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise StoppedError(f"More memory is needed than there is ({reason(error)}). Lower --batch-size.") from error
    except tf.errors.OpError as error:
        found = _READING.search(str(error))
        if found is None:
            raise
        raise StoppedError(
            f"The data can't be read any more: {found['what'].strip(' .:')}. Bring them back."
        ) from error
    except (RuntimeError, ValueError) as error:  # JAX has both for the loss of a process
        if _processes.count() == 1 or _LOST.search(str(error)) is None:
            raise
        raise StoppedError("Another process of this training has ended, so this one ends too.") from error
