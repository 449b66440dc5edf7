"""What to say of a training that the machine or its data stopped."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from tf_reg.recipes.data.sources import reason
from tf_reg_cli.errors import UserError

_READING = re.compile(r"Iterator::[^\n]*?: (?P<what>[^\n]*)")  # what tf.data says of the step that failed


class StoppedError(UserError):
    """A training that can go on when there is memory again, or the data are there again."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise a `StoppedError` in the place of what TensorFlow or Python says of missing memory or data."""
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
