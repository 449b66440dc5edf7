"""A mistake of the user's, said in one sentence, and the codes that the command ends with."""

from __future__ import annotations

FAILED, BAD_USAGE, INTERRUPTED, NOBODY_READS = 1, 2, 130, 141


class UserError(ValueError):
    """A mistake of the user's that one sentence explains; the command prints it and exits with code 2."""


class FailedError(UserError):
    """What was asked for is no mistake, and failed: the command prints the sentence and exits with code 1."""


def exit_code(error: BaseException) -> int:
    """Return the code that the command ends with after an exception."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return NOBODY_READS
    return BAD_USAGE if isinstance(error, UserError) and not isinstance(error, FailedError) else FAILED
