"""Cut out of a model what has no effect on its outputs, and prove that they are the same."""
