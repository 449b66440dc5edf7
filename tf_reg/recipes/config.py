"""One dataclass that is the whole configuration of a run."""


class UserError(ValueError):
    """A mistake of the user's that one sentence explains; scripts print it and exit with code 2."""
