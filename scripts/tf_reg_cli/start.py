"""Import TensorFlow without its messages, which are shown after all if the import fails or the process dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

_GOOD, _BAD = b"\0", b"\1"  # the last byte: whether the start went well; without it the process died
_KEEPER = """
import os
text = b""
while text[-1:] not in (b"\\0", b"\\1") and (more := os.read(0, 65536)):
    text += more
if not text.endswith(b"\\0"):
    os.write(2, text.removesuffix(b"\\1"))
"""


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what is written to the process' standard error while TensorFlow is imported and finds its devices.

    A second process keeps the text. It prints it if the block raises an exception or the process dies; Ctrl-C and a
    good end discard it. Nothing is held back where TensorFlow is imported already, or if `TF_CPP_MIN_LOG_LEVEL=0`
    asks for all messages.
    """
    wanted = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0"
    if wanted or "tensorflow" in sys.modules or sys.__stderr__ is None:
        yield
        return
    with _held_back():
        yield
        _find_devices()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    command = [sys.executable, "-I", "-S", "-c", _KEEPER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as keeper:
        assert keeper.stdin is not None
        with _descriptor_2_is(keeper.stdin.fileno()):
            try:
                yield
            except BaseException as error:
                os.write(2, _GOOD if isinstance(error, KeyboardInterrupt) else _BAD)
                raise
            os.write(2, _GOOD)


@contextlib.contextmanager
def _descriptor_2_is(descriptor: int) -> Iterator[None]:
    before = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


def _find_devices() -> None:
    """Make TensorFlow look for GPUs now, since it reports what it doesn't find."""
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        tensorflow.config.list_physical_devices()


def occupy_standard_descriptors() -> None:
    """Open descriptors 0 to 2 where they are closed: TensorFlow writes to number 2, whatever file has it."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
