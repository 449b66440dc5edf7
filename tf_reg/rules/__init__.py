"""Regularizers for a model that exists: put them on, list them, take them off."""
