"""What is wrong with a table."""


class TableError(ValueError):
    """A table that can't be read: one sentence that says where, what was received, and how to mend it."""
