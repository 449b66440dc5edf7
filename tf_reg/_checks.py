"""Mistakes in what a user gives, said in one sentence."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake of the user's that one sentence explains; scripts print it and exit with code 2."""
