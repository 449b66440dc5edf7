"""Several models in one process without TensorFlow's warning that functions are traced again and again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def expected_retracing() -> Iterator[None]:
    """Hold back the warning within the block: TensorFlow counts the traces of all models and sizes of batches."""
    tensorflow = logging.getLogger("tensorflow")
    tensorflow.addFilter(_is_no_retracing)
    try:
        yield
    finally:
        tensorflow.removeFilter(_is_no_retracing)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()
