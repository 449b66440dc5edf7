"""A mistake of the user's, said in one sentence."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake of the user's that one sentence explains; the command prints it and exits with code 2."""


class FailedError(UserError):
    """What was asked for is no mistake, and failed: the command prints the sentence and exits with code 1."""
