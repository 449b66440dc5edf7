"""Regularisation for Keras 3: see it, make it give real zeros, and ship the model."""

__version__ = "0.1.0"
