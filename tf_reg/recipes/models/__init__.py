"""The networks that the training program can train."""
