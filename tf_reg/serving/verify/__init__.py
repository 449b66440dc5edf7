"""Check that a SavedModel can be served and computes what it should."""
